//! `pgvector`: a table of the owner's in any PostgreSQL with the extension pgvector. Only ever read.

mod config;
mod fault;
mod link;
mod sql;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::sqlx::{self, AssertSqlSafe, Row, postgres::PgRow};
use tokio::time::timeout;

pub(super) use config::{Config, spec};
pub(super) use link::Links;

use super::{
    Dataset, SearchRequest,
    embedding::{Embedder, Embeddings},
    similarity::references,
};
use crate::{
    domain::{AttachmentId, Health, Reference, References, SearchOptions},
    error::{Cause, UpstreamError},
};
use config::Measure;
use fault::fault;
use link::Link;
use sql::Statements;

pub(super) const NAME: &str = "pgvector";

/// Beyond the statement's own limit: for a connection, and for the embedding endpoint.
const PATIENCE: Duration = Duration::from_secs(20);
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// One configured table.
pub(super) struct PgVector {
    embedder: Embedder,
    link: Arc<Link>,
    statements: Statements,
    config: Config,
}

/// What is looked for.
struct Wanted<'a> {
    vector: &'a [f32],
    /// Empty when words are not to be looked for.
    text: &'a str,
    options: &'a SearchOptions,
}

impl PgVector {
    /// Makes no connection.
    pub(super) fn open(
        links: &Links,
        embeddings: &Embeddings,
        id: AttachmentId,
        config: Config,
    ) -> Result<Self, Cause> {
        let embedder = embeddings.open(config.embedding.clone())?;
        let link = links.open(id, &config)?;
        Ok(Self { embedder, link, statements: Statements::new(&config), config })
    }

    /// One read-only transaction of three messages: its settings, the search, its end.
    async fn find(&self, wanted: Wanted<'_>) -> Result<References, UpstreamError> {
        let Wanted { vector, text, options } = wanted;
        let by_words = !text.is_empty();
        let statement = self.statements.search(by_words, options.include_metadata);
        let written = sql::vector(vector);
        let mut search = sqlx::query(AssertSqlSafe(statement))
            .bind(written)
            .bind(i64::try_from(options.limit).unwrap_or(i64::MAX));
        if let Some(filter) = &self.config.filter {
            search = search.bind(serde_json::Value::Object(filter.clone()).to_string());
        }
        if by_words {
            // The one character that Postgres does not take.
            search = search.bind(text.replace('\0', " "));
        }
        let mut transaction = self.link.begin(&sql::begin(&self.config, options.limit)).await?;
        let rows = search.fetch_all(&mut *transaction).await.map_err(fault)?;
        transaction.rollback().await.map_err(fault)?;
        // A question whose words nobody has is one for the vectors alone.
        let by_words = by_words && rows.iter().any(|row| row.try_get("by_words").unwrap_or(false));
        let found: Result<Vec<_>, _> = rows.iter().map(|row| self.reference(row, by_words)).collect();
        Ok(references(NAME, found.map_err(fault)?, options))
    }

    fn reference(&self, row: &PgRow, by_words: bool) -> Result<Reference, sqlx::Error> {
        let similarity_score = match by_words {
            true => fused(row)?,
            false => self.config.distance.similarity(row.try_get("distance")?),
        };
        let metadata = row.try_get::<Option<String>, _>("metadata")?;
        Ok(Reference {
            document_id: row.try_get("id")?,
            content: row.try_get::<Option<String>, _>("content")?.unwrap_or_default(),
            similarity_score,
            // What is no object has no fields.
            metadata: Some(metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()),
        })
    }

    async fn examine(&self) -> Result<(), UpstreamError> {
        let vector = self.embedder.probe_vector().await?;
        let options = &SearchOptions { similarity_threshold: 0.0, limit: 1, include_metadata: true };
        let text = if self.config.text_search.is_some() { "health" } else { "" };
        self.find(Wanted { vector: &vector, text, options }).await?;
        Ok(())
    }
}

#[async_trait]
impl Dataset for PgVector {
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        let text = if self.config.text_search.is_some() { request.text.as_str() } else { "" };
        let search = async {
            let vector = self.embedder.embed_one(&request.text).await?;
            self.find(Wanted { vector: &vector, text, options: &request.options }).await
        };
        let late = |_| UpstreamError::unavailable("it did not answer in time");
        let limit = PATIENCE + Duration::from_millis(self.config.timeout_ms);
        timeout(limit, search).await.map_err(late)?
    }

    async fn health(&self) -> Health {
        match timeout(HEALTH_PATIENCE, self.examine()).await {
            Ok(Ok(())) => Health::healthy(),
            Ok(Err(error)) => Health::unhealthy(format!("the table {error}")),
            Err(_) => Health::unhealthy("the table is unavailable: it did not answer in time"),
        }
    }
}

impl Measure {
    /// pgvector's inner product is negative and its Euclidean distance is not squared. NULL is the
    /// distance of nothing.
    fn similarity(self, measured: Option<f64>) -> f64 {
        use super::similarity::Distance;
        let measured = measured.unwrap_or(f64::NAN);
        match self {
            Self::Cosine => Distance::Cosine.similarity(measured),
            Self::InnerProduct => Distance::InnerProduct.similarity(1.0 + measured),
            Self::L2 => Distance::SquaredL2.similarity(measured * measured),
        }
    }
}

/// First in both lists is 1; found by both is above 0.5, and so is nothing else but the first of one.
fn fused(row: &PgRow) -> Result<f64, sqlx::Error> {
    let fused: f64 = row.try_get("fused")?;
    Ok((fused * f64::from(sql::RRF + 1) / 2.0).clamp(0.0, 1.0))
}
