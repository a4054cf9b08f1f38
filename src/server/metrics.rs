//! The listener for Prometheus, apart from the service's own: it needs no credential, so it is on
//! loopback unless told otherwise.

use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::accept;
use crate::telemetry::Metrics;

/// Where metrics are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port of `GET /metrics`, or `off`.
    pub listen: Listen,
}

/// An address, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
}

/// Scrapes at once; more wait.
const SCRAPES: usize = 8;
/// Time that one connection may take.
const LIMIT: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Default for Config {
    fn default() -> Self {
        Self { listen: Listen::At(SocketAddr::from(([127, 0, 0, 1], 9464))) }
    }
}

/// Serves `GET /metrics` until `stop`. `refresh` sets what is only known when it is asked for.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    refresh: impl Fn() + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let (tasks, places, refresh) = (TaskTracker::new(), Arc::new(Semaphore::new(SCRAPES)), Arc::new(refresh));
    while let Some((stream, _)) = accept(&listener, &stop).await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let (metrics, refresh, stop) = (metrics.clone(), Arc::clone(&refresh), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            let answer = service_fn(move |request| {
                let response = answer(&request, &metrics, refresh.as_ref());
                async { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(LIMIT).keep_alive(false);
            let served = timeout(LIMIT, builder.serve_connection(TokioIo::new(stream), answer));
            stop.run_until_cancelled(served).await;
        });
    }
    tasks.close();
    tasks.wait().await;
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, refresh: &dyn Fn()) -> Response<String> {
    let mut response = Response::new(String::new());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    if request.method() != Method::GET {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    refresh();
    match metrics.render() {
        Ok(text) => {
            response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(OPEN_METRICS));
            *response.body_mut() = text;
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| de::Error::custom("invalid socket address"))
    }
}
