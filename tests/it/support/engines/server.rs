//! HTTP on loopback, served by hyper itself: a connection must be able to end without an answer.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A server. It stops when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A request as it came.
#[derive(Clone)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer, as far as engines say one.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// What answers; `None` ends the connection.
pub type Handler = Arc<dyn Fn(Asked) -> BoxFuture<'static, Option<Answer>> + Send + Sync>;

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub async fn start(handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve(listener, handler, stop.clone(), tasks.clone()));
        tasks.close();
        Self { address, stop, tasks }
    }

    /// Stops listening, ends every connection, and waits until that is done.
    pub async fn die(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Answer {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub fn text(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }
}

impl Asked {
    /// A header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The path's segments, each decoded.
    pub fn path(&self) -> Vec<String> {
        self.uri.path().split('/').skip(1).map(decoded).collect()
    }
}

fn decoded(segment: &str) -> String {
    let pair = format!("x={}", segment.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

async fn serve(listener: TcpListener, handler: Handler, stop: CancellationToken, tasks: TaskTracker) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        let (handler, stop) = (Arc::clone(&handler), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| respond(Arc::clone(&handler), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is its own affair.
            let _ = stop.run_until_cancelled(connection).await;
        });
    }
}

async fn respond(handler: Handler, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let asked = Asked { method: head.method, uri: head.uri, headers: head.headers, body };
    let answer = handler(asked).await.ok_or_else(|| io::Error::other("cut"))?;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    Ok(response.body(Full::new(answer.body.into())).unwrap())
}
