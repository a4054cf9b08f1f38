//! Embedding endpoints: texts become vectors on any server with OpenAI's embeddings API.
//!
//! A type that needs one has a field `embedding` with a [`Config`], and names [`SECRET`] among its secrets.

mod answer;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use moka::{future::Cache, policy::EvictionPolicy};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Cause, UpstreamError},
    upstream::{Failed, Upstream, in_span, parse_base_url, read_body},
};

/// The secret in the field `embedding`, as a registry line names it.
pub const SECRET: &str = "embedding.api_key";

/// Bytes of vectors that are kept, least used first to go.
const CACHED_BYTES: u64 = 64 << 20;
/// Bytes of text in one call, however few texts that is.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// How long a health check waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a health check embeds.
const PROBE: &str = "health";

/// Where texts become vectors.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A server with OpenAI's embeddings API, up to and without `/embeddings`.
    #[schemars(regex(pattern = r"^https?://[^\s@]+$"))]
    base_url: String,
    /// The model, as the server names it.
    #[schemars(length(min = 1))]
    model: String,
    /// Sent as the bearer token. Empty for servers that want none.
    #[serde(default)]
    #[schemars(with = "String")]
    api_key: SecretString,
    /// How many numbers a vector has. An answer with others is an error.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65536))]
    dimensions: Option<usize>,
    /// Ask the server for vectors of so many `dimensions`; for models that can shorten them.
    #[serde(default)]
    shorten: bool,
    /// How many texts one call has at most.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 256))]
    batch_size: usize,
}

/// What all embedding endpoints share. Clones share one cache.
#[derive(Clone)]
pub struct Embeddings {
    upstream: Upstream,
    cache: Cache<Key, Arc<[f32]>>,
}

/// A digest of the endpoint, its key and a text.
type Key = [u8; 32];

impl Embeddings {
    pub fn new(upstream: Upstream) -> Self {
        let weight = |_: &Key, vector: &Arc<[f32]>| {
            u32::try_from(size_of::<Key>() + size_of_val::<[f32]>(vector)).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weight)
            .max_capacity(CACHED_BYTES)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { upstream, cache }
    }

    /// One endpoint. Makes no call.
    ///
    /// # Errors
    /// When its URL is not valid.
    pub fn open(&self, config: Config) -> Result<Embedder, Cause> {
        let url = parse_base_url(&format!("{}/embeddings", config.base_url.trim_end_matches('/')))?;
        let (identity, fingerprint) = (identity(&url, &config), fingerprint(&url, &config));
        Ok(Embedder { all: self.clone(), config, url, identity, fingerprint })
    }
}

/// One configured endpoint and model.
pub struct Embedder {
    all: Embeddings,
    config: Config,
    url: Url,
    /// Digested before each text of the cache: one endpoint's vectors are no other's, nor is what one key paid for.
    identity: Context,
    fingerprint: String,
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

impl Embedder {
    /// Names server, model and dimensions: vectors that are kept elsewhere are of use only under the same name.
    /// Another key makes no other vectors.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The vectors of texts, in their order and all of one length. Texts that were embedded before cost
    /// nothing; the others one call for each batch. Dropping the future abandons the call.
    ///
    /// # Errors
    /// `Rejected` for a blank text, a refusal, or vectors that have not the configured dimensions;
    /// `Unavailable` when the server fails or answers nonsense.
    pub async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, UpstreamError> {
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err(UpstreamError::rejected("a text to embed is blank"));
        }
        let keys: Vec<Key> = texts.iter().map(|text| self.key(text)).collect();
        let (mut known, mut missing, mut seen) = (HashMap::new(), Vec::new(), HashSet::new());
        for (key, text) in keys.iter().zip(texts).filter(|(key, _)| seen.insert(**key)) {
            match self.all.cache.get(key).await {
                Some(vector) => drop(known.insert(*key, vector)),
                None => missing.push((*key, text.as_str())),
            }
        }
        for batch in batches(&missing, self.config.batch_size) {
            let texts: Vec<&str> = batch.iter().map(|(_, text)| *text).collect();
            for ((key, _), vector) in batch.iter().zip(self.ask(&texts).await?) {
                let vector: Arc<[f32]> = vector.into();
                self.all.cache.insert(*key, Arc::clone(&vector)).await;
                known.insert(*key, vector);
            }
        }
        let vectors: Vec<Vec<f32>> =
            keys.iter().filter_map(|key| known.get(key)).map(|vector| vector.to_vec()).collect();
        answer::of_one_length(&vectors)?;
        Ok(vectors)
    }

    /// The vector of one text.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn embed_one(&self, text: &str) -> Result<Vec<f32>, UpstreamError> {
        let vectors = self.embed(&[text.to_owned()]).await?;
        vectors.into_iter().next().ok_or_else(answer::incomplete)
    }

    /// How many numbers a vector has, as [`Embedder::probe_vector`] finds out.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn probe(&self) -> Result<usize, UpstreamError> {
        Ok(self.probe_vector().await?.len())
    }

    /// Embeds one word past the cache, once and for five seconds at most. For health checks; costs a token.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn probe_vector(&self) -> Result<Vec<f32>, UpstreamError> {
        let asked = tokio::time::timeout(PATIENCE, async {
            let response = self.all.upstream.send_once(self.request(&[PROBE])?).await.map_err(judged)?;
            self.read(response, 1).await
        });
        let vectors = asked.await.map_err(|_| UpstreamError::unavailable(LATE))??;
        vectors.into_iter().next().ok_or_else(answer::incomplete)
    }

    async fn ask(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, UpstreamError> {
        let response = self.all.upstream.send(|| self.request(texts)).await.map_err(judged)?;
        self.read(response, texts.len()).await
    }

    fn request(&self, texts: &[&str]) -> Result<reqwest::RequestBuilder, UpstreamError> {
        let Config { model, dimensions, shorten, api_key, .. } = &self.config;
        let body = Body { model, input: texts, dimensions: dimensions.filter(|_| *shorten) };
        let request = in_span(self.all.upstream.request(Method::POST, &self.url)?).json(&body);
        let key = api_key.expose_secret();
        Ok(if key.is_empty() { request } else { request.bearer_auth(key) })
    }

    async fn read(&self, response: reqwest::Response, count: usize) -> Result<Vec<Vec<f32>>, UpstreamError> {
        let mut clocks = self.all.upstream.clocks();
        let broken =
            |cause| UpstreamError::unavailable("its embedding endpoint's answer broke off").because(cause);
        let body = read_body(response, &mut clocks).await.map_err(broken)?;
        answer::vectors(&body, count, self.config.dimensions)
    }

    fn key(&self, text: &str) -> Key {
        let mut digest = self.identity.clone();
        digest.update(text.as_bytes());
        let mut key = Key::default();
        key.copy_from_slice(digest.finish().as_ref());
        key
    }
}

const LATE: &str = "its embedding endpoint did not answer in time";

/// The beginning of every digest of an endpoint's texts.
fn identity(url: &Url, config: &Config) -> Context {
    let mut digest = model(url, config);
    add(&mut digest, config.api_key.expose_secret());
    digest
}

fn fingerprint(url: &Url, config: &Config) -> String {
    let digest = model(url, config).finish();
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn model(url: &Url, config: &Config) -> Context {
    let mut digest = Context::new(&SHA256);
    let dimensions = format!("{:?} {}", config.dimensions, config.shorten);
    for part in [url.as_str(), &config.model, &dimensions] {
        add(&mut digest, part);
    }
    digest
}

/// With its length before it, so that no part can pass for another.
fn add(digest: &mut Context, part: &str) {
    digest.update(&part.len().to_le_bytes());
    digest.update(part.as_bytes());
}

/// Cuts texts into calls.
fn batches<'a>(mut texts: &'a [(Key, &'a str)], most: usize) -> impl Iterator<Item = &'a [(Key, &'a str)]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = texts.iter().take(most.max(1)).take_while(|(_, text)| {
            bytes += text.len();
            bytes <= MAX_BATCH_BYTES
        });
        // One that is too long goes alone: the server may know better.
        let count = fit.count().max(1).min(texts.len());
        let (batch, rest) = texts.split_at(count);
        texts = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Says whose failure it is: the dataset's engine has failures of its own.
fn judged(failed: Failed) -> UpstreamError {
    let status = failed.status.map(|status| status.as_u16());
    match failed.error {
        UpstreamError::Unavailable { reason, retry_after, cause } => {
            let reason = match status {
                Some(429) => "its embedding endpoint is rate limited",
                Some(_) => "its embedding endpoint failed",
                None if reason.contains("in time") => LATE,
                None => "its embedding endpoint cannot be reached",
            };
            UpstreamError::Unavailable { reason, retry_after, cause }
        }
        UpstreamError::Rejected { cause, .. } => {
            let reason = match status {
                Some(401 | 403) => "its embedding endpoint refused the credential",
                Some(404) => "its embedding endpoint does not know the model",
                Some(_) => "its embedding endpoint refused the request",
                None => "its embedding endpoint's address is not allowed",
            };
            UpstreamError::Rejected { reason, cause }
        }
    }
}

fn default_batch_size() -> usize {
    64
}
