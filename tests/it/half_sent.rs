//! Requests whose body does not arrive: they are ended, and do not keep others out.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::support::{
    database::Database,
    rest::{Rest, question},
    space::{ADMIN_KEY, Space},
    upstream::Upstream,
};

type Sent = BoxBody<Bytes, std::convert::Infallible>;

const QUERY: &str = "/syft.space.v1.EndpointService/Query";
const STREAM_QUERY: &str = "/syft.space.v1.EndpointService/StreamQuery";
const REST_QUERY: &str = "/api/v1/endpoints/ask/query";
const INGEST: &str = "/syft.space.v1.DatasetService/IngestDocuments";

struct Caller {
    calls: SendRequest<Sent>,
    key: String,
    url: String,
}

impl Caller {
    async fn new(space: &Space, key: &str) -> Self {
        let stream = tokio::net::TcpStream::connect(space.address).await.unwrap();
        let (calls, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        TaskTracker::new().spawn(connection);
        Self { calls, key: key.to_owned(), url: space.url() }
    }

    /// Sends a request with a body that begins and never goes on.
    fn half(&mut self, path: &str) -> impl Future<Output = http::Response<hyper::body::Incoming>> + use<> {
        let begun =
            futures_util::stream::once(async { Ok(http_body::Frame::data(Bytes::from_static(b"\0"))) });
        let body = StreamBody::new(begun.chain(futures_util::stream::pending()));
        let kind = if path == REST_QUERY { "application/json" } else { "application/grpc" };
        let request = http::Request::post(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", kind)
            .header("te", "trailers")
            .body(BoxBody::new(body))
            .unwrap();
        let answer = self.calls.send_request(request);
        async move { answer.await.unwrap() }
    }
}

async fn key(rest: &Rest, name: &str) -> String {
    let new = serde_json::json!({"name": name, "email": format!("{name}@example.org"), "scopes": ["query"]});
    let made = rest.post("/api/v1/keys", new).await.expect(201);
    made["secret"].as_str().unwrap().to_owned()
}

/// How an answer says that its request did not arrive, or that there were too many.
fn code(answer: &http::Response<hyper::body::Incoming>) -> String {
    let grpc = answer.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
    grpc.unwrap_or_else(|| answer.status().as_str().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_of_one_caller_keep_nobody_out_and_end() {
    let space = Space::configured(Database::sqlite(), &[("grpc.max_waiting", "64")]).await;
    let upstream = Upstream::says(&["a"]).await;
    space.admin().await.asks("ask", upstream.address).await;
    let rest = Rest::admin(&space);
    let mut greedy = Caller::new(&space, &key(&rest, "greedy").await).await;
    let mut held: FuturesUnordered<_> =
        (0..120).map(|n| greedy.half([QUERY, STREAM_QUERY, REST_QUERY][n % 3])).collect();
    // Half of the places, and no more: the others are refused at once.
    let sent = Instant::now();
    for _ in 0..120 - 32 {
        let refused = held.next().await.unwrap();
        assert!(["8", "429"].contains(&code(&refused).as_str()), "{refused:?}");
    }
    assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    let other = Rest::with(&space, &[("authorization", &format!("Bearer {}", key(&rest, "other").await))]);
    other.query("ask", question()).await.expect(200);
    space.admin().await.query("ask").await.unwrap();
    // What is held ends by itself.
    let mut ended = 0;
    while let Some(answer) = held.next().await {
        ended += usize::from(["4", "408"].contains(&code(&answer).as_str()));
    }
    let took = sent.elapsed();
    assert!(ended > 8 && (8..20).contains(&took.as_secs()), "{ended} were held for {took:?}");
    let again = Rest::with(&space, &[("authorization", &format!("Bearer {}", greedy.key))]);
    again.query("ask", question()).await.expect(200);
}

/// A stream of documents may be silent: what it waits for is its client's business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_ingestion_goes_on() {
    let space = Space::sqlite().await;
    space.admin().await.dataset("docs").await;
    let mut caller = Caller::new(&space, ADMIN_KEY).await;
    let answer = caller.half(INGEST).await;
    let ended = tokio::time::timeout(Duration::from_secs(12), answer.into_body().collect()).await;
    assert!(ended.is_err(), "{ended:?}");
}
