//! `/ingestion`: jobs that read folders and URLs into datasets, and the files of datasets.

mod files;
mod watch;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{
    body::Violation,
    problem::Problem,
    resources::{PAGE, moment},
    route::{Call, Route},
};
use crate::proto::{
    GetIngestionRequest, Ingestion, IngestionState, IngestionUrls, ListIngestionsRequest,
    RetryIngestionRequest, StartIngestionRequest, StopIngestionRequest, ingestion,
    start_ingestion_request::Source,
};

/// What to read: a folder, or URLs. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct StartRequest {
    /// A folder or file below the service's `ingestion.root`; empty for all of it.
    #[serde(default)]
    #[schemars(with = "String")]
    folder: Option<String>,
    /// http or https, without credentials.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(min = 1, max = 1000), inner(length(min = 1)))]
    urls: Option<Vec<String>>,
}

/// A page of a list.
#[derive(Deserialize, JsonSchema)]
struct PageQuery {
    /// Items of a page at most; 0: 50; above 1000 counts as 1000
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    page_size: i64,
    /// The `next_page_token` of the page before
    #[serde(default)]
    page_token: String,
}

/// A job.
#[derive(Serialize, JsonSchema)]
struct IngestionJob {
    id: String,
    /// The dataset's name.
    dataset: String,
    /// Below the service's `ingestion.root`; null when URLs are read.
    folder: Option<String>,
    /// Without their queries; null when a folder is read.
    urls: Option<Vec<String>>,
    state: State,
    /// Files that the source has.
    total: i64,
    /// Files that were read and stored.
    done: i64,
    /// Files that were as they are stored.
    unchanged: i64,
    failed: i64,
    /// Files that are gone from the folder, with their documents.
    removed: i64,
    /// Why it failed.
    error: String,
    /// How often a replica has begun with it.
    attempt: i64,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
}

/// How a job stands.
#[derive(Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum State {
    Pending,
    Running,
    Done,
    Failed,
    Stopped,
}

/// How a dataset stands.
#[derive(Serialize, JsonSchema)]
struct IngestionStatus {
    /// Of the newest job; null when there is none.
    state: Option<State>,
    /// The newest one.
    job: Option<IngestionJob>,
}

/// Jobs.
#[derive(Serialize, JsonSchema)]
struct IngestionJobs {
    jobs: Vec<IngestionJob>,
    /// For `page_token`; null on the last page.
    next_page_token: Option<String>,
}

pub(super) fn routes() -> Vec<Route> {
    let jobs = [
        Route::reading(Method::POST, "/api/v1/ingestion/datasets/{name}/start", start)
            .says("Starts a job that reads a folder of the service's, or URLs, into a dataset")
            .creates()
            .fails(&[404]),
        Route::new(Method::POST, "/api/v1/ingestion/datasets/{name}/stop", stop_all)
            .says("Stops the jobs of a dataset that have not ended")
            .fails(&[404]),
        Route::new(Method::POST, "/api/v1/ingestion/datasets/{name}/retry", retry_newest)
            .says(
                "Does the newest job of a dataset again, if it has failed or was stopped: what was not done",
            )
            .fails(&[404, 409]),
        Route::new(Method::GET, "/api/v1/ingestion/datasets/{name}/status", status)
            .says("Shows the newest job of a dataset")
            .fails(&[404]),
        Route::asking(Method::GET, "/api/v1/ingestion/datasets/{name}/jobs", list)
            .says("Lists the jobs of a dataset, newest first")
            .fails(&[404, 422]),
        Route::new(Method::GET, "/api/v1/ingestion/jobs/{job_id}", get)
            .says("Shows a job")
            .fails(&[404, 422]),
        Route::new(Method::POST, "/api/v1/ingestion/jobs/{job_id}/stop", stop)
            .says("Stops a job; what it has stored stays")
            .fails(&[404, 422]),
        Route::new(Method::POST, "/api/v1/ingestion/jobs/{job_id}/retry", retry)
            .says("Does a job again that has failed or was stopped: what was not done")
            .fails(&[404, 422]),
    ];
    jobs.into_iter().chain(files::routes()).chain([watch::route()]).collect()
}

async fn start(call: Call, new: StartRequest) -> Result<IngestionJob, Problem> {
    let source = match (new.folder, new.urls) {
        (Some(folder), None) => Source::Folder(folder),
        (None, Some(urls)) => Source::Urls(IngestionUrls { urls }),
        _ => {
            let msg = "Either folder or urls must be provided";
            return Err(vec![Violation::rule(vec!["body".into()], msg)].into());
        }
    };
    let request = StartIngestionRequest { dataset: call.param("name"), source: Some(source) };
    let started = call.gateway.ingestions().start_ingestion(call.asks(request)).await?.into_inner();
    Ok(started.ingestion.unwrap_or_default().into())
}

async fn stop_all(call: Call) -> Result<IngestionJobs, Problem> {
    let mut jobs = Vec::new();
    let (mut page_token, dataset) = (String::new(), call.param("name"));
    loop {
        let request = ListIngestionsRequest { dataset: dataset.clone(), page_size: PAGE, page_token };
        let page = call.gateway.ingestions().list_ingestions(call.asks(request)).await?.into_inner();
        for job in page.ingestions {
            if matches!(job.state(), IngestionState::Pending | IngestionState::Running) {
                jobs.push(stopped(&call, job.id).await?.into());
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(IngestionJobs { jobs, next_page_token: None });
        }
    }
}

async fn retry_newest(call: Call) -> Result<IngestionJob, Problem> {
    match newest(&call).await? {
        Some(job) if matches!(job.state(), IngestionState::Failed | IngestionState::Stopped) => {
            Ok(retried(&call, job.id).await?.into())
        }
        Some(_) => {
            let detail = "The newest job has neither failed nor been stopped";
            Err(Problem::Refused(StatusCode::CONFLICT, detail.into()))
        }
        None => Err(Problem::Refused(StatusCode::NOT_FOUND, "The dataset has no job".into())),
    }
}

async fn status(call: Call) -> Result<IngestionStatus, Problem> {
    let job = newest(&call).await?.map(IngestionJob::from);
    Ok(IngestionStatus { state: job.as_ref().map(|job| job.state), job })
}

async fn list(call: Call, asked: PageQuery) -> Result<IngestionJobs, Problem> {
    let page_size = i32::try_from(asked.page_size).unwrap_or(i32::MAX);
    let request =
        ListIngestionsRequest { dataset: call.param("name"), page_size, page_token: asked.page_token };
    let page = call.gateway.ingestions().list_ingestions(call.asks(request)).await?.into_inner();
    Ok(IngestionJobs {
        jobs: page.ingestions.into_iter().map(IngestionJob::from).collect(),
        next_page_token: Some(page.next_page_token).filter(|token| !token.is_empty()),
    })
}

async fn get(call: Call) -> Result<IngestionJob, Problem> {
    let request = GetIngestionRequest { id: call.id("job_id")?.to_string() };
    let found = call.gateway.ingestions().get_ingestion(call.asks(request)).await?.into_inner();
    Ok(found.ingestion.unwrap_or_default().into())
}

async fn stop(call: Call) -> Result<IngestionJob, Problem> {
    let id = call.id("job_id")?.to_string();
    Ok(stopped(&call, id).await?.into())
}

async fn retry(call: Call) -> Result<IngestionJob, Problem> {
    let id = call.id("job_id")?.to_string();
    Ok(retried(&call, id).await?.into())
}

async fn stopped(call: &Call, id: String) -> Result<Ingestion, Status> {
    let request = call.asks(StopIngestionRequest { id });
    Ok(call.gateway.ingestions().stop_ingestion(request).await?.into_inner().ingestion.unwrap_or_default())
}

async fn retried(call: &Call, id: String) -> Result<Ingestion, Status> {
    let request = call.asks(RetryIngestionRequest { id });
    Ok(call.gateway.ingestions().retry_ingestion(request).await?.into_inner().ingestion.unwrap_or_default())
}

async fn newest(call: &Call) -> Result<Option<Ingestion>, Status> {
    let request =
        ListIngestionsRequest { dataset: call.param("name"), page_size: 1, page_token: String::new() };
    let page = call.gateway.ingestions().list_ingestions(call.asks(request)).await?.into_inner();
    Ok(page.ingestions.into_iter().next())
}

impl From<Ingestion> for IngestionJob {
    fn from(job: Ingestion) -> Self {
        let (state, counts) = (job.state().into(), job.counts.unwrap_or_default());
        let (folder, urls) = match job.source {
            Some(ingestion::Source::Folder(folder)) => (Some(folder), None),
            Some(ingestion::Source::Urls(urls)) => (None, Some(urls.urls)),
            None => (None, None),
        };
        Self {
            id: job.id,
            dataset: job.dataset,
            folder,
            urls,
            state,
            total: counts.total,
            done: counts.done,
            unchanged: counts.unchanged,
            failed: counts.failed,
            removed: counts.removed,
            error: job.error,
            attempt: job.attempt,
            created_at: moment(job.create_time),
            started_at: job.start_time.map(|time| moment(Some(time))),
            ended_at: job.end_time.map(|time| moment(Some(time))),
        }
    }
}

impl From<IngestionState> for State {
    fn from(state: IngestionState) -> Self {
        match state {
            IngestionState::Pending | IngestionState::Unspecified => Self::Pending,
            IngestionState::Running => Self::Running,
            IngestionState::Done => Self::Done,
            IngestionState::Failed => Self::Failed,
            IngestionState::Stopped => Self::Stopped,
        }
    }
}
