//! `local`: no engine but the service itself, and an embedding endpoint where it is hybrid.

use async_trait::async_trait;
use serde_json::{Value, json};
use syft_endpoints::proto::{Document, IngestDocumentsRequest};

use super::{Engine, Filter, documents, gate::Gate, with};
use crate::support::{
    embedder::Embedder,
    space::{Clients, structure},
};

pub struct Local;

/// The same, with vectors.
pub struct Hybrid {
    embedder: Embedder,
}

impl Local {
    pub async fn start() -> Self {
        Self
    }
}

impl Hybrid {
    pub async fn start() -> Self {
        Self { embedder: Embedder::start().await }
    }
}

#[async_trait]
impl Engine for Local {
    fn dtype(&self) -> &'static str {
        "local"
    }

    fn configuration(&self) -> Value {
        json!({})
    }

    fn empty(&self) -> Value {
        json!({})
    }

    fn missing(&self) -> Option<Value> {
        None
    }

    fn bad_key(&self) -> Option<Value> {
        None
    }

    fn filtered(&self, _filter: Filter) -> Option<Value> {
        None
    }

    fn attacked(&self, _text: &str) -> Vec<Value> {
        Vec::new()
    }

    fn gate(&self) -> Option<&Gate> {
        None
    }

    async fn fill(&self, clients: &mut Clients, dataset: &str) {
        fill(clients, dataset).await;
    }
}

#[async_trait]
impl Engine for Hybrid {
    fn dtype(&self) -> &'static str {
        "local"
    }

    fn configuration(&self) -> Value {
        json!({"embedding": self.embedder.config()})
    }

    fn empty(&self) -> Value {
        self.configuration()
    }

    fn missing(&self) -> Option<Value> {
        None
    }

    fn bad_key(&self) -> Option<Value> {
        Some(json!({"embedding": with(self.embedder.config(), json!({"api_key": "canary-bad"}))}))
    }

    fn filtered(&self, _filter: Filter) -> Option<Value> {
        None
    }

    fn attacked(&self, _text: &str) -> Vec<Value> {
        Vec::new()
    }

    fn gate(&self) -> Option<&Gate> {
        None
    }

    async fn fill(&self, clients: &mut Clients, dataset: &str) {
        fill(clients, dataset).await;
    }
}

async fn fill(clients: &mut Clients, dataset: &str) {
    let document = |doc: super::Doc| Document {
        id: doc.slug.to_owned(),
        content: doc.text.to_owned(),
        metadata: Some(structure(Value::Object(doc.properties()))),
    };
    let documents = documents().into_iter().map(document).collect();
    let request = IngestDocumentsRequest { dataset: dataset.to_owned(), documents };
    let stored = clients.datasets.ingest_documents(tokio_stream::once(request)).await;
    let mut stored = stored.unwrap().into_inner();
    while stored.message().await.unwrap().is_some() {}
}
