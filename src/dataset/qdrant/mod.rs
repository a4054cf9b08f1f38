//! `qdrant`: collections of a Qdrant server, searched through its HTTP API and never changed.

mod collection;
mod config;
mod filter;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use moka::future::Cache;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Dataset, SearchRequest,
    embedding::{self, Embedder, Embeddings},
    remote::{self, Remote, malformed},
    similarity,
};
use crate::{
    domain::{Health, Reference, References, schema::TypeSpec},
    error::{Cause, UpstreamError},
    upstream::Upstream,
};
use collection::{Answer, Collection};

pub(super) use config::Config;

const NAME: &str = "qdrant";
const DESCRIPTION: &str = "A collection of a Qdrant server, searched by meaning. It is only read.";

/// How long what a server says of its collection is taken for true.
const KEPT: Duration = Duration::from_secs(60);

/// The type.
pub(super) fn spec() -> TypeSpec {
    let spec = TypeSpec::of::<Config>(NAME, DESCRIPTION, "🧭", &["api_key", embedding::SECRET]);
    spec.checking(config::check)
}

/// One configured collection.
pub(super) struct Qdrant {
    remote: Remote,
    config: Config,
    /// What makes vectors of questions, where the server does not.
    embedder: Option<Embedder>,
    collection: Cache<(), Arc<Collection>>,
}

/// A query, as it is sent.
#[derive(Serialize)]
struct Query<'a> {
    query: Nearest<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    using: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a filter::Filter>,
    limit: usize,
    with_payload: bool,
}

#[derive(Serialize)]
struct Nearest<'a> {
    nearest: Question<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Question<'a> {
    Vector(Vec<f32>),
    Document {
        text: &'a str,
        model: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<&'a Map<String, Value>>,
    },
}

#[derive(Deserialize)]
struct Found {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    id: Id,
    score: f64,
    #[serde(default)]
    payload: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Uuid(String),
}

impl Qdrant {
    pub(super) fn open(
        upstream: Upstream,
        embeddings: &Embeddings,
        mut config: Config,
    ) -> Result<Self, Cause> {
        let key = Some(&config.api_key).filter(|key| !key.expose_secret().is_empty());
        let remote = Remote::new(upstream, &config.url, key.map(|key| ("api-key".to_owned(), key.clone())))?;
        let embedding = config.embedding.take();
        let embedder = embedding.map(|embedding| embeddings.open(embedding)).transpose()?;
        let collection = Cache::builder().max_capacity(1).time_to_live(KEPT).build();
        Ok(Self { remote, config, embedder, collection })
    }

    /// What the server says of the collection, asked once in a while. Concurrent questions are one.
    async fn collection(&self) -> Result<Arc<Collection>, UpstreamError> {
        let ask = async { self.ask_collection().await.map(Arc::new) };
        self.collection.try_get_with((), ask).await.map_err(|error| error.shared())
    }

    async fn ask_collection(&self) -> Result<Collection, UpstreamError> {
        let answer: Answer<Collection> =
            self.remote.get(&["collections", &self.config.collection_name]).await?;
        Ok(answer.result)
    }

    async fn ask(&self, request: &SearchRequest) -> Result<Vec<Point>, UpstreamError> {
        let body = Query {
            query: Nearest { nearest: self.question(&request.text).await? },
            using: self.config.vector_name.as_deref(),
            filter: self.config.filters.as_ref(),
            limit: request.options.limit,
            with_payload: true,
        };
        let path = ["collections", &self.config.collection_name, "points", "query"];
        let answer: Answer<Found> = self.remote.post(&path, &body).await.map_err(|failed| failed.error)?;
        Ok(answer.result.points)
    }

    async fn question<'a>(&'a self, text: &'a str) -> Result<Question<'a>, UpstreamError> {
        match (&self.embedder, &self.config.inference) {
            (Some(embedder), _) => Ok(Question::Vector(embedder.embed_one(text).await?)),
            (None, Some(inference)) => {
                Ok(Question::Document { text, model: &inference.model, options: inference.options.as_ref() })
            }
            (None, None) => Err(UpstreamError::rejected("nothing is configured that embeds questions")),
        }
    }

    fn reference(&self, point: Point, similarity_score: f64, with_metadata: bool) -> Reference {
        let mut payload = point.payload.unwrap_or_default();
        let content = match &self.config.content_key {
            Some(key) => super::content_of(payload.get(key)),
            None => Value::Object(payload.clone()).to_string(),
        };
        let metadata = with_metadata.then(|| {
            if let Some(named) = &self.config.metadata_keys {
                payload.retain(|key, _| named.contains(key));
            }
            payload
        });
        let document_id = match point.id {
            Id::Number(id) => id.to_string(),
            Id::Uuid(id) => id,
        };
        Reference { document_id, content, similarity_score, metadata }
    }

    async fn check(&self) -> Result<(), String> {
        let ready = self.remote.answers(&["readyz"]).await;
        ready.map_err(|fault| format!("the server {fault}"))?;
        let name = &self.config.collection_name;
        let collection = self.ask_collection().await.map_err(|fault| match fault.reason() {
            remote::NOT_KNOWN => format!("the server has no collection '{name}'"),
            _ => format!("the collection {fault}"),
        })?;
        if collection.is_broken() {
            return Err(format!("the collection '{name}' is red: operations on it have failed"));
        }
        let vector = collection.vector(self.config.vector_name.as_deref());
        let Some((_, size)) = vector else {
            let said = match self.config.vector_name {
                Some(_) => "has no vector of the configured name",
                None => "has vectors with names: choose one in `vector_name`",
            };
            return Err(format!("the collection '{name}' {said}"));
        };
        let Some(embedder) = &self.embedder else { return Ok(()) };
        let made = embedder.probe().await.map_err(|fault| format!("the dataset {fault}"))?;
        match size {
            Some(size) if size == made => Ok(()),
            Some(size) => Err(format!(
                "the collection '{name}' has vectors of {size} numbers, its embedding endpoint makes {made}"
            )),
            None => Err(format!(
                "the collection '{name}' has a sparse vector there, which `inference` can search"
            )),
        }
    }
}

#[async_trait]
impl Dataset for Qdrant {
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        let collection = self.collection().await?;
        let vector = collection.vector(self.config.vector_name.as_deref());
        let no_vector = || UpstreamError::rejected("its collection has no vector of the configured name");
        let (measure, _) = vector.ok_or_else(no_vector)?;
        let options = request.options;
        let mut found = Vec::new();
        for point in self.ask(request).await? {
            if !point.score.is_finite() {
                return Err(malformed());
            }
            let similarity = measure.similarity(point.score);
            found.push(self.reference(point, similarity, options.include_metadata));
        }
        Ok(similarity::references(NAME, found, &options))
    }

    async fn health(&self) -> Health {
        remote::checked(self.check()).await
    }
}
