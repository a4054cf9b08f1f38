//! Role `echo`: the least that a tonic service can do. It answers `Query` and `StreamQuery` at once with
//! messages as large as ours, on hyper, without any of our layers.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use hyper::server::conn::http2::Builder;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use syft_endpoints::proto::{
    Completed, Completion, Delta, FinishReason, PolicyMetadata, QueryRequest, QueryResponse,
    StreamQueryRequest, StreamQueryResponse, Summary, Usage, stream_query_response::Event,
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    service::Routes,
};
use tonic_prost::ProstCodec;

use crate::{
    Fault,
    process::{announce, runtime},
    token::token,
};

/// Deltas of a streamed answer, here and in the scripted model of role `inprocess`.
pub const DELTAS: usize = 100;

#[derive(Clone)]
struct Echo;

/// The answers, made once per call as any service would.
struct Answers;

pub fn run() -> Result<(), Fault> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?)?;
    let (connections, routes) = (TaskTracker::new(), Routes::new(Echo).prepare());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(routes.clone());
        connections.spawn(async move {
            // A client may leave at any moment.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "syft.space.v1.EndpointService";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        async move {
            if request.uri().path().ends_with("/StreamQuery") {
                let codec = ProstCodec::<StreamQueryResponse, StreamQueryRequest>::default();
                return Ok(Grpc::new(codec).server_streaming(Answers, request).await);
            }
            let codec = ProstCodec::<QueryResponse, QueryRequest>::default();
            Ok(Grpc::new(codec).unary(Answers, request).await)
        }
        .boxed()
    }
}

impl UnaryService<QueryRequest> for Answers {
    type Response = QueryResponse;
    type Future = Ready<Result<Response<QueryResponse>, Status>>;

    fn call(&mut self, _request: Request<QueryRequest>) -> Self::Future {
        let summary = Summary { content: token(0, 0), completion: Some(completion()) };
        let answer = QueryResponse {
            query_id: query_id(),
            summary: Some(summary),
            policy_metadata: Some(success()),
            ..QueryResponse::default()
        };
        ready(Ok(Response::new(answer)))
    }
}

impl ServerStreamingService<StreamQueryRequest> for Answers {
    type Response = StreamQueryResponse;
    type ResponseStream = BoxStream<'static, Result<StreamQueryResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _request: Request<StreamQueryRequest>) -> Self::Future {
        let deltas = (0..DELTAS).map(|number| Event::Delta(Delta { content: token(number, 0) }));
        let last = Completed {
            query_id: query_id(),
            completion: Some(completion()),
            policy_metadata: Some(success()),
            ..Completed::default()
        };
        let events = deltas.chain([Event::Completed(last)]);
        let messages = events.map(|event| Ok(StreamQueryResponse { event: Some(event) }));
        ready(Ok(Response::new(stream::iter(messages).boxed())))
    }
}

fn completion() -> Completion {
    Completion {
        id: "c1".to_owned(),
        model: "m1".to_owned(),
        finish_reason: FinishReason::Stop.into(),
        usage: Some(Usage { prompt_tokens: 7, completion_tokens: 1, estimated: false }),
    }
}

fn query_id() -> String {
    "01234567-89ab-7cde-8f01-23456789abcd".to_owned()
}

fn success() -> PolicyMetadata {
    PolicyMetadata { outcome: "success".to_owned(), entries: Vec::new() }
}
