//! Records to documents: JSON, JSON by lines, CSV.

use std::{fmt, io};

use serde::{
    Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json, value::RawValue};

use super::{MAX_DOCUMENTS, Unreadable, too_many};
use crate::domain::{Document, rules::MAX_DOCUMENT_BYTES};

/// Bytes of one record's JSON at most: a document and its metadata, with every character escaped.
const MAX_RECORD: usize = 8 << 20;

/// Values of a line of CSV at most: each takes room of its own beside its text.
const MAX_COLUMNS: usize = 100_000;

/// A list is one document an element; anything else is one document.
pub(super) fn json_documents(name: &str, text: &str) -> Result<Vec<Document>, Unreadable> {
    if !text.trim_start().starts_with('[') {
        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
        return Ok(vec![json_document(name, 1, text)?]);
    }
    let mut list = serde_json::Deserializer::from_str(text);
    let documents = list.deserialize_seq(Elements { name }).map_err(not_json)?;
    list.end().map_err(not_json)?;
    documents
}

/// Elements of a list, each of which is read when it comes: as values, all at once, they would take many
/// times the room of their text.
struct Elements<'a> {
    name: &'a str,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Result<Vec<Document>, Unreadable>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut documents = Ok(Vec::new());
        // To its end, whatever is wrong: what is no JSON is told first.
        while let Some(element) = list.next_element::<&RawValue>()? {
            if let Ok(read) = &mut documents {
                match next(self.name, read.len(), element.get()) {
                    Ok(document) => read.push(document),
                    Err(words) => documents = Err(words),
                }
            }
        }
        Ok(documents)
    }
}

fn next(name: &str, before: usize, text: &str) -> Result<Document, Unreadable> {
    if before == MAX_DOCUMENTS {
        return Err(too_many());
    }
    json_document(name, before + 1, text)
}

pub(super) fn json_lines(name: &str, text: &str) -> Result<Vec<Document>, Unreadable> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut documents = Vec::new();
    for (i, line) in lines {
        if documents.len() == MAX_DOCUMENTS {
            return Err(too_many());
        }
        let document = json_document(name, i + 1, line);
        let document = document.map_err(|words| Unreadable::new(format!("line {}: {words}", i + 1)))?;
        documents.push(document);
    }
    Ok(documents)
}

/// An object with `content` or `text` is a document, with its `id` and `metadata` if it has them. Any
/// other value is a document of its own text.
fn json_document(name: &str, number: usize, text: &str) -> Result<Document, Unreadable> {
    if text.len() > MAX_RECORD {
        return Err(Unreadable::new("has a record of more than 8 MiB"));
    }
    let value: Value = serde_json::from_str(text).map_err(not_json)?;
    let id = match value.get("id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => format!("{name}#{number}"),
    };
    let content =
        value.get("content").or_else(|| value.get("text")).and_then(Value::as_str).map(str::to_owned);
    let mut metadata = value.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    metadata.entry("source").or_insert_with(|| json!(name));
    let content = match content {
        Some(content) => content,
        None => indented(&value)?,
    };
    Ok(Document { id, content, metadata })
}

/// A value's text with indentation, as long as a document may be: indented, a value that is nested
/// grows a hundredfold.
fn indented(value: &Value) -> Result<String, Unreadable> {
    let mut text = Bounded(Vec::new());
    serde_json::to_writer_pretty(&mut text, value)
        .map_err(|_| Unreadable::new("has a record of more than 1 MiB"))?;
    String::from_utf8(text.0).map_err(|_| Unreadable::new("not UTF-8"))
}

/// Bytes of a document at most.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands between values: spreadsheets write `;` where the comma is in numbers.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let count = |delimiter: &u8| header.bytes().filter(|byte| byte == delimiter).count();
    // Of equals the last.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// A row is a document of `column: value` lines. Values beyond the last column have a line without a name.
pub(super) fn csv_rows(name: &str, text: &str) -> Result<Vec<Document>, Unreadable> {
    let delimiter = delimiter(text);
    let is_too_wide = |line: &str| line.bytes().filter(|byte| *byte == delimiter).count() > MAX_COLUMNS;
    if text.lines().any(is_too_wide) {
        return Err(Unreadable::new("has more than 100000 values in a line"));
    }
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let columns = reader.headers().map_err(not_csv)?.clone();
    let mut documents = Vec::new();
    let mut total = 0;
    for (i, row) in reader.records().enumerate() {
        let row = row.map_err(not_csv)?;
        let mut content = String::new();
        let named = columns.iter().map(Some).chain(std::iter::repeat(None)).zip(&row);
        for (column, value) in named.filter(|(_, value)| !value.trim().is_empty()) {
            let line = if content.is_empty() { "" } else { "\n" };
            content.push_str(line);
            content.extend(column.into_iter().flat_map(|column| [column, ": "]));
            content.push_str(value);
            if content.len() > MAX_DOCUMENT_BYTES {
                return Err(Unreadable::new(format!("row {}: its text is longer than 1 MiB", i + 1)));
            }
        }
        // The names of columns are in every row.
        total += content.len();
        if total > super::MAX_TEXT || documents.len() == MAX_DOCUMENTS {
            return Err(too_many());
        }
        let metadata = Map::from_iter([("source".to_owned(), json!(name))]);
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
