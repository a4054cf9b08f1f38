//! Records to documents: JSON, JSON by lines, CSV.

use serde_json::{Map, Value, json};

use super::Unreadable;
use crate::domain::Document;

/// A list is one document an element; anything else is one document.
pub(super) fn json_documents(name: &str, text: &str) -> Result<Vec<Document>, Unreadable> {
    let values = match serde_json::from_str(text).map_err(not_json)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    Ok(values.into_iter().enumerate().map(|(i, value)| json_document(name, i + 1, value)).collect())
}

pub(super) fn json_lines(name: &str, text: &str) -> Result<Vec<Document>, Unreadable> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let documents = lines.map(|(i, line)| {
        let value = serde_json::from_str(line)
            .map_err(|error| Unreadable::new(format!("line {}: {error}", i + 1)))?;
        Ok(json_document(name, i + 1, value))
    });
    documents.collect()
}

/// An object with `content` or `text` is a document, with its `id` and `metadata` if it has them. Any
/// other value is a document of its own text.
fn json_document(name: &str, number: usize, value: Value) -> Document {
    let id = |given: Option<&Value>| match given {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => format!("{name}#{number}"),
    };
    let content =
        value.get("content").or_else(|| value.get("text")).and_then(Value::as_str).map(str::to_owned);
    let mut metadata = value.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    metadata.entry("source").or_insert_with(|| json!(name));
    match content {
        Some(content) => Document { id: id(value.get("id")), content, metadata },
        None => Document { id: id(value.get("id")), content: format!("{value:#}"), metadata },
    }
}

/// A row is a document of `column: value` lines.
pub(super) fn csv_rows(name: &str, text: &str) -> Result<Vec<Document>, Unreadable> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let columns = reader.headers().map_err(not_csv)?.clone();
    let mut documents = Vec::new();
    for (i, row) in reader.records().enumerate() {
        let row = row.map_err(not_csv)?;
        let cells = columns.iter().zip(&row).filter(|(_, value)| !value.trim().is_empty());
        let lines: Vec<String> = cells.map(|(column, value)| format!("{column}: {value}")).collect();
        let metadata = Map::from_iter([("source".to_owned(), json!(name))]);
        let content = lines.join("\n");
        documents.push(Document { id: format!("{name}#{}", i + 1), content, metadata });
    }
    Ok(documents)
}

/// Says the line and the column, and quotes nothing.
fn not_json(error: serde_json::Error) -> Unreadable {
    Unreadable::new(format!("not JSON: {error}"))
}

/// Says the line, and quotes nothing.
fn not_csv(error: csv::Error) -> Unreadable {
    Unreadable::new(error.to_string())
}
