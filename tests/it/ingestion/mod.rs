//! Files on their way into datasets: one file per promise.

mod command;
mod folders;
mod lifecycle;
mod paths;
mod replicas;
mod rest;
mod uploads;
mod urls;
mod watching;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use syft_endpoints::{
    domain::AttachmentId,
    proto::{self, Ingestion, IngestionFile, IngestionState, IngestionUrls, start_ingestion_request::Source},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use crate::support::{
    database::Database,
    eventually,
    space::{Clients, Space},
};

/// A space with a dataset `docs` and a folder that jobs may read.
struct Rig {
    space: Space,
    clients: Clients,
    dataset: AttachmentId,
    root: PathBuf,
}

impl Rig {
    async fn start(database: Database) -> Self {
        Self::configured(database, &[]).await
    }

    async fn configured(database: Database, settings: &[(&'static str, &str)]) -> Self {
        let root = database.folder.path().join("root");
        fs::create_dir_all(&root).unwrap();
        let shown = root.display().to_string();
        let mut all = vec![("ingestion.root", shown.as_str())];
        all.extend(settings);
        let space = Space::configured(database, &all).await;
        let mut clients = space.admin().await;
        let dataset = clients.dataset("docs").await.id.parse().map(AttachmentId).unwrap();
        Self { space, clients, dataset, root }
    }

    /// Writes a file below the root.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a folder, to the end.
    async fn folder(&mut self, folder: &str) -> Ingestion {
        let id = start(&mut self.clients, Source::Folder(folder.to_owned())).await.unwrap().id;
        ended(&mut self.clients, &id).await
    }

    async fn urls(&mut self, urls: &[String]) -> Ingestion {
        let id = start(&mut self.clients, of_urls(urls)).await.unwrap().id;
        ended(&mut self.clients, &id).await
    }

    async fn files(&mut self) -> BTreeMap<String, IngestionFile> {
        files(&mut self.clients, "docs").await
    }

    async fn documents(&mut self) -> BTreeMap<String, String> {
        let request =
            proto::ListDocumentsRequest { dataset: "docs".to_owned(), page_size: 1000, ..Default::default() };
        let listed = self.clients.datasets.list_documents(request).await.unwrap().into_inner();
        listed.documents.into_iter().map(|document| (document.id, document.content)).collect()
    }

    /// The dataset's revision: it moves with every write.
    async fn revision(&self) -> i64 {
        self.space.store.document_revision(self.dataset).await.unwrap()
    }
}

fn of_urls(urls: &[String]) -> Source {
    Source::Urls(IngestionUrls { urls: urls.to_vec() })
}

async fn start(clients: &mut Clients, source: Source) -> Result<Ingestion, Status> {
    let request = proto::StartIngestionRequest { dataset: "docs".to_owned(), source: Some(source) };
    Ok(clients.ingestions.start_ingestion(request).await?.into_inner().ingestion.unwrap())
}

async fn get(clients: &mut Clients, id: &str) -> Ingestion {
    let request = proto::GetIngestionRequest { id: id.to_owned() };
    clients.ingestions.get_ingestion(request).await.unwrap().into_inner().ingestion.unwrap()
}

/// The job at its end.
async fn ended(clients: &mut Clients, id: &str) -> Ingestion {
    let request = proto::WatchIngestionRequest { id: id.to_owned() };
    let mut watched = clients.ingestions.watch_ingestion(request).await.unwrap().into_inner();
    let mut last = None;
    let reading = async {
        while let Some(message) = watched.message().await.unwrap() {
            last = message.ingestion;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), reading).await.expect("it does not end");
    last.unwrap()
}

async fn files(clients: &mut Clients, dataset: &str) -> BTreeMap<String, IngestionFile> {
    let request = proto::ListIngestionFilesRequest {
        dataset: dataset.to_owned(),
        page_size: 1000,
        ..Default::default()
    };
    let listed = clients.ingestions.list_ingestion_files(request).await.unwrap().into_inner();
    listed.files.into_iter().map(|file| (file.name.clone(), file)).collect()
}

/// total, done, unchanged, failed, removed.
fn counts(job: &Ingestion) -> [i64; 5] {
    let counts = job.counts.unwrap();
    [counts.total, counts.done, counts.unchanged, counts.failed, counts.removed]
}

fn state(job: &Ingestion) -> IngestionState {
    job.state()
}

/// Ids of what a search finds.
async fn found(clients: &mut Clients, text: &str) -> Vec<(String, String)> {
    let request = proto::SearchDatasetRequest {
        name: "docs".to_owned(),
        text: text.to_owned(),
        limit: Some(100),
        ..Default::default()
    };
    let found = clients.datasets.search_dataset(request).await.unwrap().into_inner().references.unwrap();
    found
        .documents
        .into_iter()
        .map(|found| (found.document_id, format!("{:?}", found.similarity_score)))
        .collect()
}

/// Makes every running job look as if its process had died.
async fn lapse(raw: &DatabaseConnection) {
    raw.execute_unprepared("UPDATE ingestion_jobs SET held_until = 1 WHERE state = 'running'").await.unwrap();
}

/// A server of files. Whatever is asked for below `/gated/` waits for the gate.
struct Files {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

struct Shared {
    /// Content type and text by path.
    files: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    gate: Semaphore,
    /// Paths and queries that were asked for.
    asked: Mutex<Vec<String>>,
}

impl Drop for Files {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Files {
    async fn start(files: &[(&str, &str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, kind, text)| ((*path).to_owned(), ((*kind).to_owned(), text.as_bytes().to_vec())));
        let (files, asked) = (Mutex::new(files.collect()), Mutex::default());
        let shared = Arc::new(Shared { files, gate: Semaphore::new(0), asked });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let app = axum::Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let until = stop.clone();
        TaskTracker::new().spawn(async move {
            until.run_until_cancelled(async move { axum::serve(listener, app).await }).await
        });
        Self { address, shared, stop }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn put(&self, path: &str, kind: &str, text: impl Into<Vec<u8>>) {
        self.shared.files.lock().unwrap().insert(path.to_owned(), (kind.to_owned(), text.into()));
    }

    fn remove(&self, path: &str) {
        self.shared.files.lock().unwrap().remove(path);
    }

    fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    async fn asked_for(&self, count: usize) {
        eventually("it is asked", async || self.asked().len() >= count).await;
    }

    /// Lets so many gated requests pass.
    fn open(&self, count: usize) {
        self.shared.gate.add_permits(count);
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    shared.asked.lock().unwrap().push(request.uri().to_string());
    if path.starts_with("/gated/") {
        shared.gate.acquire().await.unwrap().forget();
    }
    let found = shared.files.lock().unwrap().get(&path).cloned();
    match found {
        Some((kind, text)) => ([(CONTENT_TYPE, kind)], Body::from(text)).into_response(),
        None if path == "/elsewhere" => (StatusCode::FOUND, [("location", "/one.md")]).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
