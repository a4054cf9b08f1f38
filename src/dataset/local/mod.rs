//! `local`: documents as rows of the service's own database, searched by BM25.
//!
//! The rows are the truth. Each process derives an index from them and catches up by revision, so a
//! crash loses nothing, and replicas that have caught up agree to the last digit.

mod catch_up;
mod index;
mod indexes;
mod scoring;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use indexes::LocalIndexes;

use super::{Dataset, SearchRequest};
use crate::{
    domain::{AttachmentId, Health, References, words::Language},
    error::UpstreamError,
};

pub const NAME: &str = "local";
pub(super) const ICON: &str = "📚";
pub(super) const DESCRIPTION: &str =
    "Documents kept by the service itself and searched by BM25. Nothing else to run.";

/// How long a search waits for an index that is being made.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The language of the documents: whose stop words and word endings do not count.
    pub language: Language,
}

/// One `local` dataset.
pub(super) struct LocalDataset {
    pub(super) id: AttachmentId,
    pub(super) language: Language,
    pub(super) indexes: LocalIndexes,
}

#[async_trait]
impl Dataset for LocalDataset {
    /// Costs no statement on the database once the index is open.
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        let index = self.indexes.open(self.id, self.language).await;
        if !index.ready(PATIENCE).await {
            let retry_after = Some(Duration::from_secs(1));
            let reason = "its index is being built";
            return Err(UpstreamError::Unavailable { reason, retry_after, cause: None });
        }
        let request = request.clone();
        // Scoring is a few milliseconds of work at worst, and none of it waits.
        let found = tokio::task::spawn_blocking(move || index.search(&request)).await;
        let failed =
            |cause: crate::error::Cause| UpstreamError::unavailable("its index failed").because(cause);
        match found {
            Ok(found) => found.map_err(|e| failed(e.into())),
            // A panic is a fault of ours, not of the dataset.
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => Err(failed(ended.into())),
        }
    }

    async fn health(&self) -> Health {
        if self.indexes.open(self.id, self.language).await.ready(PATIENCE).await {
            return Health::healthy();
        }
        Health::unhealthy("the index is being built")
    }
}
