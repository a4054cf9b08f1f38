//! Files to documents: what is found in them, and that no file is more than its reader can bear.

mod files;
pub mod fixtures;
mod hostile;
mod pdf;
mod texts;
mod word;

use syft_endpoints::{
    domain::Document,
    extract::{Format, documents},
};

/// Texts of the documents, and what they say of where they are from.
fn read(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Vec<Document>, String> {
    let format = Format::of(name, None).unwrap();
    documents(name, format, bytes.into()).map_err(|error| error.to_string())
}

fn refusal(name: &str, bytes: impl Into<Vec<u8>>) -> String {
    read(name, bytes).err().unwrap()
}

fn texts(name: &str, bytes: impl Into<Vec<u8>>) -> Vec<String> {
    read(name, bytes).unwrap().into_iter().map(|document| document.content).collect()
}

fn words(name: &str, bytes: impl Into<Vec<u8>>) -> String {
    texts(name, bytes).join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}
