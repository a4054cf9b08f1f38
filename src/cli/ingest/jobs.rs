//! `ingest --on-server`: jobs that the server runs, and their progress.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::ProgressBar;
use serde_json::{Value, json};
use syft_endpoints::{
    error::Cause,
    proto::{
        Ingestion, IngestionFile, IngestionFileState, IngestionState, IngestionUrls,
        ListIngestionFilesRequest, StartIngestionRequest, WatchIngestionRequest, ingestion,
        start_ingestion_request::Source,
    },
};

use super::progress;
use crate::cli::{
    client::Client,
    output::{failure, plain},
};

/// Files that are named when they have failed.
const SHOWN: i32 = 20;

/// Starts a job for each folder and one for all URLs, and follows them to their ends. The exit status says
/// whether all are done.
pub(super) async fn run(
    client: &Client,
    dataset: &str,
    paths: &[PathBuf],
    json: bool,
) -> Result<ExitCode, Cause> {
    let mut jobs = Vec::new();
    for source in sources(paths)? {
        let request = StartIngestionRequest { dataset: dataset.to_owned(), source: Some(source) };
        let started = client.ingestions().start_ingestion(request).await;
        jobs.push(started.map_err(|status| failure(&status))?.into_inner().ingestion.unwrap_or_default());
    }
    let mut are_done = true;
    for job in jobs {
        let ended = follow(client, &job.id, json).await?;
        are_done &= ended.state() == IngestionState::Done;
        let failed = failed_files(client, &ended).await?;
        if json {
            say!("{}", as_json(&ended, &failed))?;
        } else {
            tell(&ended, &failed)?;
        }
    }
    Ok(if are_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Cause> {
    let (mut sources, mut urls) = (Vec::new(), Vec::new());
    for path in paths {
        let text = path.to_str().ok_or_else(|| format!("{}: not UTF-8", path.display()))?;
        if text.starts_with("http://") || text.starts_with("https://") {
            urls.push(text.to_owned());
        } else {
            // The root is named like this.
            let folder = if path == Path::new(".") { String::new() } else { text.to_owned() };
            sources.push(Source::Folder(folder));
        }
    }
    if !urls.is_empty() {
        sources.push(Source::Urls(IngestionUrls { urls }));
    }
    Ok(sources)
}

/// The job at its end.
async fn follow(client: &Client, id: &str, quiet: bool) -> Result<Ingestion, Cause> {
    let request = WatchIngestionRequest { id: id.to_owned() };
    let watched = client.ingestions().watch_ingestion(request).await;
    let mut watched = watched.map_err(|status| failure(&status))?.into_inner();
    let (bar, mut last) = (progress(0, quiet), Ingestion::default());
    while let Some(message) = watched.message().await.map_err(|status| failure(&status))? {
        last = message.ingestion.unwrap_or_default();
        draw(&bar, &last);
    }
    bar.finish_and_clear();
    Ok(last)
}

fn draw(bar: &ProgressBar, job: &Ingestion) {
    let counts = job.counts.unwrap_or_default();
    let number = |count: i64| u64::try_from(count).unwrap_or_default();
    bar.set_length(number(counts.total));
    bar.set_position(number(counts.done + counts.unchanged + counts.failed));
    bar.set_message(match job.state() {
        IngestionState::Pending => "waits for its turn".to_owned(),
        _ if counts.failed > 0 => format!("{} failed", counts.failed),
        _ => String::new(),
    });
}

async fn failed_files(client: &Client, job: &Ingestion) -> Result<Vec<IngestionFile>, Cause> {
    if job.counts.unwrap_or_default().failed == 0 {
        return Ok(Vec::new());
    }
    let request = ListIngestionFilesRequest {
        dataset: job.dataset.clone(),
        ingestion_id: job.id.clone(),
        state: IngestionFileState::Failed.into(),
        page_size: SHOWN,
        page_token: String::new(),
    };
    let listed = client.ingestions().list_ingestion_files(request).await;
    Ok(listed.map_err(|status| failure(&status))?.into_inner().files)
}

fn tell(job: &Ingestion, failed: &[IngestionFile]) -> Result<(), Cause> {
    for file in failed {
        eprintln!("{}: {}", plain(&file.name), plain(&file.reason));
    }
    let counts = job.counts.unwrap_or_default();
    let source = match &job.source {
        Some(ingestion::Source::Folder(folder)) if folder.is_empty() => "the server's folder".to_owned(),
        Some(ingestion::Source::Folder(folder)) => plain(folder),
        _ => "URLs".to_owned(),
    };
    let error = if job.error.is_empty() { String::new() } else { format!(": {}", plain(&job.error)) };
    say!(
        "{source}: {}{error}; {} stored, {} unchanged, {} failed, {} removed",
        name(job),
        counts.done,
        counts.unchanged,
        counts.failed,
        counts.removed
    )?;
    Ok(())
}

fn as_json(job: &Ingestion, failed: &[IngestionFile]) -> Value {
    let counts = job.counts.unwrap_or_default();
    let failures = failed.iter().map(|file| json!({"name": file.name, "reason": file.reason}));
    json!({
        "id": job.id,
        "state": name(job),
        "total": counts.total,
        "done": counts.done,
        "unchanged": counts.unchanged,
        "failed": counts.failed,
        "removed": counts.removed,
        "error": job.error,
        "failures": failures.collect::<Vec<_>>(),
    })
}

fn name(job: &Ingestion) -> String {
    job.state().as_str_name().trim_start_matches("INGESTION_STATE_").to_lowercase()
}
