//! Datasets: what endpoints search.
//!
//! A dataset type is one file or folder here and one line in [`registry`].

mod chroma;
pub mod embedding;
pub mod local;
mod pgvector;
mod qdrant;
mod registry;
mod remote;
mod similarity;
mod weaviate;

use async_trait::async_trait;
use serde_json::Value;

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

/// A field of a stored document as its text: what is no text, as JSON; what is not there, as nothing.
fn content_of(field: Option<&Value>) -> String {
    match field {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
