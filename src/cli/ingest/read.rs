//! Files to documents. Ids come from paths, so that the pieces of a file replace those it made before. A
//! file that has shrunk leaves its last pieces behind.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use ignore::WalkBuilder;
use serde_json::{Map, Value, json};
use syft_endpoints::{
    domain::rules::MAX_DOCUMENT_BYTES,
    error::Cause,
    proto::{Document, to_struct},
};

use super::chunk::pieces;

/// Bytes of a document's id at most.
const MAX_ID: usize = 512;
/// Bytes of a file at most.
const MAX_FILE: u64 = 64 << 20;

/// A file to read.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// What its documents' ids begin with: its path below what was named.
    name: String,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Html,
    Json,
    JsonLines,
    Csv,
}

/// The files that `paths` name, and those we can read in the folders that they name, by name. In folders
/// hidden files are passed over, and what `.gitignore` files leave out.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<File>, Cause> {
    let mut files = Vec::new();
    for root in paths {
        let Ok(found) = fs::metadata(root) else {
            return Err(format!("{}: no such file or folder", root.display()).into());
        };
        if found.is_file() {
            let format = format(root)
                .ok_or_else(|| format!("{}: not a kind of file that can be read", root.display()))?;
            let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
            files.push(File { name, path: root.clone(), format });
            continue;
        }
        let sorted = |a: &OsStr, b: &OsStr| a.cmp(b);
        for entry in WalkBuilder::new(root).require_git(false).sort_by_file_name(sorted).build() {
            let entry = entry?;
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Some(format) = format(entry.path()) else { continue };
            let name = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_string_lossy().into_owned();
            files.push(File { name, path: entry.path().to_owned(), format });
        }
    }
    if files.is_empty() {
        return Err("there is no file that can be read: .txt .md .html .json .jsonl .csv".into());
    }
    tell_apart(&files)?;
    Ok(files)
}

/// Two files of one name would replace each other's documents.
fn tell_apart(files: &[File]) -> Result<(), Cause> {
    let mut seen = HashMap::new();
    for file in files {
        if let Some(other) = seen.insert(&file.name, &file.path) {
            let (one, two) = (other.display(), file.path.display());
            return Err(format!(
                "{one} and {two} have one name, {}: load them from a folder above both",
                file.name
            )
            .into());
        }
    }
    Ok(())
}

/// The documents in a file.
pub(super) fn documents(file: &File) -> Result<Vec<Document>, Cause> {
    if fs::metadata(&file.path)?.len() > MAX_FILE {
        return Err("larger than 64 MiB".into());
    }
    let bytes = fs::read(&file.path)?;
    let mut documents = if file.format == Format::Html {
        let text = html2text::config::plain().string_from_read(bytes.as_slice(), 10_000)?;
        text_documents(&file.name, &text)
    } else {
        let text = String::from_utf8(bytes).map_err(|_| "not UTF-8")?;
        match file.format {
            Format::Text | Format::Html => text_documents(&file.name, &text),
            Format::Json => json_documents(file, &text)?,
            Format::JsonLines => json_lines(file, &text)?,
            Format::Csv => csv_rows(file, &text)?,
        }
    };
    // An empty row says nothing and is no mistake.
    documents.retain(|document| !document.content.trim().is_empty());
    match documents
        .iter()
        .find(|document| document.id.len() > MAX_ID || document.content.len() > MAX_DOCUMENT_BYTES)
    {
        Some(document) => {
            Err(format!("{:.80}: its id is longer than 512 bytes or its text than 1 MiB", document.id).into())
        }
        None => Ok(documents),
    }
}

fn format(path: &Path) -> Option<Format> {
    match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
        "txt" | "md" | "markdown" => Some(Format::Text),
        "html" | "htm" => Some(Format::Html),
        "json" => Some(Format::Json),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        "csv" => Some(Format::Csv),
        _ => None,
    }
}

/// Pieces of a text, as documents `name#1`, `name#2`, ….
pub(in crate::cli) fn text_documents(name: &str, text: &str) -> Vec<Document> {
    let pieces = pieces(text).into_iter().enumerate();
    pieces
        .map(|(i, piece)| {
            let mut metadata = Map::from_iter([("source".to_owned(), json!(name))]);
            if !piece.headings.is_empty() {
                metadata.insert("heading".to_owned(), json!(piece.headings.join(" > ")));
            }
            document(format!("{name}#{}", i + 1), piece.text, metadata)
        })
        .collect()
}

/// A list is one document an element; anything else is one document.
fn json_documents(file: &File, text: &str) -> Result<Vec<Document>, Cause> {
    let values = match serde_json::from_str(text)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    Ok(values.into_iter().enumerate().map(|(i, value)| json_document(&file.name, i + 1, value)).collect())
}

fn json_lines(file: &File, text: &str) -> Result<Vec<Document>, Cause> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let documents = lines.map(|(i, line)| {
        let value = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1))?;
        Ok(json_document(&file.name, i + 1, value))
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
        Some(content) => document(id(value.get("id")), content, metadata),
        None => document(id(value.get("id")), format!("{value:#}"), metadata),
    }
}

/// A row is a document of `column: value` lines.
fn csv_rows(file: &File, text: &str) -> Result<Vec<Document>, Cause> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let columns = reader.headers()?.clone();
    let mut documents = Vec::new();
    for (i, row) in reader.records().enumerate() {
        let row = row?;
        let cells = columns.iter().zip(&row).filter(|(_, value)| !value.trim().is_empty());
        let lines: Vec<String> = cells.map(|(column, value)| format!("{column}: {value}")).collect();
        let metadata = Map::from_iter([("source".to_owned(), json!(file.name))]);
        documents.push(document(format!("{}#{}", file.name, i + 1), lines.join("\n"), metadata));
    }
    Ok(documents)
}

fn document(id: String, content: String, metadata: Map<String, Value>) -> Document {
    Document { id, content, metadata: Some(to_struct(metadata)) }
}
