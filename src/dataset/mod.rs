//! Datasets: what endpoints search.
//!
//! A dataset type is one file or folder here and one line in [`registry`].

mod chroma;
pub mod embedding;
pub mod local;
mod pgvector;
mod registry;
mod similarity;

use async_trait::async_trait;

pub use registry::Datasets;

use crate::{
    domain::{Health, References, SearchOptions},
    error::UpstreamError,
};

/// What to look for.
#[derive(Clone)]
pub struct SearchRequest {
    pub text: String,
    pub options: SearchOptions,
}

/// One configured dataset. Made once per stored configuration and shared by its queries.
#[async_trait]
pub trait Dataset: Send + Sync {
    /// Finds documents, most similar first, none below the threshold. Dropping the future abandons the
    /// search.
    ///
    /// # Errors
    /// `Unavailable` or `Rejected`; never an empty result in their place.
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError>;

    /// Whether a query could search it now.
    async fn health(&self) -> Health;
}
