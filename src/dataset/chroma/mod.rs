//! `chroma`: a collection of a Chroma server or of Chroma Cloud, over its HTTP API v2. Texts are embedded
//! here: Chroma itself embeds nothing.

mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder, Url};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{
    Dataset, SearchRequest,
    embedding::{self, Embedder, Embeddings},
    similarity::references,
};
use crate::{
    domain::{Health, References, SearchOptions, schema::TypeSpec},
    error::{Cause, UpstreamError},
    upstream::{Failed, Upstream, in_span, parse_base_url, read_body},
};
use wire::{Collection, Query};

pub(super) const NAME: &str = "chroma";
const ICON: &str = "🎨";
const DESCRIPTION: &str = "A collection of a Chroma server or of Chroma Cloud.";

/// How long a search waits for the server and its embedding endpoint, and a health check.
const PATIENCE: Duration = Duration::from_secs(30);
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &["auth_token", embedding::SECRET])
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Where the server is, such as `http://localhost:8000`.
    #[schemars(regex(pattern = r"^https?://[^\s@]+$"))]
    http_url: String,
    /// The collection to search.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]$"))]
    collection_name: String,
    #[serde(default = "default_tenant")]
    #[schemars(regex(pattern = r"^[^\s./\\][^\s/\\]{0,511}$"))]
    tenant: String,
    #[serde(default = "default_database")]
    #[schemars(regex(pattern = r"^[^\s./\\][^\s/\\]{0,511}$"))]
    database: String,
    /// Empty for servers that want none.
    #[serde(default)]
    #[schemars(with = "String")]
    auth_token: SecretString,
    /// Where the token stands: in `x-chroma-token`, as Chroma Cloud wants it, or in `authorization`, after
    /// `Bearer`.
    #[serde(default)]
    auth_header: AuthHeader,
    /// Chroma's `where`: only documents whose metadata it fits are found.
    #[serde(default, rename = "where")]
    filter: Option<Map<String, Value>>,
    /// What embeds the question. The same model must have embedded the documents.
    embedding: embedding::Config,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum AuthHeader {
    #[default]
    XChromaToken,
    Authorization,
}

/// One configured collection.
pub(super) struct Chroma {
    upstream: Upstream,
    embedder: Embedder,
    config: Config,
    /// Of the tenant.
    tenant: Url,
    /// As it was when it was last looked up.
    collection: Mutex<Option<Arc<Collection>>>,
}

impl Chroma {
    pub(super) fn open(upstream: Upstream, embeddings: &Embeddings, config: Config) -> Result<Self, Cause> {
        let embedder = embeddings.open(config.embedding.clone())?;
        let root = parse_base_url(config.http_url.trim_end_matches('/'))?;
        let tenant = below(&root, &["api", "v2", "tenants", &config.tenant]);
        Ok(Self { upstream, embedder, config, tenant, collection: Mutex::new(None) })
    }

    async fn near(&self, vector: &[f32], options: &SearchOptions) -> Result<References, UpstreamError> {
        let known = self.collection().await?;
        let (body, known) = match self.query(&known, vector, options).await {
            // Deleted, and perhaps made again, since it was looked up.
            Err(failed) if is_not_found(&failed) => {
                *self.known() = None;
                let anew = self.collection().await?;
                (self.query(&anew, vector, options).await.map_err(judged)?, anew)
            }
            asked => (asked.map_err(judged)?, known),
        };
        Ok(references(NAME, wire::found(&body, known.distance)?, options))
    }

    async fn query(
        &self,
        collection: &Collection,
        vector: &[f32],
        options: &SearchOptions,
    ) -> Result<Vec<u8>, Failed> {
        if collection.dimensions.is_some_and(|dimensions| dimensions != vector.len()) {
            return Err(UpstreamError::rejected(OTHER_DIMENSIONS).into());
        }
        let include: &[&str] = match options.include_metadata {
            true => &["documents", "distances", "metadatas"],
            false => &["documents", "distances"],
        };
        let filter = self.config.filter.as_ref();
        let query = Query { query_embeddings: [vector], n_results: options.limit, include, filter };
        let id = collection.id.to_string();
        let url = below(&self.tenant, &["databases", &self.config.database, "collections", &id, "query"]);
        self.call(|| Ok(self.request(Method::POST, &url)?.json(&query))).await
    }

    /// The collection of that name, from the server when it is not known.
    async fn collection(&self) -> Result<Arc<Collection>, UpstreamError> {
        if let Some(known) = self.known().clone() {
            return Ok(known);
        }
        let Config { database, collection_name, .. } = &self.config;
        let url = below(&self.tenant, &["databases", database, "collections", collection_name]);
        let body = self.call(|| self.request(Method::GET, &url)).await.map_err(judged)?;
        let found = Arc::new(wire::collection(&body)?);
        *self.known() = Some(Arc::clone(&found));
        Ok(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Arc<Collection>>> {
        self.collection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        request: impl Fn() -> Result<RequestBuilder, UpstreamError>,
    ) -> Result<Vec<u8>, Failed> {
        let response = self.upstream.send(request).await?;
        Ok(read_body(response, &mut self.upstream.clocks()).await?)
    }

    fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, UpstreamError> {
        let request = in_span(self.upstream.request(method, url)?);
        let token = self.config.auth_token.expose_secret();
        Ok(match self.config.auth_header {
            _ if token.is_empty() => request,
            AuthHeader::XChromaToken => request.header("x-chroma-token", token),
            AuthHeader::Authorization => request.bearer_auth(token),
        })
    }

    /// Everything that a search needs, one after the other: the first that is missing is the reason.
    async fn examine(&self) -> Result<(), String> {
        let database = below(&self.tenant, &["databases", &self.config.database]);
        for (url, missing) in
            [(&self.tenant, "it has no such tenant"), (&database, "it has no such database")]
        {
            self.call(|| self.request(Method::GET, url)).await.map_err(|failed| {
                if is_not_found(&failed) { missing.to_owned() } else { judged(failed).to_string() }
            })?;
        }
        *self.known() = None;
        self.collection().await.map_err(|error| match error {
            UpstreamError::Rejected { reason: NOT_FOUND, .. } => "it has no such collection".to_owned(),
            error => error.to_string(),
        })?;
        let vector = self.embedder.probe_vector().await.map_err(|error| error.to_string())?;
        let one = SearchOptions { similarity_threshold: 0.0, limit: 1, include_metadata: false };
        self.near(&vector, &one).await.map_err(|error| error.to_string())?;
        Ok(())
    }
}

#[async_trait]
impl Dataset for Chroma {
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        let search = async {
            // The two have nothing to do with each other: a collection that is not known is asked for meanwhile.
            let (vector, _) = tokio::try_join!(self.embedder.embed_one(&request.text), self.collection())?;
            self.near(&vector, &request.options).await
        };
        let late = |_| UpstreamError::unavailable("it did not answer in time");
        timeout(PATIENCE, search).await.map_err(late)?
    }

    async fn health(&self) -> Health {
        match timeout(HEALTH_PATIENCE, self.examine()).await {
            Ok(Ok(())) => Health::healthy(),
            Ok(Err(reason)) => Health::unhealthy(format!("Chroma: {reason}")),
            Err(_) => Health::unhealthy("Chroma: it did not answer in time"),
        }
    }
}

const NOT_FOUND: &str = "it has no such tenant, database or collection";
const OTHER_DIMENSIONS: &str = "its vectors have other dimensions than its embedding endpoint's";

fn is_not_found(failed: &Failed) -> bool {
    failed.status.is_some_and(|status| status.as_u16() == 404)
}

/// Says it in Chroma's words.
fn judged(failed: Failed) -> UpstreamError {
    let reason = match failed.status.map(|status| status.as_u16()) {
        Some(404) => NOT_FOUND,
        Some(401 | 403) => "its token was refused",
        Some(400) if failed.body.contains("dimension") => OTHER_DIMENSIONS,
        Some(400) if failed.body.contains("where") => "it does not understand `where`",
        _ => return failed.error,
    };
    match failed.error {
        UpstreamError::Rejected { cause, .. } => UpstreamError::Rejected { reason, cause },
        error @ UpstreamError::Unavailable { .. } => error,
    }
}

/// A URL with segments appended, each as it is: none can be another path.
fn below(url: &Url, segments: &[&str]) -> Url {
    let mut url = url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn default_tenant() -> String {
    "default_tenant".to_owned()
}

fn default_database() -> String {
    "default_database".to_owned()
}
