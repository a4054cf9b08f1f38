//! Texts to documents.

use serde_json::{Map, Value, json};

use super::{
    MAX_DOCUMENTS, Unreadable,
    chunk::{Piece, pieces},
};
use crate::domain::Document;

/// Pieces of a text, as documents `name#1`, `name#2`, ….
pub fn text_documents(name: &str, text: &str) -> Vec<Document> {
    // One more than a file may have, so that it can be told.
    let pieces = pieces(text, MAX_DOCUMENTS + 1).into_iter().enumerate();
    pieces.map(|(i, piece)| document(name, i + 1, piece, Map::new())).collect()
}

/// Pieces of pages, numbered through, as documents that say their page.
pub(super) fn paged_documents(name: &str, pages: &[String]) -> Vec<Document> {
    let mut documents = Vec::new();
    for (page, text) in pages.iter().enumerate() {
        for piece in pieces(text, MAX_DOCUMENTS + 1 - documents.len()) {
            let metadata = Map::from_iter([("page".to_owned(), json!(page + 1))]);
            documents.push(document(name, documents.len() + 1, piece, metadata));
        }
    }
    documents
}

fn document(name: &str, number: usize, piece: Piece, mut metadata: Map<String, Value>) -> Document {
    metadata.insert("source".to_owned(), json!(name));
    if !piece.headings.is_empty() {
        metadata.insert("heading".to_owned(), json!(piece.headings.join(" > ")));
    }
    Document { id: format!("{name}#{number}"), content: piece.text, metadata }
}

/// UTF-8, or what a byte order mark says. The mark is no part of the text.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, Unreadable> {
    let utf_16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let text = String::from_utf16(&units.iter().map(|pair| unit(*pair)).collect::<Vec<_>>());
        text.ok()
            .filter(|_| rest.is_empty())
            .ok_or_else(|| Unreadable::new("not UTF-16, as its beginning says"))
    };
    match bytes.as_slice() {
        [0xff, 0xfe, text @ ..] => utf_16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf_16(text, u16::from_be_bytes),
        _ => {
            let text = String::from_utf8(bytes).map_err(|_| Unreadable::new("not UTF-8"))?;
            Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
        }
    }
}
