//! Texts to documents.

use serde_json::{Map, json};

use super::{Unreadable, chunk::pieces};
use crate::domain::Document;

/// Pieces of a text, as documents `name#1`, `name#2`, ….
pub fn text_documents(name: &str, text: &str) -> Vec<Document> {
    let pieces = pieces(text).into_iter().enumerate();
    pieces
        .map(|(i, piece)| {
            let mut metadata = Map::from_iter([("source".to_owned(), json!(name))]);
            if !piece.headings.is_empty() {
                metadata.insert("heading".to_owned(), json!(piece.headings.join(" > ")));
            }
            Document { id: format!("{name}#{}", i + 1), content: piece.text, metadata }
        })
        .collect()
}

pub(super) fn decode(bytes: Vec<u8>) -> Result<String, Unreadable> {
    String::from_utf8(bytes).map_err(|_| Unreadable::new("not UTF-8"))
}

pub(super) fn of_html(bytes: &[u8]) -> Result<String, Unreadable> {
    let text = html2text::config::plain().string_from_read(bytes, 10_000);
    text.map_err(|_| Unreadable::new("not HTML"))
}
