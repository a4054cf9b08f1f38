//! `local`: documents as rows of the service's own database, searched by BM25, and by vectors where an
//! embedding endpoint is configured.
//!
//! The rows are the truth, their vectors included. Each process derives an index from them and catches up by
//! revision, so a crash loses nothing, and replicas that have caught up agree to the last digit.

mod backfill;
mod catch_up;
mod highlights;
mod index;
mod indexes;
mod matrix;
mod meaning;
mod scoring;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

pub use indexes::LocalIndexes;

use super::{
    Dataset, SearchRequest,
    embedding::{self, Embeddings},
};
use crate::{
    domain::{AttachmentId, Document, Health, References, schema::TypeSpec, words::Language},
    error::{Cause, UpstreamError},
    store::NewDocument,
};
use index::{LocalIndex, Look, OTHER_DIMENSIONS};
use indexes::{Handle, Settings};
use meaning::Meaning;

pub const NAME: &str = "local";
const ICON: &str = "📚";
const DESCRIPTION: &str = "Documents kept by the service itself and searched by BM25, and by vectors beside it. Nothing else to run.";

/// How long a search waits for an index that is being made.
const PATIENCE: Duration = Duration::from_secs(2);

const FAILED: &str = "its index failed";

pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[embedding::SECRET])
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// The language of the documents: whose stop words and word endings do not count.
    language: Language,
    /// What embeds documents, when they are stored, and questions. Without it, words alone count.
    embedding: Option<embedding::Config>,
    /// How much of a similarity is that of the vectors, where there are any; the rest is that of the words.
    #[schemars(range(min = 0.0, max = 1.0))]
    vector_weight: f64,
    /// Whether the metadata of what is found gets a field `highlights`, in place of one of that name: the passages
    /// of `content` that have words of the question, each with the bytes at which it starts and ends.
    highlights: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { language: Language::default(), embedding: None, vector_weight: 0.8, highlights: false }
    }
}

/// One `local` dataset.
pub struct LocalDataset {
    id: AttachmentId,
    settings: Settings,
    vector_weight: f64,
    highlights: bool,
    indexes: LocalIndexes,
}

impl LocalDataset {
    pub(super) fn open(
        indexes: &LocalIndexes,
        embeddings: &Embeddings,
        id: AttachmentId,
        config: Config,
    ) -> Result<Self, Cause> {
        let Config { language, embedding, vector_weight, highlights } = config;
        let meaning = embedding.map(|config| embeddings.open(config)).transpose()?;
        let settings = Settings { language, meaning: meaning.map(Meaning::new).map(Arc::new) };
        Ok(Self { id, settings, vector_weight, highlights, indexes: indexes.clone() })
    }

    /// Documents as they are stored: with their vectors, where an embedding endpoint is configured.
    ///
    /// # Errors
    /// `Unavailable` and `Rejected` when it does not embed all of them.
    pub async fn embedded(&self, documents: Vec<Document>) -> Result<Vec<NewDocument>, UpstreamError> {
        let Some(meaning) = &self.settings.meaning else {
            return Ok(documents.into_iter().map(NewDocument::from).collect());
        };
        let embeddings = meaning.of_documents(documents.iter()).await?;
        let both = documents.into_iter().zip(embeddings);
        Ok(both.map(|(document, embedding)| NewDocument { document, embedding: Some(embedding) }).collect())
    }

    /// Waits until this process finds what was written up to `revision`; false when it does not within
    /// `patience`.
    pub async fn reached(&self, revision: i64, patience: Duration) -> bool {
        self.index().await.reached(revision, patience).await
    }

    async fn index(&self) -> Handle {
        self.indexes.open(self.id, &self.settings).await
    }

    async fn ready(&self) -> Result<Arc<LocalIndex>, UpstreamError> {
        let retry_after = Some(Duration::from_secs(1));
        let reason = "its index is being built";
        let being_built = UpstreamError::Unavailable { reason, retry_after, cause: None };
        self.index().await.ready(PATIENCE).await.ok_or(being_built)
    }

    async fn look(&self, text: &str) -> Result<Look, UpstreamError> {
        let meaning = match &self.settings.meaning {
            Some(meaning) => meaning.of_question(text).await?.map(|question| (question, self.vector_weight)),
            None => None,
        };
        Ok(Look { meaning, highlights: self.highlights })
    }

    /// Everything that a search needs.
    async fn examine(&self) -> Result<(), UpstreamError> {
        let index = self.ready().await?;
        let Some(meaning) = &self.settings.meaning else { return Ok(()) };
        if index.fits(meaning.probe().await?) {
            return Ok(());
        }
        Err(UpstreamError::rejected(OTHER_DIMENSIONS))
    }
}

#[async_trait]
impl Dataset for LocalDataset {
    /// Costs no statement on the database once the index is open. A question that cannot be embedded is an error:
    /// what words alone find is another answer than the one that was configured.
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        let (index, look) = tokio::try_join!(self.ready(), self.look(&request.text))?;
        let request = request.clone();
        // Scoring is some milliseconds of work at worst, and none of it waits.
        match tokio::task::spawn_blocking(move || index.search(&request, &look)).await {
            Ok(found) => found,
            // A panic is a fault of ours, not of the dataset.
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => Err(UpstreamError::unavailable(FAILED).because(ended)),
        }
    }

    async fn health(&self) -> Health {
        match self.examine().await {
            Ok(()) => Health::healthy(),
            Err(error) => Health::unhealthy(error.reason()),
        }
    }
}
