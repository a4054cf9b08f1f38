//! Bodies of requests, read as FastAPI reads them: lax about how a value is written, strict about what it
//! means, and everything that is wrong is told together, in the order of the fields.
//!
//! A body's type says all of it once: its JSON Schema is what the documentation shows and what a request
//! is checked against; what has passed is then read into the type itself.

mod lax;
mod order;
mod shape;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

pub use shape::Shape;

use lax::Loc;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One violation, as FastAPI writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub loc: Vec<Value>,
    pub msg: String,
    pub input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Box<Value>>,
}

impl Violation {
    pub fn new(kind: &'static str, loc: Vec<Value>, msg: impl Into<String>) -> Self {
        Self { kind, loc, msg: msg.into(), input: Value::Null, ctx: None }
    }

    /// A rule of ours that no schema says.
    pub fn rule(loc: Vec<Value>, msg: &str) -> Self {
        Self::new("value_error", loc, format!("Value error, {msg}")).with(json!({"error": {}}))
    }

    #[must_use]
    pub fn with(mut self, ctx: Value) -> Self {
        self.ctx = Some(Box::new(ctx));
        self
    }

    /// Shows what was sent, as far as it can be shown: see [`shown`].
    #[must_use]
    pub fn on(mut self, input: &Value) -> Self {
        self.input = match input {
            // What is no number in a number's place may be anything: a prompt, a key.
            Value::String(_) if self.kind.ends_with("_parsing") && self.kind != "uuid_parsing" => redacted(),
            input => shown(&self.loc, input),
        };
        self
    }
}

/// The shape of a body's type.
pub fn shape_of<T: JsonSchema + DeserializeOwned>() -> Shape {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    Shape::of(&schema).in_order(order::of_fields::<T>())
}

/// Reads a body.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read<T: DeserializeOwned>(shape: &Shape, bytes: &[u8], is_json: bool) -> Result<T, Vec<Violation>> {
    if bytes.is_empty() {
        return Err(vec![Violation::new("missing", vec!["body".into()], "Field required")]);
    }
    if !is_json {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        return Err(vec![Violation::new("model_attributes_type", vec!["body".into()], msg)]);
    }
    let value = parse(bytes).map_err(|violation| vec![violation])?;
    checked(shape, value, vec!["body".into()])
}

/// What has a text for its only value, such as a path's or a query's, read as a body's field is.
///
/// # Errors
/// What is wrong with it.
pub fn read_text<T: DeserializeOwned>(
    shape: &Shape,
    text: &str,
    loc: Vec<Value>,
) -> Result<T, Vec<Violation>> {
    checked(shape, Value::String(text.to_owned()), loc)
}

/// Parameters behind a path's `?`, read as the fields of a body are. Of several with one name the first counts.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_query<T: DeserializeOwned>(shape: &Shape, query: &str) -> Result<T, Vec<Violation>> {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        fields.entry(name).or_insert_with(|| Value::String(value.into_owned()));
    }
    checked(shape, Value::Object(fields), vec!["query".into()])
}

/// The names of a type's fields, in their order.
pub fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    order::of_fields::<T>()
}

fn checked<T: DeserializeOwned>(
    shape: &Shape,
    mut value: Value,
    loc: Vec<Value>,
) -> Result<T, Vec<Violation>> {
    let mut violations = Vec::new();
    lax::check(shape, &mut value, &Loc::root(&loc), &mut violations);
    if !violations.is_empty() {
        return Err(violations);
    }
    // Nothing is left that could fail; if it does, the request is at fault before we are.
    serde_json::from_value(value).map_err(|_| vec![Violation::rule(loc, "cannot be read")])
}

fn parse(bytes: &[u8]) -> Result<Value, Violation> {
    // Some editors begin every file with it; Python passes over it.
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
        let offset = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
        let reason = match error.classify() {
            serde_json::error::Category::Eof => "Unexpected end of data",
            _ => "Not valid JSON",
        };
        let loc = vec!["body".into(), offset.into()];
        Violation::new("json_invalid", loc, "JSON decode error").with(json!({"error": reason})).on(&json!({}))
    })
}

/// What an answer may repeat of a request. Containers are shown empty: they may hold anything. Where
/// secrets and prompts are, values are struck out, since answers end up in other people's logs.
fn shown(loc: &[Value], input: &Value) -> Value {
    const HIDDEN: [&str; 13] = [
        "messages",
        "configuration",
        "transaction_token",
        "extras",
        "email",
        "api_key",
        "stop_sequences",
        "password",
        "api_token",
        "code",
        // It may be an e-mail address.
        "username",
        // They may have a password in them.
        "url",
        "public_url",
    ];
    let hidden = loc.iter().any(|part| part.as_str().is_some_and(|part| HIDDEN.contains(&part)));
    match input {
        Value::Object(_) => json!({}),
        Value::Array(_) => json!([]),
        Value::String(_) | Value::Number(_) | Value::Bool(_) if hidden => redacted(),
        // A text for a whole body may be anything too.
        Value::String(_) if loc.len() == 1 => redacted(),
        Value::String(text) if text.len() > 200 => {
            Value::String(format!("{}…", text.chars().take(100).collect::<String>()))
        }
        other => other.clone(),
    }
}

fn redacted() -> Value {
    json!("[redacted]")
}

#[cfg(test)]
mod tests;
