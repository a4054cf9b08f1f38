//! The configuration: what the Python Space's `remote_weaviate` has, and more ways to search.

use std::collections::BTreeMap;

use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{super::embedding, filter::Filter};
use crate::{
    domain::{Configuration, rules::violation, schema},
    error::{Rule, Violation},
};

/// Headers that the HTTP client writes, or that carry the key.
const OURS: [&str; 6] =
    ["authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dataset) struct Config {
    /// Where the server is, up to and without `/v1`.
    #[schemars(regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub(super) http_url: String,
    /// Taken for compatibility and not used: everything goes through `http_url`.
    #[serde(default)]
    #[expect(dead_code, reason = "configurations of the Python Space have it")]
    grpc_url: Option<String>,
    /// Sent as the bearer token. Empty for servers that let everybody in.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) api_key: SecretString,
    /// More headers of every request, such as `X-OpenAI-Api-Key` for the server's vectorizer.
    #[serde(default)]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) headers: Option<BTreeMap<String, SecretString>>,
    /// The collection, as the server names it.
    #[schemars(regex(pattern = "^[A-Za-z][_0-9A-Za-z]{0,254}$"))]
    pub(super) collection_name: String,
    /// The tenant, in a collection that has several.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub(super) tenant: Option<String>,
    /// How to search: `near_text` by meaning, `bm25` by words, `hybrid` by both, `near_vector` by meaning as the
    /// endpoint in `embedding` has it. `near_text` needs a vectorizer in the collection, `hybrid` one or `embedding`.
    #[serde(default)]
    pub(super) search: Search,
    /// What embeds questions, for `near_vector` and `hybrid`: with the model that the collection's vectors are from.
    #[serde(default)]
    pub(super) embedding: Option<embedding::Config>,
    /// What meaning weighs in `hybrid`, beside words: 0 is words alone, 1 meaning alone.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0, max = 1))]
    pub(super) alpha: f64,
    /// The score that counts as a similarity of 0.5 in `bm25`.
    #[serde(default = "default_bm25_half")]
    #[schemars(range(min = 0.001, max = 1000))]
    pub(super) bm25_half: f64,
    /// The vector to compare, in a collection that has several.
    #[serde(default)]
    #[schemars(regex(pattern = "^[_A-Za-z][_0-9A-Za-z]{0,230}$"))]
    pub(super) target_vector: Option<String>,
    /// The property with a document's text. Without it, the text is all properties as JSON.
    #[serde(default)]
    #[schemars(regex(pattern = "^[_A-Za-z][_0-9A-Za-z]{0,230}$"))]
    pub(super) content_property: Option<String>,
    /// The properties to return as metadata. Without it, all.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^[_A-Za-z][_0-9A-Za-z]{0,230}$")), length(max = 200))]
    pub(super) metadata_properties: Option<Vec<String>>,
    /// What documents must keep to be found.
    #[serde(default)]
    pub(super) filters: Option<Filter>,
    /// Taken for compatibility and not used: every query says its own.
    #[serde(default)]
    #[expect(dead_code, reason = "configurations of the Python Space have it")]
    default_similarity_threshold: Option<f64>,
}

/// A way to search.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Search {
    #[default]
    NearText,
    Hybrid,
    Bm25,
    NearVector,
}

/// What a schema cannot say: whether a filter has a meaning, a header can be one, and a search has what it needs.
pub(in crate::dataset) fn check(configuration: &Configuration) -> Vec<Violation> {
    let broken = |field: &str, message: &str| vec![violation(field, Rule::Schema, message)];
    let Ok(config) = schema::read::<Config>(configuration) else {
        return broken("configuration", "cannot be read");
    };
    if let Some(why) = config.filters.as_ref().and_then(|filter| filter.check().err()) {
        return broken("configuration.filters", why);
    }
    if config.search == Search::NearVector && config.embedding.is_none() {
        return broken("configuration.embedding", "is needed for `near_vector`");
    }
    let is_good = |name: &str, value: &SecretString| {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::from_str(value.expose_secret());
        value.is_ok() && name.is_ok_and(|name| !OURS.contains(&name.as_str()))
    };
    if !config.headers.iter().flatten().all(|(name, value)| is_good(name, value)) {
        return broken("configuration.headers", "has a header that cannot be sent");
    }
    if HeaderValue::from_str(config.api_key.expose_secret()).is_err() {
        return broken("configuration.api_key", "has characters that a header cannot carry");
    }
    Vec::new()
}

fn default_alpha() -> f64 {
    0.75
}

fn default_bm25_half() -> f64 {
    1.0
}
