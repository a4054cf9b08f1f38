//! `ingest --watch`: a folder of this machine, and a dataset that follows it over the public API.
//!
//! The folder is looked through once a second. A file whose size and time are as they were is not opened; one
//! whose bytes are as the server has them is not sent.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use syft_endpoints::{
    error::Cause,
    extract::{self, File},
    proto::{DeleteIngestionFileRequest, IngestionFileState, ListIngestionFilesRequest, UploadFileRequest},
};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::cli::{
    client::Client,
    output::{failure, plain},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of one message.
const PIECE: usize = 1 << 20;
/// Files of one page.
const PAGE: i32 = 1000;

/// A dataset that follows a folder.
struct Follower<'a> {
    client: &'a Client,
    dataset: &'a str,
    json: bool,
    /// SHA-256 of what the server has, by name.
    stored: HashMap<String, String>,
    /// What was seen here last, and dealt with.
    seen: BTreeMap<String, Seen>,
    /// What went wrong last, told once.
    trouble: String,
}

#[derive(Clone, Copy, PartialEq)]
struct Seen {
    size: u64,
    modified: Option<SystemTime>,
}

/// What became of a file.
enum Sent {
    Stored(i64),
    Unchanged,
    /// It cannot be read, here or there.
    Refused(String),
}

/// Follows a folder until Ctrl-C.
pub(super) async fn run(
    client: &Client,
    dataset: &str,
    folder: &Path,
    json: bool,
) -> Result<ExitCode, Cause> {
    if !folder.is_dir() {
        return Err(format!("{}: no such folder", folder.display()).into());
    }
    let stored = stored(client, dataset).await.map_err(|status| failure(&status))?;
    let mut follower =
        Follower { client, dataset, json, stored, seen: BTreeMap::new(), trouble: String::new() };
    let following = async {
        let mut is_first = true;
        loop {
            let looked = follower.look(folder).await;
            if is_first && looked.is_ok() {
                is_first = false;
                follower.say("watching", &folder.display().to_string(), "")?;
            }
            follower.heard(looked)?;
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        failed = following => failed,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Follower<'_> {
    /// Brings the dataset in line with the folder, as far as that goes.
    async fn look(&mut self, folder: &Path) -> Result<(), Cause> {
        let root = folder.to_owned();
        let files = tokio::task::spawn_blocking(move || extract::folder(&root)).await??;
        let mut there = BTreeMap::new();
        for file in files {
            // One that is gone again is none.
            match fs::metadata(&file.path) {
                Ok(found) => {
                    let seen = Seen { size: found.len(), modified: found.modified().ok() };
                    there.insert(file.name.clone(), (file, seen));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // Not to be seen is not gone.
                Err(error) => return Err(format!("{}: {error}", file.path.display()).into()),
            }
        }
        let gone: Vec<String> = self.seen.keys().filter(|name| !there.contains_key(*name)).cloned().collect();
        for name in gone {
            self.delete(&name).await?;
        }
        for (name, (file, seen)) in there {
            if self.seen.get(&name) != Some(&seen) {
                self.bring(file).await?;
                self.seen.insert(name, seen);
            }
        }
        Ok(())
    }

    async fn bring(&mut self, file: File) -> Result<(), Cause> {
        let name = file.name.clone();
        match self.send(file).await? {
            Sent::Stored(documents) => self.say("stored", &name, &format!("{documents} documents")),
            Sent::Unchanged => Ok(()),
            Sent::Refused(reason) => self.say("failed", &name, &reason),
        }
    }

    async fn send(&mut self, file: File) -> Result<Sent, Cause> {
        let name = file.name.clone();
        let bytes = match tokio::task::spawn_blocking(move || file.read()).await? {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Sent::Refused(reason.to_string())),
        };
        let hash: String =
            digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if self.stored.get(&name) == Some(&hash) {
            return Ok(Sent::Unchanged);
        }
        let answer = match upload(self.client, self.dataset, &name, bytes).await {
            Ok(answer) => answer,
            Err(status) if [Code::InvalidArgument, Code::FailedPrecondition].contains(&status.code()) => {
                return Ok(Sent::Refused(status.message().to_owned()));
            }
            Err(status) => return Err(failure(&status)),
        };
        self.stored.insert(name, hash);
        Ok(if answer.unchanged {
            Sent::Unchanged
        } else {
            Sent::Stored(answer.file.unwrap_or_default().documents)
        })
    }

    async fn delete(&mut self, name: &str) -> Result<(), Cause> {
        let request = DeleteIngestionFileRequest { dataset: self.dataset.to_owned(), name: name.to_owned() };
        match self.client.ingestions().delete_ingestion_file(request).await {
            Err(status) if status.code() != Code::NotFound => return Err(failure(&status)),
            _ => {}
        }
        self.seen.remove(name);
        if self.stored.remove(name).is_some() { self.say("deleted", name, "") } else { Ok(()) }
    }

    /// Tells of trouble, once for each kind; it may pass.
    fn heard(&mut self, looked: Result<(), Cause>) -> Result<(), Cause> {
        let trouble = looked.err().map(|error| error.to_string()).unwrap_or_default();
        if !trouble.is_empty() && trouble != self.trouble {
            eprintln!("{}", plain(&trouble));
        }
        self.trouble = trouble;
        Ok(())
    }

    fn say(&self, event: &str, name: &str, more: &str) -> Result<(), Cause> {
        if self.json {
            say!("{}", json!({"event": event, "name": name, "detail": more}))?;
        } else {
            let more = if more.is_empty() { String::new() } else { format!(": {}", plain(more)) };
            say!("{event} {}{more}", plain(name))?;
        }
        Ok(())
    }
}

/// What the server has of each file.
async fn stored(client: &Client, dataset: &str) -> Result<HashMap<String, String>, Status> {
    let (mut stored, mut page_token) = (HashMap::new(), String::new());
    loop {
        let request = ListIngestionFilesRequest {
            dataset: dataset.to_owned(),
            state: IngestionFileState::Done.into(),
            page_size: PAGE,
            page_token,
            ..Default::default()
        };
        let page = client.ingestions().list_ingestion_files(request).await?.into_inner();
        stored.extend(page.files.into_iter().map(|file| (file.name, file.sha256)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(stored);
        }
    }
}

async fn upload(
    client: &Client,
    dataset: &str,
    name: &str,
    bytes: Vec<u8>,
) -> Result<syft_endpoints::proto::UploadFileResponse, Status> {
    let first = UploadFileRequest {
        dataset: dataset.to_owned(),
        name: name.to_owned(),
        ..UploadFileRequest::default()
    };
    let rest: Vec<UploadFileRequest> = bytes
        .chunks(PIECE)
        .map(|data| UploadFileRequest { data: data.to_vec(), ..UploadFileRequest::default() })
        .collect();
    let messages = tokio_stream::iter(std::iter::once(first).chain(rest));
    let mut answer = client.ingestions().upload_file(messages).await?.into_inner();
    let ended = || Status::unavailable("the server has ended the upload without an answer");
    answer.message().await?.ok_or_else(ended)
}
