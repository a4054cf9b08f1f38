//! The outermost layer: what every call looks like from outside. One span, one count and one time per
//! call, up to the end of its answer, whatever ends it.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::Service;
use tracing::{Instrument, Span, field::Empty, instrument::Instrumented};

use crate::{
    proto,
    telemetry::{
        Metrics, TraceContext,
        metrics::{Method, Rpc},
        traces,
    },
};

/// Names of the status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const CANCELLED: &str = CODES[1];

/// Observes every call to the services below.
#[derive(Clone)]
pub struct Observe<S> {
    metrics: Metrics,
    /// Every method we serve, by path; anything else is `other`, so that nobody can make series.
    methods: Arc<HashMap<String, Arc<str>>>,
    other: Arc<str>,
    inner: S,
}

/// A call that has begun and not ended. Dropping it ends it.
struct Call {
    metrics: Metrics,
    method: Arc<str>,
    span: Span,
    started: Instant,
    /// `None` until the status is known; a call that is dropped before was cancelled.
    code: Option<&'static str>,
}

/// An answer's body, and the call that lasts as long.
struct Observed {
    body: Body,
    call: Call,
}

impl<S> Observe<S> {
    /// # Errors
    /// When our own descriptors do not decode.
    pub(super) fn new(inner: S, metrics: Metrics) -> Result<Self, prost::DecodeError> {
        let methods = [proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET].into_iter();
        let methods = methods.map(paths).collect::<Result<Vec<_>, _>>()?.concat();
        let methods = methods.into_iter().map(|path| (path.clone(), Arc::from(&path[1..]))).collect();
        Ok(Self { metrics, methods: Arc::new(methods), other: Arc::from("other"), inner })
    }

    fn begin<B>(&self, request: &mut Request<B>) -> Call {
        let method = self.methods.get(request.uri().path()).unwrap_or(&self.other);
        let span = tracing::info_span!(
            target: traces::TARGET,
            "rpc",
            otel.name = %method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = %method,
            rpc.response.status_code = Empty,
            error.type = Empty,
        );
        if let Some(caller) = TraceContext::parse(request.headers()) {
            traces::follow(&span, &caller);
            request.extensions_mut().insert(caller);
        }
        self.metrics.open_streams.inc();
        Call {
            metrics: self.metrics.clone(),
            method: Arc::clone(method),
            span,
            started: Instant::now(),
            code: None,
        }
    }
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = self.begin(&mut request);
        let answer = self.inner.call(request).instrument(call.span.clone());
        Answering { answer, call: Some(call) }
    }
}

pin_project! {
    /// A call until its answer begins.
    pub struct Answering<F> {
        #[pin]
        answer: Instrumented<F>,
        call: Option<Call>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answering<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx))?;
        let Some(mut call) = this.call.take() else { return Poll::Ready(Ok(response)) };
        call.note(response.headers());
        Poll::Ready(Ok(response.map(|body| Body::new(Observed { body, call }))))
    }
}

impl Call {
    /// Reads the status from trailers, or from headers when there is nothing else.
    fn note(&mut self, headers: &HeaderMap) {
        let Some(code) = headers.get("grpc-status") else { return };
        let number: Option<usize> = code.to_str().ok().and_then(|code| code.parse().ok());
        self.code = Some(number.and_then(|number| CODES.get(number)).copied().unwrap_or("UNKNOWN"));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(CANCELLED);
        self.span.record("rpc.response.status_code", code);
        if code != CODES[0] {
            self.span.record("error.type", code);
        }
        self.metrics.open_streams.dec();
        self.metrics.rpcs.get_or_create(&Rpc { method: Arc::clone(&self.method), code }).inc();
        let method = Method { method: Arc::clone(&self.method) };
        self.metrics.rpc_duration.observe(&method, self.started.elapsed());
    }
}

impl http_body::Body for Observed {
    type Data = bytes::Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.note(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The path of every method in a descriptor set.
fn paths(descriptors: &[u8]) -> Result<Vec<String>, prost::DecodeError> {
    let set = <prost_types::FileDescriptorSet as prost::Message>::decode(descriptors)?;
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let methods = service.method.iter();
            paths.extend(
                methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())),
            );
        }
    }
    Ok(paths)
}
