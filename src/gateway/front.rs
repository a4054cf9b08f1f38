//! What a socket serves: gRPC, gRPC-Web and REST, told apart by the type of the content.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either},
};
use http::{HeaderMap, HeaderName, Request, Response, header};
use hyper::body::Incoming;
use tonic::{Status, body::Body};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service};
use tower_http::cors::{Cors, CorsLayer};

use super::{
    problem::{Origin, Problem},
    route::Served,
};
use crate::telemetry::{Metrics, metrics::Rest};

/// Names one request on its way through several services; given back as it came.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

/// Serves one request by its kind. `G` answers gRPC, `R` REST.
#[derive(Clone)]
pub struct Front<G, R> {
    grpc: G,
    /// What pages of other origins may call too.
    open: Cors<Open<G, R>>,
}

/// What browsers call.
#[derive(Clone)]
struct Open<G, R> {
    grpc: G,
    web: GrpcWebService<G>,
    rest: R,
    metrics: Metrics,
}

impl<G: Clone, R: Clone> Front<G, R> {
    pub fn new(grpc: G, rest: R, cors: &CorsLayer, metrics: Metrics) -> Self {
        let web = GrpcWebLayer::new().layer(grpc.clone());
        let open = Open { grpc: grpc.clone(), web, rest, metrics };
        Self { grpc, open: cors.layer(open) }
    }
}

impl<G, R> Service<Request<Incoming>> for Front<G, R>
where
    G: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    G: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    G: Clone + Send + 'static,
    <G as Service<Request<Incoming>>>::Future: Send + 'static,
    <G as Service<Request<Body>>>::Future: Send + 'static,
    R: Service<Request<axum::body::Body>, Response = axum::response::Response, Error = Infallible>,
    R: Clone + Send + 'static,
    R::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <G as Service<Request<Incoming>>>::Future,
        BoxFuture<'static, Result<Response<Body>, Infallible>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.grpc, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        // The way of most calls stays short.
        if is_grpc(request.headers()) && !request.headers().contains_key(header::ORIGIN) {
            return Either::Left(self.grpc.call(request));
        }
        let mut open = self.open.clone();
        Either::Right(async move { open.call(request.map(Body::new)).await }.boxed())
    }
}

impl<G, R> Service<Request<Body>> for Open<G, R>
where
    G: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    G::Future: Send + 'static,
    R: Service<Request<axum::body::Body>, Response = axum::response::Response, Error = Infallible>,
    R: Clone + Send + 'static,
    R::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The services behind are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match kind(request.headers()) {
            kind if kind.starts_with("application/grpc-web") => self.web.call(request).boxed(),
            kind if kind.starts_with("application/grpc") => self.grpc.call(request).boxed(),
            _ => {
                let correlation = request.headers().get(CORRELATION).filter(|id| id.len() <= 128).cloned();
                let (answer, metrics) =
                    (self.rest.call(request.map(axum::body::Body::new)), self.metrics.clone());
                answer
                    .map(move |response| {
                        let mut response = in_json(response?);
                        count(&metrics, &response);
                        if let Some(correlation) = correlation {
                            response.headers_mut().insert(CORRELATION, correlation);
                        }
                        Ok(response.map(Body::new))
                    })
                    .boxed()
            }
        }
    }
}

/// A refusal at the door comes as a gRPC status.
fn in_json(response: axum::response::Response) -> axum::response::Response {
    match Status::from_header_map(response.headers()) {
        Some(status) => Problem::from(status).response(&Origin::default()),
        None => response,
    }
}

fn count(metrics: &Metrics, response: &axum::response::Response) {
    let nowhere = Served { method: "other", path: "other" };
    let Served { method, path } = response.extensions().get().copied().unwrap_or(nowhere);
    let status = response.status().as_u16();
    metrics.rest_requests.get_or_create(&Rest { method, route: path, status }).inc();
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = kind(headers);
    kind.starts_with("application/grpc") && !kind.starts_with("application/grpc-web")
}

fn kind(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}
