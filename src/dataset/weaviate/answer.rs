//! What Weaviate answers, read into references.

use serde::Deserialize;
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{super::remote::malformed, graphql::Name};
use crate::error::UpstreamError;

/// The answer to a query. It may report errors under status 200.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    errors: Option<Vec<Reported>>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "Get", default)]
    get: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Reported {
    #[serde(default)]
    message: String,
}

/// One object, with what is known of it beside its properties.
pub(super) struct Object {
    pub(super) id: String,
    pub(super) distance: Option<f64>,
    pub(super) certainty: Option<f64>,
    pub(super) score: Option<f64>,
    pub(super) created: Option<String>,
    pub(super) properties: Map<String, Value>,
}

/// Words of Weaviate's that say that the request, and with it the configuration, does not fit the server.
const REFUSALS: [&str; 13] = [
    "cannot query field",
    "unknown argument",
    "has invalid value",
    "syntax error",
    "no such class",
    "could not find class",
    "no such prop",
    "invalid 'where' filter",
    "invalid where filter",
    "data type filter cannot use",
    "multi-tenancy",
    "tenant not found",
    "vector lengths don't match",
];

impl Answer {
    /// The objects, in the server's order.
    ///
    /// # Errors
    /// `Rejected` when the server refuses for good, `Unavailable` for any other error that it reports and for an
    /// answer without a list. What it says stays out of the log: it quotes the question.
    pub(super) fn objects(self, collection: &Name) -> Result<Vec<Object>, UpstreamError> {
        if let Some(reported) = self.errors.and_then(|errors| errors.into_iter().next()) {
            return Err(reported.judge());
        }
        let listed = self.data.and_then(|data| data.get).and_then(|mut get| get.remove(collection.as_str()));
        let Some(Value::Array(objects)) = listed else { return Err(malformed()) };
        objects.into_iter().map(Object::read).collect()
    }
}

impl Reported {
    fn judge(&self) -> UpstreamError {
        let said = self.message.to_lowercase();
        let refused = |words: &[&str]| words.iter().any(|words| said.contains(words));
        if refused(&["unknown argument \"neartext\"", "could not vectorize input"]) {
            return UpstreamError::rejected("its collection has no vectorizer for texts");
        }
        if refused(&["forbidden", "unauthorized"]) {
            return UpstreamError::rejected("its credential was refused");
        }
        if refused(&REFUSALS) {
            return UpstreamError::rejected("its collection does not fit the configuration");
        }
        UpstreamError::unavailable("it reported an error in its answer")
    }
}

impl Object {
    fn read(object: Value) -> Result<Self, UpstreamError> {
        let Value::Object(mut properties) = object else { return Err(malformed()) };
        let Some(Value::Object(additional)) = properties.remove("_additional") else {
            return Err(malformed());
        };
        let id = additional.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let number = |name: &str| number(additional.get(name)?);
        Ok(Self {
            id: id.ok_or_else(malformed)?.to_owned(),
            distance: number("distance"),
            certainty: number("certainty"),
            score: number("score"),
            created: additional.get("creationTimeUnix").and_then(moment),
            properties,
        })
    }
}

/// Scores are written as texts.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    f64::is_finite(number).then_some(number)
}

/// Milliseconds since 1970, as a text or a number.
fn moment(value: &Value) -> Option<String> {
    let millis: i128 = match value {
        Value::String(text) => text.parse().ok()?,
        value => value.as_i64()?.into(),
    };
    OffsetDateTime::from_unix_timestamp_nanos(millis.checked_mul(1_000_000)?).ok()?.format(&Rfc3339).ok()
}
