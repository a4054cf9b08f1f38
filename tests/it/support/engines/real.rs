//! Real search engines, as `tests/run` starts them, with a few documents in them, and datasets on them.

use sea_orm::{ConnectionTrait, Database as SeaOrm, DatabaseConnection};
use serde_json::{Value, json};
use syft_endpoints::proto::{
    CheckDatasetHealthRequest, CreateDatasetRequest, Dataset, Reference, SearchDatasetRequest,
};
use tonic::Status;

use crate::support::{
    embedder::{DIMENSIONS, Embedder, vector},
    space::{Clients, structure},
};

/// Id, content and kind.
pub const DOCUMENTS: [(&str, &str, &str); 5] = [
    ("a", "copyright lasts seventy years", "law"),
    ("b", "copyright of photographs", "law"),
    ("c", "dogs and cats", "pets"),
    ("d", "Größe und Maß der Hunde", "pets"),
    ("e", "the history of gardens", "gardens"),
];

/// What a search among all documents finds: ids and similarities, most similar first.
pub fn expected(question: &str, threshold: f64) -> Vec<(String, f64)> {
    let asked = vector(question, DIMENSIONS);
    let cosine =
        |text| vector(text, DIMENSIONS).iter().zip(&asked).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let mut found: Vec<_> =
        DOCUMENTS.iter().map(|(id, text, _)| ((*id).to_owned(), (1.0 + cosine(text)) / 2.0)).collect();
    found.retain(|(_, similarity)| *similarity >= threshold);
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

/// Ids in order, and similarities to the fourth digit: those that are alike may change places.
pub fn assert_alike(found: &[Reference], expected: &[(String, f64)]) {
    let similarity =
        |id: &str| expected.iter().find(|(other, _)| other == id).map(|(_, similarity)| *similarity);
    assert_eq!(found.len(), expected.len(), "{found:?}\n{expected:?}");
    for (place, document) in found.iter().enumerate() {
        let wanted =
            similarity(&document.document_id).unwrap_or_else(|| panic!("{document:?} is not expected"));
        assert!((document.similarity_score - wanted).abs() < 1e-4, "{document:?}: {wanted}");
        assert!((document.similarity_score - expected[place].1).abs() < 1e-4, "{document:?} at {place}");
    }
}

impl Clients {
    pub async fn dataset_of(
        &mut self,
        name: &str,
        dtype: &str,
        configuration: Value,
    ) -> Result<Dataset, Status> {
        let dataset = Dataset {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            configuration: Some(structure(configuration)),
            ..Dataset::default()
        };
        let created = self.datasets.create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await?;
        Ok(created.into_inner().dataset.unwrap())
    }

    pub async fn find(
        &mut self,
        name: &str,
        text: &str,
        (threshold, limit): (f64, i32),
    ) -> Result<Vec<Reference>, Status> {
        let request = SearchDatasetRequest {
            name: name.to_owned(),
            text: text.to_owned(),
            similarity_threshold: Some(threshold),
            limit: Some(limit),
            include_metadata: None,
        };
        Ok(self.datasets.search_dataset(request).await?.into_inner().references.unwrap().documents)
    }

    /// What a dataset of this configuration says when it is examined; empty when it is healthy.
    pub async fn examined(&mut self, dtype: &str, configuration: Value) -> String {
        let name = format!("d-{}", uuid::Uuid::now_v7().simple());
        self.dataset_of(&name, dtype, configuration).await.unwrap();
        let request = CheckDatasetHealthRequest { name };
        let health = self.datasets.check_dataset_health(request).await.unwrap().into_inner().health.unwrap();
        assert_eq!(health.healthy, health.message.is_empty(), "{health:?}");
        health.message
    }
}

/// `config` with some fields changed.
pub fn with(mut config: Value, changes: Value) -> Value {
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

/// A collection of its own on the Chroma server.
pub struct Chroma {
    pub url: String,
    pub collection: String,
    http: reqwest::Client,
}

impl Chroma {
    /// An empty one, in a space.
    pub async fn empty(space: &str) -> Self {
        let url = std::env::var("SYFT_TEST_CHROMA_URL")
            .expect("SYFT_TEST_CHROMA_URL is not set: run tests/run, which starts a Chroma for the tests");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let collection = format!("c{}", uuid::Uuid::now_v7().simple());
        let chroma = Self { url, collection, http };
        chroma.create(space).await;
        chroma
    }

    /// One with all documents.
    pub async fn full(space: &str) -> Self {
        let chroma = Self::empty(space).await;
        chroma.fill().await;
        chroma
    }

    pub fn config(&self, embedder: &Embedder) -> Value {
        json!({"http_url": self.url, "collection_name": self.collection, "embedding": embedder.config()})
    }

    pub async fn create(&self, space: &str) {
        let body = json!({"name": self.collection, "configuration": {"hnsw": {"space": space}}});
        self.post("", body).await;
    }

    pub async fn delete(&self) {
        let url = format!("{}/{}", self.collections(), self.collection);
        self.http.delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn fill(&self) {
        self.add(json!({
            "ids": DOCUMENTS.map(|(id, _, _)| id),
            "documents": DOCUMENTS.map(|(_, text, _)| text),
            "embeddings": DOCUMENTS.map(|(_, text, _)| vector(text, DIMENSIONS)),
            "metadatas": DOCUMENTS.map(|(_, _, kind)| json!({"kind": kind})),
        }))
        .await;
    }

    /// Adds documents, as the server wants them.
    pub async fn add(&self, documents: Value) {
        let found =
            self.http.get(format!("{}/{}", self.collections(), self.collection)).send().await.unwrap();
        let found: Value = found.json().await.unwrap();
        self.post(&format!("/{}/add", found["id"].as_str().unwrap()), documents).await;
    }

    async fn post(&self, path: &str, body: Value) {
        let call = self.http.post(format!("{}{path}", self.collections())).json(&body);
        call.send().await.unwrap().error_for_status().unwrap();
    }

    fn collections(&self) -> String {
        format!("{}/api/v2/tenants/default_tenant/databases/default_database/collections", self.url)
    }
}

/// A database of its own on the server with pgvector.
pub struct PgVector {
    pub url: String,
    pub raw: DatabaseConnection,
}

impl PgVector {
    /// One without tables.
    pub async fn empty() -> Self {
        let server = std::env::var("SYFT_TEST_PGVECTOR_URL").expect(
            "SYFT_TEST_PGVECTOR_URL is not set: run tests/run, which starts a Postgres with pgvector",
        );
        let name = format!("v{}", uuid::Uuid::now_v7().simple());
        let admin = SeaOrm::connect(&server).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        admin.close().await.unwrap();
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let raw = SeaOrm::connect(&url).await.unwrap();
        raw.execute_unprepared("CREATE EXTENSION vector").await.unwrap();
        Self { url, raw }
    }

    /// One with a table `docs` of all documents.
    pub async fn full() -> Self {
        let database = Self::empty().await;
        database
            .run(&format!(
                "CREATE TABLE docs (id text PRIMARY KEY, content text, kind text, about jsonb, \
                 embedding vector({DIMENSIONS}))"
            ))
            .await;
        for (id, content, kind) in DOCUMENTS {
            database.add("docs", (id, content, kind), &vector(content, DIMENSIONS)).await;
        }
        database
    }

    pub async fn add(&self, table: &str, (id, content, kind): (&str, &str, &str), vector: &[f32]) {
        let vector = json!(vector);
        let about = json!({"kind": kind, "length": content.len()});
        self.run(&format!(
            "INSERT INTO {table} VALUES ('{id}', '{content}', '{kind}', '{about}', '{vector}')"
        ))
        .await;
    }

    pub async fn run(&self, statements: &str) {
        self.raw.execute_unprepared(statements).await.unwrap();
    }

    pub fn config(&self, embedder: &Embedder) -> Value {
        json!({"url": self.url, "table": "docs", "embedding": embedder.config()})
    }
}
