//! One connection, from its handshake to its end.

use std::{convert::Infallible, pin::pin, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::{
    Config, Server, Stop,
    frames::{Closed, Watched},
    linger::Lingering,
    refuse, tls,
};

/// Bytes that a peer may send ahead of us on one stream, and on one connection.
///
/// h2 ends a connection when the small DATA frames that wait to be read have cost more than half of the
/// connection's window, at 256 bytes less their length each. A stream of small messages that is read
/// more slowly than it is sent, such as documents that wait for the database, fills its window with
/// such frames: some 20 bytes each, so a connection's window must be 24 times a stream's or more.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes of HTTP/1 headers are read into a buffer of this size at least.
const MIN_BUFFER: usize = 8 << 10;

/// What answers the calls of a connection.
pub trait Serve:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Serve for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// What all connections of a listener have in common.
pub(super) struct Connections {
    server: Server,
    builder: Builder<TokioExecutor>,
    stop: Stop,
}

/// Counts an open connection until it is dropped.
struct Counted<'g>(&'g Gauge);

impl Connections {
    pub(super) fn new(server: Server, stop: Stop) -> Self {
        let builder = builder(&server.config);
        Self { server, builder, stop }
    }

    /// Serves one connection until its end, or until told to stop.
    pub(super) async fn serve(&self, stream: TcpStream, routes: impl Serve) {
        self.server.metrics.connections.inc();
        let _counted = Counted(&self.server.metrics.connections);
        let deadline = Instant::now() + Duration::from_millis(self.server.config.handshake_timeout_ms);
        let Some(tls) = &self.server.tls else {
            return self.watch(stream, deadline, routes).await;
        };
        let handshake = timeout_at(deadline, tls.acceptor().accept(stream));
        match self.stop.gently.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => match tls::peer(stream.get_ref().1) {
                None => self.watch(stream, deadline, routes).await,
                Some(peer) => {
                    let named = routes.map_request(move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(peer.clone());
                        request
                    });
                    self.watch(stream, deadline, named).await;
                }
            },
            Some(Ok(Err(error))) => {
                tracing::debug!(%error, "a TLS handshake failed");
                self.refuse("tls");
            }
            Some(Err(_)) => self.refuse("handshake"),
            None => {}
        }
    }

    pub(super) fn refuse(&self, reason: &'static str) {
        refuse(&self.server.metrics, reason);
    }

    async fn watch<S>(&self, stream: S, deadline: Instant, routes: impl Serve)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Watched::new(Lingering::new(stream), deadline, self.server.config.control_frames);
        let verdict = stream.verdict();
        let service = TowerToHyperService::new(routes);
        let mut served = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = self.enough() => {
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = served => ended,
                    () = self.stop.now.cancelled() => return,
                }
            }
        };
        let Err(error) = ended else { return };
        match verdict.get() {
            Some(Closed::Silent) => self.refuse("handshake"),
            Some(Closed::Flooded) => self.refuse("control_frames"),
            None => tracing::debug!(error = error.as_ref() as &dyn std::error::Error, "a connection ended"),
        }
    }

    /// Returns when no call is to be begun any more.
    async fn enough(&self) {
        let age = self.server.config.max_connection_age_ms;
        let gently: &CancellationToken = &self.stop.gently;
        if age == 0 {
            return gently.cancelled().await;
        }
        let old = Instant::now() + Duration::from_millis(age).mul_f64(0.9 + 0.2 * spread());
        gently.run_until_cancelled(sleep_until(old)).await;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection)
        .max_header_list_size(config.max_header_bytes)
        .max_send_buf_size(config.send_buffer_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms));
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(MIN_BUFFER.max(config.max_header_bytes as usize))
        .header_read_timeout(Duration::from_millis(config.handshake_timeout_ms));
    builder
}

/// Between 0 and 1, different for connections that come together.
fn spread() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    f64::from(u16::try_from(low & 0xffff).unwrap_or_default()) / f64::from(u16::MAX)
}
