//! `syft.space.v1.IngestionService`.

use std::time::Duration;

use async_stream::try_stream;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Api, convert,
    status::{status, unreadable},
    tenant,
};
use crate::{
    catalog::FilesDraft,
    domain::Tenant,
    error::{Ended, Error, Violation},
    ingestion::{Ingestions, Uploaded},
    proto::{self, UploadFileRequest, ingestion_service_server::IngestionService},
};

/// Longest silence in an upload, and longest time for all of it: it holds a whole file in memory.
const SILENCE: Duration = Duration::from_secs(30);
const WHOLE: Duration = Duration::from_secs(900);

#[tonic::async_trait]
impl IngestionService for Api {
    type WatchIngestionStream = BoxStream<'static, Result<proto::WatchIngestionResponse, Status>>;
    type UploadFileStream = BoxStream<'static, Result<proto::UploadFileResponse, Status>>;

    async fn start_ingestion(
        &self,
        request: Request<proto::StartIngestionRequest>,
    ) -> Result<Response<proto::StartIngestionResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let source = convert::ingestion_source(request.source).map_err(invalid)?;
        let started = self.ingestions.start(&tenant, &request.dataset, source).await.map_err(status)?;
        Ok(Response::new(proto::StartIngestionResponse { ingestion: Some(convert::ingestion(started)) }))
    }

    async fn get_ingestion(
        &self,
        request: Request<proto::GetIngestionRequest>,
    ) -> Result<Response<proto::GetIngestionResponse>, Status> {
        let tenant = tenant(&request)?;
        let found = self.catalog.ingestion(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::GetIngestionResponse { ingestion: Some(convert::ingestion(found)) }))
    }

    async fn list_ingestions(
        &self,
        request: Request<proto::ListIngestionsRequest>,
    ) -> Result<Response<proto::ListIngestionsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.ingestions(&tenant, &request.dataset, &page).await.map_err(status)?;
        let ingestions = found.items.into_iter().map(convert::ingestion).collect();
        Ok(Response::new(proto::ListIngestionsResponse { ingestions, next_page_token: found.next_token }))
    }

    async fn watch_ingestion(
        &self,
        request: Request<proto::WatchIngestionRequest>,
    ) -> Result<Response<Self::WatchIngestionStream>, Status> {
        let tenant = tenant(&request)?;
        let job = self.catalog.ingestion(&tenant, &request.into_inner().id).await.map_err(status)?;
        let watched = self.ingestions.watch(tenant.id, job.id).await.map_err(status)?;
        let shown = watched.map(|job| match job {
            Ok(job) => Ok(proto::WatchIngestionResponse { ingestion: Some(convert::ingestion(job)) }),
            Err(error) => Err(status(error)),
        });
        Ok(Response::new(shown.boxed()))
    }

    async fn stop_ingestion(
        &self,
        request: Request<proto::StopIngestionRequest>,
    ) -> Result<Response<proto::StopIngestionResponse>, Status> {
        let tenant = tenant(&request)?;
        let stopped = self.catalog.stop_ingestion(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::StopIngestionResponse { ingestion: Some(convert::ingestion(stopped)) }))
    }

    async fn retry_ingestion(
        &self,
        request: Request<proto::RetryIngestionRequest>,
    ) -> Result<Response<proto::RetryIngestionResponse>, Status> {
        let tenant = tenant(&request)?;
        let retried =
            self.catalog.retry_ingestion(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::RetryIngestionResponse { ingestion: Some(convert::ingestion(retried)) }))
    }

    async fn list_ingestion_files(
        &self,
        request: Request<proto::ListIngestionFilesRequest>,
    ) -> Result<Response<proto::ListIngestionFilesResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let state = convert::file_state(request.state).map_err(invalid)?;
        let draft = FilesDraft { dataset: request.dataset, job: request.ingestion_id, state };
        let found = self.catalog.ingested_files(&tenant, draft, &page).await.map_err(status)?;
        let files = found.items.into_iter().map(convert::ingestion_file).collect();
        Ok(Response::new(proto::ListIngestionFilesResponse { files, next_page_token: found.next_token }))
    }

    async fn upload_file(
        &self,
        request: Request<Streaming<UploadFileRequest>>,
    ) -> Result<Response<Self::UploadFileStream>, Status> {
        let tenant = tenant(&request)?;
        let answer = uploaded(self.ingestions.clone(), tenant, request.into_inner());
        Ok(Response::new(answer.boxed()))
    }

    async fn delete_ingestion_file(
        &self,
        request: Request<proto::DeleteIngestionFileRequest>,
    ) -> Result<Response<proto::DeleteIngestionFileResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        self.catalog.delete_file(&tenant, &request.dataset, &request.name).await.map_err(status)?;
        Ok(Response::new(proto::DeleteIngestionFileResponse {}))
    }
}

/// The answer's headers leave at once, so that the upload holds no place of a call that waits.
fn uploaded(
    ingestions: Ingestions,
    tenant: Tenant,
    incoming: Streaming<UploadFileRequest>,
) -> impl Stream<Item = Result<proto::UploadFileResponse, Status>> {
    try_stream! {
        let Uploaded { file, unchanged } = upload(&ingestions, &tenant, incoming).await?;
        yield proto::UploadFileResponse { file: Some(convert::ingestion_file(file)), unchanged };
    }
}

async fn upload(
    ingestions: &Ingestions,
    tenant: &Tenant,
    mut incoming: Streaming<UploadFileRequest>,
) -> Result<Uploaded, Status> {
    let end = Instant::now() + WHOLE;
    let first = next(&mut incoming, end).await?.unwrap_or_default();
    let named = (first.name.as_str(), first.media_type.as_str());
    let mut upload = ingestions.upload(tenant, &first.dataset, named).await.map_err(status)?;
    upload.add(&first.data).map_err(status)?;
    while let Some(piece) = next(&mut incoming, end).await? {
        upload.add(&piece.data).map_err(status)?;
    }
    // A client that went away looks as if it had sent everything: the connection sees the difference, and drops this call.
    tokio::task::yield_now().await;
    upload.finish().await.map_err(status)
}

async fn next(
    incoming: &mut Streaming<UploadFileRequest>,
    end: Instant,
) -> Result<Option<UploadFileRequest>, Status> {
    let patience = end.min(Instant::now() + SILENCE);
    match timeout_at(patience, incoming.message()).await {
        Ok(message) => message.map_err(|broken| unreadable(&broken).unwrap_or(broken)),
        Err(_) => Err(status(Error::Ended(Ended::DeadlineExceeded))),
    }
}

fn invalid(violation: Violation) -> Status {
    status(Error::Invalid(vec![violation]))
}
