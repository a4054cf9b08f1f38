//! `ingest`: files to documents, over the public API.

mod jobs;
mod leftovers;
mod watch;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use syft_endpoints::{
    domain,
    error::Cause,
    extract::{self, File, Unreadable},
    proto::{CreateDatasetRequest, Dataset, Document, IngestDocumentsRequest, to_struct},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{
    client::{Client, ClientArgs},
    output::failure,
};

/// Documents in one message at most.
const PER_MESSAGE: usize = 64;
/// Bytes of text in one message, but for a single document.
const MESSAGE_BYTES: usize = 1 << 20;

#[derive(Args)]
pub(super) struct Ingest {
    /// The dataset's name
    dataset: String,
    /// Files and folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    /// Create the dataset if there is none of that name
    #[arg(long)]
    create: bool,
    /// Have the server read them: folders and files below its `ingestion.root`, and URLs
    #[arg(long, conflicts_with = "watch")]
    on_server: bool,
    /// Keep the dataset in step with one folder until Ctrl-C: what changes is stored, what is removed is deleted
    #[arg(long)]
    watch: bool,
    /// A JSON object at the end instead of a progress bar; with --watch, one for each change
    #[arg(long)]
    json: bool,
}

impl Ingest {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let client = self.client.connect().await?;
        if self.create {
            create(&client, &self.dataset).await?;
        }
        if self.on_server {
            return jobs::run(&client, &self.dataset, &self.paths, self.json).await;
        }
        if self.watch {
            let [folder] = self.paths.as_slice() else { return Err("--watch takes one folder".into()) };
            return watch::run(&client, &self.dataset, folder, self.json).await;
        }
        self.load(&client).await
    }

    /// Files that cannot be read are told and passed over; the exit status says so.
    async fn load(self, client: &Client) -> Result<ExitCode, Cause> {
        let files = extract::files(&self.paths)?;
        let bar = progress(files.len(), self.json);
        let (mut failed, mut read) = (0, Vec::new());
        let (outgoing, messages) = mpsc::channel(4);
        let upload = upload(client, &self.dataset, messages);
        let reading = async {
            for file in &files {
                match documents(file) {
                    Ok(documents) => {
                        read.push(leftovers::Read::new(&file.name, &documents));
                        send(&outgoing, documents).await;
                    }
                    Err(error) => {
                        failed += 1;
                        bar.suspend(|| eprintln!("{}: {error}", file.path.display()));
                    }
                }
                bar.inc(1);
            }
            drop(outgoing);
        };
        let ((), stored) = tokio::join!(reading, upload);
        bar.finish_and_clear();
        let stored = stored?;
        leftovers::delete(client, &self.dataset, &read).await?;
        if self.json {
            say!(
                "{}",
                serde_json::json!({"files": files.len() - failed, "failed": failed, "documents": stored})
            )?;
        } else {
            say!("{stored} documents from {} files are stored and searchable", files.len() - failed)?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn documents(file: &File) -> Result<Vec<Document>, Unreadable> {
    let documents = extract::documents(&file.name, file.format, file.read()?)?;
    Ok(documents.into_iter().map(message).collect())
}

/// A document as the API takes it.
pub(super) fn message(document: domain::Document) -> Document {
    let domain::Document { id, content, metadata } = document;
    Document { id, content, metadata: Some(to_struct(metadata)) }
}

/// Sends documents in one stream and returns how many the server has acknowledged.
pub(super) async fn upload(
    client: &Client,
    dataset: &str,
    mut messages: mpsc::Receiver<Vec<Document>>,
) -> Result<i64, Cause> {
    let (outgoing, stream) = mpsc::channel(4);
    let begin = IngestDocumentsRequest { dataset: dataset.to_owned(), documents: Vec::new() };
    let feeding = async move {
        let mut next = Some(begin);
        while let Some(message) = next {
            if outgoing.send(message).await.is_err() {
                return;
            }
            next = messages
                .recv()
                .await
                .map(|documents| IngestDocumentsRequest { documents, ..Default::default() });
        }
    };
    let mut datasets = client.datasets();
    let acknowledging = async {
        let call = datasets.ingest_documents(ReceiverStream::new(stream)).await;
        let mut acknowledged = call.map_err(|status| failure(&status))?.into_inner();
        let mut stored = 0;
        loop {
            match acknowledged.message().await {
                Ok(Some(batch)) => stored = batch.acknowledged,
                Ok(None) => return Ok(stored),
                Err(status) => {
                    return Err(format!("{} ({stored} documents are stored)", failure(&status)).into());
                }
            }
        }
    };
    let ((), stored) = tokio::join!(feeding, acknowledging);
    stored
}

async fn send(outgoing: &mpsc::Sender<Vec<Document>>, documents: Vec<Document>) {
    let (mut message, mut bytes) = (Vec::new(), 0);
    for document in documents {
        bytes += document.content.len();
        if message.len() == PER_MESSAGE || (bytes > MESSAGE_BYTES && !message.is_empty()) {
            bytes = document.content.len();
            // A closed channel means that the upload has failed, and it says why.
            let _ = outgoing.send(std::mem::take(&mut message)).await;
        }
        message.push(document);
    }
    let _ = outgoing.send(message).await;
}

async fn create(client: &Client, name: &str) -> Result<(), Cause> {
    let dataset = Dataset { name: name.to_owned(), dtype: "local".to_owned(), ..Dataset::default() };
    match client.datasets().create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await {
        Err(status) if status.code() != Code::AlreadyExists => Err(failure(&status)),
        _ => Ok(()),
    }
}

fn progress(files: usize, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(files as u64);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} files  {elapsed}  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
