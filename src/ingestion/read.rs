//! One file: its bytes, what they say, and its documents in the dataset.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::{Method, Url, header::CONTENT_TYPE};
use tokio::time::timeout;

use super::{
    Parts,
    source::{Input, Place},
};
use crate::{
    domain::{Document, FileWriter, Tenant},
    error::Error,
    extract::{self, Format, MAX_FILE},
    store::StoredFile,
    upstream::{self, Upstream},
};

/// How long the fetching of one URL may take.
const FETCH: Duration = Duration::from_secs(300);
/// How long the reading of one file may take.
const EXTRACT: Duration = Duration::from_secs(300);

/// The bytes of a file.
pub(super) struct Bytes {
    pub(super) bytes: Vec<u8>,
    pub(super) format: Format,
    /// SHA-256 in hexadecimal.
    pub(super) hash: String,
}

impl Bytes {
    pub(super) fn new(bytes: Vec<u8>, format: Format) -> Self {
        let digest = digest(&SHA256, &bytes);
        let hash = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, format, hash }
    }

    /// The documents that they are. Reading is work for a thread of its own, which may go on when nobody waits
    /// any more.
    ///
    /// # Errors
    /// Why they cannot be read, in words for the owner.
    pub(super) async fn documents(self, name: String) -> Result<Vec<Document>, String> {
        let read = tokio::task::spawn_blocking(move || extract::documents(&name, self.format, self.bytes));
        match timeout(EXTRACT, read).await {
            Ok(Ok(read)) => read.map_err(|error| error.to_string()),
            // What reads it has panicked.
            Ok(Err(_)) => Err("it cannot be read".to_owned()),
            Err(_) => Err("reading it takes too long".to_owned()),
        }
    }
}

/// The bytes of an input.
///
/// # Errors
/// Why they cannot be had, in words for the owner.
pub(super) async fn bytes(upstream: &Upstream, input: Input) -> Result<Bytes, String> {
    match input.from {
        Place::File(file) => {
            let read = tokio::task::spawn_blocking(move || Ok(Bytes::new(file.read()?, file.format)));
            let read = read.await.map_err(|_| "it cannot be read".to_owned())?;
            read.map_err(|error: extract::Unreadable| error.to_string())
        }
        Place::Url(url) => {
            let late = |_| "it did not answer in time".to_owned();
            let (body, format) = timeout(FETCH, fetch(upstream, &url)).await.map_err(late)??;
            let hashed = tokio::task::spawn_blocking(move || Bytes::new(body, format)).await;
            hashed.map_err(|_| "it cannot be read".to_owned())
        }
    }
}

/// What a URL answers, without following it elsewhere.
async fn fetch(upstream: &Upstream, url: &Url) -> Result<(Vec<u8>, Format), String> {
    let sent = upstream.send(|| upstream.request(Method::GET, url)).await;
    let response = sent.map_err(|failed| match failed.status {
        Some(status) => format!("it answered {}: {}", status.as_u16(), failed.error.reason()),
        None => failed.error.reason().to_owned(),
    })?;
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let format = format_of(url.path(), kind);
    let format = format.ok_or("neither its content type nor its name is one of a file that can be read")?;
    let body = upstream::read_at_most(MAX_FILE, response, &mut upstream.clocks()).await;
    Ok((body.map_err(|error| error.reason().to_owned())?, format))
}

/// A server knows what it sends, unless it calls everything plain text.
fn format_of(path: &str, kind: Option<&str>) -> Option<Format> {
    let told = Format::of("", kind);
    match told {
        None | Some(Format::Text) => Format::of(path, None).or(told),
        told => told,
    }
}

/// Stores the documents of a file, by the way that all documents take.
///
/// # Errors
/// `NotFound` when the dataset is gone or somebody else writes the file, `Invalid`, `StoreUnavailable`, and
/// what embedding them may fail with.
pub(super) async fn store(
    parts: &Parts,
    (tenant, dataset): (&Tenant, &str),
    writer: FileWriter,
    documents: Vec<Document>,
) -> Result<Option<i64>, Error> {
    let mut ingestion = parts.catalog.ingest(tenant, dataset).await?.of_file(writer);
    for document in documents {
        if ingestion.add(document)? {
            ingestion.store().await?;
        }
    }
    ingestion.store().await?;
    Ok(ingestion.first_revision())
}

/// What is recorded of a file whose documents are stored.
pub(super) struct Known {
    pub(super) hash: String,
    pub(super) format: Format,
    pub(super) size: usize,
}

impl Known {
    pub(super) fn of(bytes: &Bytes) -> Self {
        Self { hash: bytes.hash.clone(), format: bytes.format, size: bytes.bytes.len() }
    }

    pub(super) fn stored(self, documents: usize, since: Option<i64>) -> StoredFile {
        let Self { hash, format, size } = self;
        StoredFile { hash, format: format.name(), size, documents, since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_knows_what_it_sends() {
        for (path, kind, expected) in [
            ("/README.md", Some("text/html; charset=utf-8"), Some(Format::Html)),
            ("/rows.csv", Some("text/plain"), Some(Format::Csv)),
            ("/page", Some("text/plain"), Some(Format::Text)),
            ("/rows.csv", Some("application/octet-stream"), Some(Format::Csv)),
            ("/page", Some("image/png"), None),
            ("/page", None, None),
        ] {
            assert_eq!(format_of(path, kind), expected, "{path} {kind:?}");
        }
    }
}
