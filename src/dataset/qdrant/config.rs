//! The configuration.

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{super::embedding, filter::Filter};
use crate::{
    domain::{Configuration, rules::violation, schema},
    error::{Rule, Violation},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dataset) struct Config {
    /// Where the server's HTTP API is, without `/collections`.
    #[schemars(regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub(super) url: String,
    /// Sent as the header `api-key`. Empty for servers that let everybody in.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) api_key: SecretString,
    /// The collection, or an alias of it.
    #[schemars(length(min = 1, max = 255))]
    pub(super) collection_name: String,
    /// The vector to compare, in a collection whose vectors have names.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) vector_name: Option<String>,
    /// What embeds questions, with the model that the collection's vectors are from. This or `inference`.
    #[serde(default)]
    pub(super) embedding: Option<embedding::Config>,
    /// Lets the server embed questions. This or `embedding`.
    #[serde(default)]
    pub(super) inference: Option<Inference>,
    /// The payload's field with a document's text. Without it, the text is the whole payload as JSON.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    pub(super) content_key: Option<String>,
    /// The payload's fields to return as metadata. Without it, all.
    #[serde(default)]
    #[schemars(inner(length(min = 1, max = 512)), length(max = 200))]
    pub(super) metadata_keys: Option<Vec<String>>,
    /// What documents must keep to be found, as Qdrant writes it.
    #[serde(default)]
    pub(super) filters: Option<Filter>,
}

/// A model on the server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inference {
    /// The model, as the server names it, such as `sentence-transformers/all-minilm-l6-v2` or `qdrant/bm25`.
    #[schemars(length(min = 1, max = 256))]
    pub(super) model: String,
    /// Options of the model.
    #[serde(default)]
    pub(super) options: Option<Map<String, Value>>,
}

/// What a schema cannot say.
pub(in crate::dataset) fn check(configuration: &Configuration) -> Vec<Violation> {
    let broken = |field: &str, message: &str| vec![violation(field, Rule::Schema, message)];
    let Ok(config) = schema::read::<Config>(configuration) else {
        return broken("configuration", "cannot be read");
    };
    if !can_be_collection(&config.collection_name) {
        return broken("configuration.collection_name", "is not a name that Qdrant allows");
    }
    if config.embedding.is_some() == config.inference.is_some() {
        return broken("configuration.embedding", "is needed, or `inference`, and not both");
    }
    if reqwest::header::HeaderValue::from_str(config.api_key.expose_secret()).is_err() {
        return broken("configuration.api_key", "has characters that a header cannot carry");
    }
    Vec::new()
}

/// Qdrant's own rule; and no segment of a path that leads elsewhere.
fn can_be_collection(name: &str) -> bool {
    let forbidden =
        |c: char| matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*') || c.is_control();
    !name.contains(forbidden) && !name.is_empty() && name.len() <= 255 && name != "." && name != ".."
}
