//! The engines that `tests/run` starts, with the documents of the conformance suite in them.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Engine, Filter, KEY, documents, gate::Gate, real, with};
use crate::support::embedder::{DIMENSIONS, Embedder, vector};

pub struct Chroma {
    full: real::Chroma,
    empty: real::Chroma,
    gate: Gate,
    embedder: Embedder,
}

pub struct PgVector {
    database: real::PgVector,
    embedder: Embedder,
}

impl Chroma {
    pub async fn start() -> Self {
        let (full, empty) = (real::Chroma::empty("cosine").await, real::Chroma::empty("cosine").await);
        let docs = documents();
        let metadata = |doc: &super::Doc| {
            let mut metadata = doc.properties();
            metadata.remove("tags");
            metadata
        };
        full.add(json!({
            "ids": docs.iter().map(|doc| doc.slug).collect::<Vec<_>>(),
            "documents": docs.iter().map(|doc| doc.text).collect::<Vec<_>>(),
            "embeddings": docs.iter().map(|doc| vector(doc.text, DIMENSIONS)).collect::<Vec<_>>(),
            "metadatas": docs.iter().map(metadata).collect::<Vec<_>>(),
        }))
        .await;
        let gate = Gate::locked(&full.url, "x-chroma-token", KEY).await;
        Self { full, empty, gate, embedder: Embedder::start().await }
    }

    fn of(&self, collection: &str) -> Value {
        json!({
            "http_url": self.gate.url(), "auth_token": KEY, "collection_name": collection,
            "embedding": self.embedder.config(),
        })
    }
}

#[async_trait]
impl Engine for Chroma {
    fn dtype(&self) -> &'static str {
        "chroma"
    }

    fn configuration(&self) -> Value {
        self.of(&self.full.collection)
    }

    fn empty(&self) -> Value {
        self.of(&self.empty.collection)
    }

    fn missing(&self) -> Option<Value> {
        Some(self.of("Nowhere"))
    }

    /// The server itself lets everybody in: the gate does not.
    fn bad_key(&self) -> Option<Value> {
        Some(with(self.configuration(), json!({"auth_token": "canary-another-key"})))
    }

    fn filtered(&self, filter: Filter) -> Option<Value> {
        let filter = match filter {
            Filter::Topic(topic) => json!({"topic": topic}),
            Filter::Recent(year, price) => {
                json!({"$and": [{"year": {"$gte": year}}, {"price": {"$lt": price}}, {"open": true}]})
            }
            Filter::Not(topic, year) => {
                json!({"$and": [{"topic": {"$ne": topic}}, {"year": {"$gte": year}}]})
            }
        };
        Some(with(self.configuration(), json!({ "where": filter })))
    }

    fn attacked(&self, text: &str) -> Vec<Value> {
        let full = || self.configuration();
        vec![
            self.of(text),
            with(full(), json!({"tenant": text})),
            with(full(), json!({"database": text})),
            with(full(), json!({"where": {text: "x"}})),
            with(full(), json!({"where": {"topic": text}})),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}

impl PgVector {
    pub async fn start() -> Self {
        let database = real::PgVector::empty().await;
        let columns =
            format!("(id text PRIMARY KEY, content text, about jsonb, embedding vector({DIMENSIONS}))");
        for table in ["docs", "nothing"] {
            database.run(&format!("CREATE TABLE {table} {columns}")).await;
        }
        for doc in documents() {
            let values = [
                doc.slug.to_owned(),
                doc.text.to_owned(),
                Value::Object(doc.properties()).to_string(),
                json!(vector(doc.text, DIMENSIONS)).to_string(),
            ];
            let values = values.map(|value| format!("'{}'", value.replace('\'', "''"))).join(", ");
            database.run(&format!("INSERT INTO docs VALUES ({values})")).await;
        }
        Self { database, embedder: Embedder::start().await }
    }

    fn of(&self, table: &str) -> Value {
        with(self.database.config(&self.embedder), json!({"table": table, "metadata_column": "about"}))
    }
}

#[async_trait]
impl Engine for PgVector {
    fn dtype(&self) -> &'static str {
        "pgvector"
    }

    fn configuration(&self) -> Value {
        self.of("docs")
    }

    fn empty(&self) -> Value {
        self.of("nothing")
    }

    fn missing(&self) -> Option<Value> {
        Some(self.of("Nowhere"))
    }

    /// The cluster that is started lets everybody in whom it knows.
    fn bad_key(&self) -> Option<Value> {
        let mut url = url::Url::parse(&self.database.url).unwrap();
        url.set_username("canary_stranger").unwrap();
        Some(with(self.configuration(), json!({"url": url.as_str()})))
    }

    /// Its filter is that metadata contain something.
    fn filtered(&self, filter: Filter) -> Option<Value> {
        let Filter::Topic(topic) = filter else { return None };
        Some(with(self.of("docs"), json!({"filter": {"topic": topic}})))
    }

    fn attacked(&self, text: &str) -> Vec<Value> {
        let docs = || self.of("docs");
        vec![
            self.of(text),
            with(docs(), json!({"schema": text})),
            with(docs(), json!({"id_column": text})),
            with(docs(), json!({"content_column": text})),
            with(docs(), json!({"embedding_column": text})),
            with(docs(), json!({"metadata_column": text})),
            with(docs(), json!({"metadata_columns": [text]})),
            with(docs(), json!({"filter": {text: "x"}})),
            with(docs(), json!({"filter": {"topic": text}})),
        ]
    }

    /// It speaks Postgres's protocol; `pgvector.rs` makes its troubles.
    fn gate(&self) -> Option<&Gate> {
        None
    }
}
