//! Files to documents: what a file of some format says, in pieces that can be found.
//!
//! Nothing here waits. [`documents`] is work for a blocking thread, on bytes that somebody else has
//! fetched; [`files`] walks folders. Ids come from names, so that the pieces of a file replace those it
//! made before; a file that has shrunk leaves its last pieces behind, for its caller to delete.

mod chunk;
mod docx;
mod files;
mod html;
mod pdf;
mod prose;
mod records;
mod text;

use std::{borrow::Cow, path::Path};

pub use files::{File, MAX_FILES, file_in, files, folder, folder_at};
pub use text::text_documents;

use crate::domain::{Document, rules::MAX_DOCUMENT_BYTES};

/// Bytes of a file at most.
pub const MAX_FILE: usize = 64 << 20;
/// Documents in a file at most. Each takes about a kilobyte beside its text.
const MAX_DOCUMENTS: usize = 250_000;
/// Bytes of text in a file at most, where it is more than the file's: packed, or with names in every row.
const MAX_TEXT: usize = 128 << 20;
/// Bytes of a document's id at most.
const MAX_ID: usize = 512;
/// Bytes of a document's metadata at most, as JSON.
const MAX_METADATA: usize = 64 << 10;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Text,
    Html,
    Json,
    JsonLines,
    Csv,
    Pdf,
    Docx,
}

/// Why a file is passed over, in words for an operator. They quote nothing of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(Cow<'static, str>);

impl Unreadable {
    fn new(words: impl Into<Cow<'static, str>>) -> Self {
        Self(words.into())
    }

    fn too_large() -> Self {
        Self::new("larger than 64 MiB")
    }
}

impl Format {
    /// The extensions by which files are known.
    pub const EXTENSIONS: &str = ".txt .md .html .json .jsonl .csv .pdf .docx";

    /// The format of what has this file name, or path of a URL, and this content type. The extension
    /// says it, or else the content type; `None` when it cannot be read.
    pub fn of(name: &str, media_type: Option<&str>) -> Option<Self> {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        extension.and_then(Self::of_extension).or_else(|| media_type.and_then(Self::of_media_type))
    }

    /// The name in stored rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Html => "html",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Pdf => "pdf",
            Self::Docx => "docx",
        }
    }

    fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "txt" | "md" | "markdown" => Some(Self::Text),
            "html" | "htm" => Some(Self::Html),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            "pdf" => Some(Self::Pdf),
            "docx" => Some(Self::Docx),
            _ => None,
        }
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/plain" | "text/markdown" | "text/x-markdown" => Some(Self::Text),
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/json" | "text/json" => Some(Self::Json),
            "application/jsonl" | "application/x-ndjson" | "application/ndjson" => Some(Self::JsonLines),
            "text/csv" | "application/csv" => Some(Self::Csv),
            "application/pdf" => Some(Self::Pdf),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Some(Self::Docx),
            _ => None,
        }
    }
}

/// The documents in a file, with ids that begin with its name. Blocks its thread while it reads, and
/// does no I/O. Every document can be stored: its id, text and metadata keep the limits of a dataset.
///
/// # Errors
/// The file is too large, is not what its format says, or holds something that cannot be stored.
pub fn documents(name: &str, format: Format, bytes: Vec<u8>) -> Result<Vec<Document>, Unreadable> {
    if bytes.len() > MAX_FILE {
        return Err(Unreadable::too_large());
    }
    let mut documents = match format {
        Format::Text => text_documents(name, &text::decode(bytes)?),
        Format::Html => text_documents(name, &html::text(bytes)?),
        Format::Json => records::json_documents(name, &text::decode(bytes)?)?,
        Format::JsonLines => records::json_lines(name, &text::decode(bytes)?)?,
        Format::Csv => records::csv_rows(name, &text::decode(bytes)?)?,
        Format::Pdf => text::paged_documents(name, &pdf::pages(&bytes)?),
        Format::Docx => text_documents(name, &docx::text(&bytes)?),
    };
    if documents.len() > MAX_DOCUMENTS {
        return Err(too_many());
    }
    // An empty row says nothing and is no mistake.
    documents.retain(|document| !document.content.trim().is_empty());
    for (i, document) in documents.iter().enumerate() {
        storable(document).map_err(|words| Unreadable::new(format!("document {}: {words}", i + 1)))?;
    }
    Ok(documents)
}

fn too_many() -> Unreadable {
    Unreadable::new("more than 250,000 documents, or 128 MiB of text: cut it into files")
}

/// What the dataset would refuse, and with it the other files on their way there.
fn storable(document: &Document) -> Result<(), &'static str> {
    let metadata = serde_json::to_string(&document.metadata).unwrap_or_default();
    if document.id.trim().is_empty() || document.id.len() > MAX_ID {
        return Err("its id is empty or longer than 512 bytes");
    }
    if document.content.len() > MAX_DOCUMENT_BYTES {
        return Err("its text is longer than 1 MiB");
    }
    if metadata.len() > MAX_METADATA {
        return Err("its metadata is longer than 64 KiB");
    }
    if document.id.contains('\0') || document.content.contains('\0') || metadata.contains("\\u0000") {
        return Err("it has the character NUL, which cannot be stored");
    }
    Ok(())
}
