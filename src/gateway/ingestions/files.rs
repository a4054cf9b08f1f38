//! Files of datasets: listed, sent in, deleted.

use axum::body::Body;
use futures_util::{Stream, StreamExt, stream};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tonic::Status;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    gateway::{
        problem::Problem,
        resources::{Done, moment},
        route::{Call, Route},
    },
    proto::{
        DeleteIngestionFileRequest, IngestionFile, IngestionFileState, ListIngestionFilesRequest,
        UploadFileRequest, UploadFileResponse,
    },
};

const PATH: &str = "/api/v1/ingestion/datasets/{name}/files";

/// Which files.
#[derive(Deserialize, JsonSchema)]
struct FilesQuery {
    /// Only files that this job has read last, or is to
    #[serde(default)]
    #[schemars(with = "Uuid")]
    job_id: Option<Uuid>,
    /// Only files that stand like this
    #[serde(default)]
    #[schemars(with = "FileState")]
    state: Option<FileState>,
    /// Files of a page at most; 0: 50; above 1000 counts as 1000
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    page_size: i64,
    /// The `next_page_token` of the page before
    #[serde(default)]
    page_token: String,
}

/// Which file.
#[derive(Deserialize, JsonSchema)]
struct FileQuery {
    /// The file's name in the dataset, at most 480 bytes
    #[schemars(length(min = 1, max = 480))]
    name: String,
}

/// A file of a dataset.
#[derive(Serialize, JsonSchema)]
struct File {
    name: String,
    state: FileState,
    /// Why it failed.
    reason: String,
    /// Of the bytes that are stored; empty when none are.
    sha256: String,
    size: i64,
    documents: i64,
    /// The job that has read it last, or is to; null for an upload.
    job_id: Option<String>,
    updated_at: String,
}

/// How a file stands.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum FileState {
    Pending,
    Running,
    Done,
    Failed,
}

/// Files of a dataset, by name.
#[derive(Serialize, JsonSchema)]
struct Files {
    files: Vec<File>,
    /// For `page_token`; null on the last page.
    next_page_token: Option<String>,
}

/// A file that was sent.
#[derive(Serialize, JsonSchema)]
struct Uploaded {
    file: File,
    /// It was there already, with the same bytes.
    unchanged: bool,
}

pub(super) fn routes() -> [Route; 3] {
    [
        Route::asking(Method::GET, PATH, list)
            .says("Lists the files of a dataset, by name, with the reasons why some have failed")
            .fails(&[404, 422]),
        Route::uploading(Method::POST, PATH, upload)
            .says("Stores one file, the body, of at most 64 MiB; its name or content type says what it is")
            .creates()
            .fails(&[400, 404, 408, 413, 422, 424, 502]),
        Route::asking(Method::DELETE, PATH, delete)
            .says("Deletes a file with its documents")
            .fails(&[404, 422]),
    ]
}

async fn list(call: Call, asked: FilesQuery) -> Result<Files, Problem> {
    let request = ListIngestionFilesRequest {
        dataset: call.param("name"),
        ingestion_id: asked.job_id.map(|id| id.to_string()).unwrap_or_default(),
        state: asked.state.map_or(IngestionFileState::Unspecified, FileState::into_proto).into(),
        page_size: i32::try_from(asked.page_size).unwrap_or(i32::MAX),
        page_token: asked.page_token,
    };
    let page = call.gateway.ingestions().list_ingestion_files(call.asks(request)).await?.into_inner();
    Ok(Files {
        files: page.files.into_iter().map(File::from).collect(),
        next_page_token: Some(page.next_page_token).filter(|token| !token.is_empty()),
    })
}

async fn upload(call: Call, asked: FileQuery, body: Body) -> Result<Uploaded, Problem> {
    let named = UploadFileRequest {
        dataset: call.param("name"),
        name: asked.name,
        media_type: call.content_type().to_owned(),
        ..Default::default()
    };
    let (broken, breaks) = oneshot::channel();
    let request = call.asks(pieces(named, body, broken));
    let mut ingestions = call.gateway.ingestions();
    let uploading = async {
        let mut answer = ingestions.upload_file(request).await?.into_inner();
        answer.message().await
    };
    let answer: Option<UploadFileResponse> = tokio::select! {
        answer = uploading => answer.map_err(problem)?,
        Ok(()) = breaks => {
            return Err(Problem::Refused(StatusCode::BAD_REQUEST, "The body broke off".into()));
        }
    };
    let UploadFileResponse { file, unchanged } = answer.unwrap_or_default();
    Ok(Uploaded { file: file.unwrap_or_default().into(), unchanged })
}

/// The messages of an upload. A body that breaks off never ends here: its end would be that of the file.
fn pieces(
    named: UploadFileRequest,
    body: Body,
    broken: oneshot::Sender<()>,
) -> impl Stream<Item = UploadFileRequest> + Send {
    let rest = stream::unfold((body.into_data_stream(), Some(broken)), |(mut body, mut broken)| async move {
        match body.next().await? {
            Ok(data) => Some((UploadFileRequest { data: data.into(), ..Default::default() }, (body, broken))),
            Err(_) => {
                // Nobody hears it when the answer has been given.
                let _ = broken.take().map(|broken| broken.send(()));
                std::future::pending().await
            }
        }
    });
    stream::iter([named]).chain(rest)
}

/// What is too large has a status of its own.
fn problem(status: Status) -> Problem {
    let bad = status.get_details_bad_request();
    let is_too_large = bad.is_some_and(|bad| {
        bad.field_violations
            .iter()
            .any(|violation| violation.field == "data" && violation.reason == "TOO_LONG")
    });
    if is_too_large {
        return Problem::Refused(StatusCode::PAYLOAD_TOO_LARGE, "The file is larger than 64 MiB".into());
    }
    status.into()
}

async fn delete(call: Call, asked: FileQuery) -> Result<Done, Problem> {
    let request = DeleteIngestionFileRequest { dataset: call.param("name"), name: asked.name };
    call.gateway.ingestions().delete_ingestion_file(call.asks(request)).await?;
    Ok(Done { message: "File deleted".to_owned() })
}

impl From<IngestionFile> for File {
    fn from(file: IngestionFile) -> Self {
        Self {
            state: file.state().into(),
            name: file.name,
            reason: file.reason,
            sha256: file.sha256,
            size: file.size,
            documents: file.documents,
            job_id: Some(file.ingestion_id).filter(|id| !id.is_empty()),
            updated_at: moment(file.update_time),
        }
    }
}

impl FileState {
    fn into_proto(self) -> IngestionFileState {
        match self {
            Self::Pending => IngestionFileState::Pending,
            Self::Running => IngestionFileState::Running,
            Self::Done => IngestionFileState::Done,
            Self::Failed => IngestionFileState::Failed,
        }
    }
}

impl From<IngestionFileState> for FileState {
    fn from(state: IngestionFileState) -> Self {
        match state {
            IngestionFileState::Pending | IngestionFileState::Unspecified => Self::Pending,
            IngestionFileState::Running => Self::Running,
            IngestionFileState::Done => Self::Done,
            IngestionFileState::Failed => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::{FutureExt, StreamExt, stream};
    use tokio::sync::oneshot;

    use super::pieces;
    use crate::proto::UploadFileRequest;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_off_never_ends() {
        let named = UploadFileRequest { name: "a.md".to_owned(), ..Default::default() };
        let body =
            |last: Result<&'static str, std::io::Error>| Body::from_stream(stream::iter([Ok("half"), last]));
        let (broken, mut breaks) = oneshot::channel();
        let whole: Vec<_> =
            pieces(named.clone(), body(Ok("rest")), broken).map(|piece| piece.data).collect().await;
        assert_eq!(whole, [b"".to_vec(), b"half".to_vec(), b"rest".to_vec()]);
        assert!((&mut breaks).now_or_never().is_some_and(|heard| heard.is_err()), "nothing broke");
        let (broken, breaks) = oneshot::channel();
        let parts = pieces(named, body(Err(std::io::ErrorKind::ConnectionReset.into())), broken);
        let ended = tokio::time::timeout(Duration::from_secs(3600), parts.count()).await;
        assert!(ended.is_err() && breaks.await.is_ok());
    }
}
