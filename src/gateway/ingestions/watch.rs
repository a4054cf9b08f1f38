//! A job as server-sent events: one for each change, until it has ended.

use std::time::Duration;

use async_stream::stream;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderName, Method, StatusCode, Version, header};
use schemars::{Schema, SchemaGenerator, json_schema};
use tokio::time::timeout;
use tonic::Streaming;

use super::IngestionJob;
use crate::{
    gateway::{
        problem::Problem,
        query::sse,
        route::{Answer, Call, Route},
    },
    proto::{WatchIngestionRequest, WatchIngestionResponse},
};

/// Silence after which a comment is sent, so that nobody between takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

struct Events(Body);

pub(super) fn route() -> Route {
    Route::new(Method::GET, "/api/v1/ingestion/jobs/{job_id}/watch", watch)
        .says("Shows a job as it is and after each change, as server-sent events, until it has ended")
        .fails(&[400, 404, 422])
}

async fn watch(call: Call) -> Result<Events, Problem> {
    if call.version < Version::HTTP_11 {
        let detail = "Events need HTTP/1.1 or later: over HTTP/1.0 nobody sees them break";
        return Err(Problem::Refused(StatusCode::BAD_REQUEST, detail.into()));
    }
    let request = call.asks(WatchIngestionRequest { id: call.id("job_id")?.to_string() });
    let watched = call.gateway.ingestions().watch_ingestion(request).await?.into_inner();
    Ok(Events(Body::from_stream(events(watched))))
}

/// A failure is an event `error`, and the end.
fn events(
    mut watched: Streaming<WatchIngestionResponse>,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream! {
        loop {
            let mut chunk = BytesMut::new();
            let next = timeout(HEARTBEAT, watched.message()).await;
            let has_failed = match next {
                Err(_) => {
                    yield Ok(Bytes::from_static(sse::COMMENT));
                    continue;
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(message))) => {
                    let job = IngestionJob::from(message.ingestion.unwrap_or_default());
                    sse::write_data(&job, &mut chunk);
                    false
                }
                Ok(Err(status)) => {
                    sse::write_failure(&status, &mut chunk);
                    true
                }
            };
            yield Ok(chunk.freeze());
            if has_failed {
                break;
            }
        }
    }
}

impl Answer for Events {
    fn response(self, status: StatusCode) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
            // nginx would collect the answer before it passes it on.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        (status, headers, self.0).into_response()
    }

    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        // It is what `data` is, as text.
        let _ = generator.subschema_for::<IngestionJob>();
        let events = json_schema!({
            "type": "object",
            "description": "`data` is the job, as JSON, after each change; the last one has ended. A failure on \
                the way is an event `error` with `detail`.",
            "properties": {
                "event": {"type": "string", "enum": ["message", "error"]},
                "data": {"type": "string"},
            },
            "required": ["data"],
        });
        vec![("text/event-stream", events)]
    }
}
