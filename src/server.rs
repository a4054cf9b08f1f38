//! The listener: one accept loop over hyper, with a limit on everything that a peer can use up.
//!
//! hyper is served directly because tonic's server hides limits that we set (send buffers, header
//! time) and puts its own `grpc-timeout` handling, which answers CANCELLED, outside every layer.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;

/// Where the service listens, and what a peer may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port. Port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Connections at once. More wait to be accepted.
    pub max_connections: usize,
    /// Calls at once on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of one call's headers.
    pub max_header_bytes: u32,
    /// Bytes that wait for a slow reader, per stream.
    pub send_buffer_bytes: usize,
    /// Time from a connection to HTTP/2's preface or the end of HTTP/1 headers, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Silence after which a peer is asked whether it lives, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// Time it has to answer, in milliseconds.
    pub keepalive_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_connections: 10_000,
            max_streams_per_connection: 256,
            max_header_bytes: 16 << 10,
            send_buffer_bytes: 64 << 10,
            handshake_timeout_ms: 10_000,
            keepalive_interval_ms: 30_000,
            keepalive_timeout_ms: 10_000,
        }
    }
}

/// Bytes that a peer may send ahead of us on one stream, and on one connection.
///
/// h2 ends a connection when the small DATA frames that wait to be read have cost more than half of the
/// connection's window, at 256 bytes less their length each. A stream of small messages that is read
/// more slowly than it is sent, such as documents that wait for the database, fills its window with
/// such frames: some 20 bytes each, so a connection's window must be 24 times a stream's or more.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// When a server stops, in two steps.
#[derive(Clone, Default)]
pub struct Stop {
    /// Accept nobody, begin no call, let calls finish.
    pub gently: CancellationToken,
    /// Drop what is left.
    pub now: CancellationToken,
}

/// Accepts connections and serves `routes` on each until told to stop. Returns when the last
/// connection is closed.
pub async fn serve(listener: TcpListener, routes: Routes, config: Config, stop: Stop) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(config.max_connections));
    let builder = Arc::new(builder(&config));
    let handshake = Duration::from_millis(config.handshake_timeout_ms);
    while let Some(stream) = accept(&listener, &stop.gently).await {
        let Some(Ok(place)) = stop.gently.run_until_cancelled(Arc::clone(&places).acquire_owned()).await
        else {
            break;
        };
        let (builder, routes, stop) = (Arc::clone(&builder), routes.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            if says_something(&stream, handshake, &stop).await {
                connection(stream, &builder, routes, &stop).await;
            }
        });
    }
    // The port is free from here on.
    drop(listener);
    drop(routes);
    connections.close();
    connections.wait().await;
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
        .header_read_timeout(Duration::from_millis(config.handshake_timeout_ms));
    builder
}

/// The next connection; `None` when it is time to stop. A failure to accept, such as too many open
/// files, passes.
async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, _)) => {
                // Without it small frames wait for the peer's delayed acknowledgement.
                if stream.set_nodelay(true).is_ok() {
                    return Some(stream);
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};

    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Whether the peer says in time which protocol it speaks: HTTP/2's preface, or anything that is not
/// its beginning.
async fn says_something(stream: &TcpStream, limit: Duration, stop: &Stop) -> bool {
    let says = async {
        let mut first = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut first).await {
                Ok(0) | Err(_) => return false,
                Ok(said) if said == PREFACE.len() || !PREFACE.starts_with(&first[..said]) => return true,
                // What is there is there: `peek` would not wait for more.
                Ok(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    matches!(stop.gently.run_until_cancelled(timeout(limit, says)).await, Some(Ok(true)))
}

async fn connection(stream: TcpStream, builder: &Builder<TokioExecutor>, routes: Routes, stop: &Stop) {
    let service = TowerToHyperService::new(routes);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.gently.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served => ended,
                () = stop.now.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = error.as_ref() as &dyn std::error::Error, "a connection ended");
    }
}
