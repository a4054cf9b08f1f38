//! The listener: one accept loop over hyper, with a limit on everything that a peer can use up.
//!
//! hyper is served directly because tonic's server hides limits that we set (send buffers, header
//! time) and puts its own `grpc-timeout` handling, which answers CANCELLED, outside every layer.

mod connection;
mod frames;
mod linger;
pub mod metrics;
mod places;
pub mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use connection::Serve;
pub use tls::Tls;

use crate::telemetry::{Metrics, metrics::Refused};
use connection::Connections;
use places::Places;

/// Where the service listens, and what a peer may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port. Port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Connections at once. More wait to be accepted.
    pub max_connections: usize,
    /// Connections at once from one address; one more is closed. 0: no limit, as behind a mesh's sidecar,
    /// where all come from one.
    pub max_connections_per_address: usize,
    /// Calls at once on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of one call's headers.
    pub max_header_bytes: u32,
    /// Bytes that wait for a slow reader, per stream.
    pub send_buffer_bytes: usize,
    /// HTTP/2 control frames (PING, SETTINGS, WINDOW_UPDATE, PRIORITY) that a peer may send ahead. Each
    /// answer of ours allows ten more, and a tenth of these comes back every second. A peer that sends
    /// more is closed.
    pub control_frames: u32,
    /// Time from a connection to the end of its TLS handshake and of HTTP/2's preface and settings, or of
    /// HTTP/1's headers, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Silence after which a peer is asked whether it lives, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// Time it has to answer, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// Age at which a peer is asked to connect anew, in milliseconds, a tenth more or less: so that load
    /// spreads over new replicas. Calls that are running go on; a tonic client that has one running may
    /// see its next call fail once. 0: never.
    pub max_connection_age_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_connections: 10_000,
            max_connections_per_address: 0,
            max_streams_per_connection: 256,
            max_header_bytes: 16 << 10,
            send_buffer_bytes: 64 << 10,
            control_frames: 1_000,
            handshake_timeout_ms: 10_000,
            keepalive_interval_ms: 30_000,
            keepalive_timeout_ms: 10_000,
            max_connection_age_ms: 0,
        }
    }
}

/// When a server stops, in two steps.
#[derive(Clone, Default)]
pub struct Stop {
    /// Accept nobody, begin no call, let calls finish.
    pub gently: CancellationToken,
    /// Drop what is left.
    pub now: CancellationToken,
}

/// How connections are served.
#[derive(Clone, Default)]
pub struct Server {
    pub config: Config,
    /// `None`: in the clear.
    pub tls: Option<Tls>,
    pub metrics: Metrics,
}

impl Server {
    /// Accepts connections and serves `routes` on each until told to stop. Returns when the last
    /// connection is closed.
    pub async fn serve<R: Serve>(self, listener: TcpListener, routes: R, stop: Stop) {
        let tasks = TaskTracker::new();
        let places = Places::new(self.config.max_connections, self.config.max_connections_per_address);
        let connections = Arc::new(Connections::new(self, stop.clone()));
        while let Some((stream, address)) = accept(&listener, &stop.gently).await {
            let Some(place) = stop.gently.run_until_cancelled(places.take(address.ip())).await else { break };
            let Some(place) = place else {
                connections.refuse("address_limit");
                continue;
            };
            let (connections, routes) = (Arc::clone(&connections), routes.clone());
            tasks.spawn(async move {
                let _place = place;
                connections.serve(stream, routes).await;
            });
        }
        // The port is free from here on.
        drop(listener);
        drop(routes);
        tasks.close();
        tasks.wait().await;
    }
}

/// Counts a connection that was closed for what its peer did.
fn refuse(metrics: &Metrics, reason: &'static str) {
    metrics.connections_refused.get_or_create(&Refused { reason }).inc();
}

/// The next connection; `None` when it is time to stop. A failure to accept, such as too many open
/// files, passes.
async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, address)) => {
                // Without it small frames wait for the peer's delayed acknowledgement.
                if stream.set_nodelay(true).is_ok() {
                    return Some((stream, address));
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn no_accepted_socket_waits_to_fill_a_packet() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = super::accept(&listener, &CancellationToken::new()).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
