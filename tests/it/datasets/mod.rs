//! What every type of dataset promises, whatever its engine; and what each has of its own.

mod conformance;
mod dry_runs;
mod qdrant;
mod secrets;
mod weaviate;

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use syft_endpoints::proto::{
    CheckDatasetHealthRequest, Health, Reference, SearchDatasetRequest, from_struct,
};
use tonic::Status;

use crate::support::{
    database::Database,
    engines::{Engine, create},
    space::{Clients, Space},
};

/// An engine, and a space that searches it as the dataset `docs`.
struct Rig<E> {
    engine: E,
    space: Space,
    clients: Clients,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    slug: String,
    content: String,
    similarity: f64,
    metadata: Map<String, Value>,
}

impl<E: Engine> Rig<E> {
    /// Clocks are short; nothing is asked twice.
    async fn start(engine: E) -> Self {
        let settings = [
            ("upstream.first_token_timeout_ms", "1500"),
            ("upstream.idle_timeout_ms", "1500"),
            ("upstream.attempts", "1"),
        ];
        let space = Space::configured(Database::sqlite(), &settings).await;
        let mut clients = space.admin().await;
        create(&mut clients, "docs", engine.dtype(), engine.configuration()).await.unwrap();
        engine.fill(&mut clients, "docs").await;
        Self { engine, space, clients }
    }

    async fn add(&mut self, name: &str, configuration: Value) -> Result<(), Status> {
        create(&mut self.clients, name, self.engine.dtype(), configuration).await.map(drop)
    }

    async fn search(&mut self, name: &str, text: &str) -> Result<Vec<Found>, Status> {
        self.search_with(name, text, 0.0, 100).await
    }

    async fn search_with(
        &mut self,
        name: &str,
        text: &str,
        threshold: f64,
        limit: i32,
    ) -> Result<Vec<Found>, Status> {
        let request = SearchDatasetRequest {
            name: name.to_owned(),
            text: text.to_owned(),
            similarity_threshold: Some(threshold),
            limit: Some(limit),
            include_metadata: None,
        };
        let found = self.clients.datasets.search_dataset(request).await?.into_inner().references.unwrap();
        assert_eq!(found.search_engine, self.engine.dtype());
        Ok(found.documents.into_iter().map(Found::from).collect())
    }

    async fn health(&mut self, name: &str) -> Health {
        let request = CheckDatasetHealthRequest { name: name.to_owned() };
        self.clients.datasets.check_dataset_health(request).await.unwrap().into_inner().health.unwrap()
    }
}

impl From<Reference> for Found {
    fn from(found: Reference) -> Self {
        let metadata = found.metadata.and_then(from_struct).unwrap_or_default();
        let slug = metadata.get("slug").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { slug, content: found.content, similarity: found.similarity_score, metadata }
    }
}

fn slugs(found: &[Found]) -> BTreeSet<&str> {
    found.iter().map(|found| found.slug.as_str()).collect()
}
