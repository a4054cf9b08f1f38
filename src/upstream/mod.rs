//! Calls to other people's servers: one pooled client, retries before the first byte, clocks that
//! run only while we wait, and a guard on every address that is connected to.

mod address;
mod clocks;
mod retry;
pub mod sse;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt;
use reqwest::{RequestBuilder, Response, StatusCode, Url, header::HeaderMap};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

pub use clocks::Clocks;

use crate::{
    error::UpstreamError,
    telemetry::{TraceContext, traces},
};
use address::Guard;

/// Bytes of an answer that is read whole.
const MAX_BODY: usize = 16 << 20;

/// How upstreams are called. All times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// To open a connection.
    pub connect_timeout_ms: u64,
    /// From the call to the first token.
    pub first_token_timeout_ms: u64,
    /// Between two pieces of an answer.
    pub idle_timeout_ms: u64,
    /// Attempts in all, before the first byte of an answer.
    pub attempts: usize,
    /// Whether loopback and private addresses may be called: `allow`, `refuse`, or `auto`, which allows
    /// them in a space with one tenant. Link-local and cloud-metadata addresses never may.
    pub private_addresses: PrivateAddresses,
}

/// Whether models and datasets may be on loopback and private addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivateAddresses {
    /// In a space with one tenant, whose owner owns the network too.
    Auto,
    Allow,
    Refuse,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 3_000,
            first_token_timeout_ms: 120_000,
            idle_timeout_ms: 60_000,
            attempts: 3,
            private_addresses: PrivateAddresses::Auto,
        }
    }
}

/// The client that everything upstream is called with. Clones share one connection pool.
#[derive(Clone)]
pub struct Upstream {
    http: reqwest::Client,
    guard: Guard,
    config: Arc<Config>,
}

impl Upstream {
    /// Builds the client. Redirects and proxies are off: either would lead a stored key elsewhere.
    ///
    /// # Errors
    /// When the TLS provider cannot be set up.
    pub fn new(config: Config) -> Result<Self, reqwest::Error> {
        let guard = Guard { allow_private: config.private_addresses != PrivateAddresses::Refuse };
        let http = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Ours knows what is worth repeating.
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .pool_idle_timeout(Duration::from_secs(30))
            .dns_resolver(Arc::new(guard))
            .user_agent(concat!("syft-endpoints/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, guard, config: Arc::new(config) })
    }

    /// An HTTP request to `url`, not yet sent.
    ///
    /// # Errors
    /// `Rejected` when the URL names an address that may not be called.
    pub fn request(&self, method: reqwest::Method, url: &Url) -> Result<RequestBuilder, UpstreamError> {
        self.guard.check(url)?;
        Ok(self.http.request(method, url.clone()))
    }

    /// Makes a request and sends it; again on connection errors, 429 and 5xx, with backoff and
    /// `Retry-After`.
    /// Returns the first response with status 2xx, whose body has not been touched. Dropping the
    /// future abandons the call.
    ///
    /// # Errors
    /// `Rejected` for any other status; `Unavailable` when the attempts are used up or the first-token
    /// time has passed.
    pub async fn send(
        &self,
        request: impl Fn() -> Result<RequestBuilder, UpstreamError>,
    ) -> Result<Response, Failed> {
        let limit = Duration::from_millis(self.config.first_token_timeout_ms);
        self.in_time(retry::send(request, self.config.attempts, limit)).await
    }

    /// Sends a request that must not be repeated.
    ///
    /// # Errors
    /// As [`Upstream::send`]. The server may have done what was asked, unless it answered.
    pub async fn send_once(&self, request: RequestBuilder) -> Result<Response, Failed> {
        self.in_time(retry::attempt(request)).await
    }

    /// An address of a host that may be called and accepts connections, for protocols other than HTTP.
    ///
    /// # Errors
    /// `Rejected` when no address may be called; `Unavailable` when none answers.
    pub async fn reach(&self, host: &str, port: u16) -> Result<SocketAddr, UpstreamError> {
        // As in URLs.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let limit = Duration::from_millis(self.config.connect_timeout_ms);
        let found = tokio::time::timeout(limit, tokio::net::lookup_host((host, port))).await;
        let unknown = || UpstreamError::unavailable("its host is not known");
        let found: Vec<_> = found.map_err(|_| unknown())?.map_err(|e| unknown().because(e))?.collect();
        let allowed: Vec<_> =
            found.iter().copied().filter(|address| self.guard.allows(address.ip())).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(UpstreamError::rejected("its address is not allowed"));
        }
        for address in allowed {
            if let Ok(Ok(_)) = tokio::time::timeout(limit, TcpStream::connect(address)).await {
                return Ok(address);
            }
        }
        Err(UpstreamError::unavailable("it cannot be reached"))
    }

    /// Clocks for one streamed answer, started now.
    pub fn clocks(&self) -> Clocks {
        Clocks::new(
            Duration::from_millis(self.config.first_token_timeout_ms),
            Duration::from_millis(self.config.idle_timeout_ms),
        )
    }

    async fn in_time(
        &self,
        answer: impl Future<Output = Result<Response, Failed>>,
    ) -> Result<Response, Failed> {
        let limit = Duration::from_millis(self.config.first_token_timeout_ms);
        let late = || Failed::from(UpstreamError::unavailable("it did not answer in time"));
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

/// A call that failed, with what the server said about it, for callers that can act on it. The body
/// is never shown to ours.
#[derive(Debug)]
pub struct Failed {
    pub error: UpstreamError,
    /// `None` when there was no answer.
    pub status: Option<StatusCode>,
    pub headers: Box<HeaderMap>,
    pub body: String,
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        Self { error, status: None, headers: Box::default(), body: String::new() }
    }
}

/// Reads a body of at most 16 MiB, each piece within `clocks`.
///
/// # Errors
/// `Unavailable` when it breaks off, is too slow or too large.
pub async fn read_body(response: Response, clocks: &mut Clocks) -> Result<Vec<u8>, UpstreamError> {
    read_at_most(MAX_BODY, response, clocks).await
}

/// Reads a body of at most `limit` bytes, each piece within `clocks`.
///
/// # Errors
/// `Unavailable` when it breaks off, is too slow or too large.
pub async fn read_at_most(
    limit: usize,
    response: Response,
    clocks: &mut Clocks,
) -> Result<Vec<u8>, UpstreamError> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = clocks.wait(pieces.next()).await? {
        let piece = piece.map_err(|e| UpstreamError::unavailable("its answer broke off").because(e))?;
        if body.len() + piece.len() > limit {
            return Err(UpstreamError::unavailable("its answer is too large"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Makes a call part of a trace: of the current span's, or of `trace` while spans are off.
pub fn traced(request: RequestBuilder, trace: &TraceContext) -> RequestBuilder {
    let mut headers = HeaderMap::with_capacity(2);
    traces::here().as_ref().unwrap_or(trace).inject(&mut headers);
    request.headers(headers)
}

/// Makes a call part of the current span's trace; of none while spans are off.
pub fn in_span(request: RequestBuilder) -> RequestBuilder {
    let Some(trace) = traces::here() else { return request };
    let mut headers = HeaderMap::with_capacity(2);
    trace.inject(&mut headers);
    request.headers(headers)
}

/// Parses a configured base URL.
///
/// # Errors
/// `Rejected` when it is not an http or https URL with a host.
pub fn parse_base_url(text: &str) -> Result<Url, UpstreamError> {
    let url = Url::parse(text).map_err(|e| UpstreamError::rejected("its URL is not valid").because(e))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(UpstreamError::rejected("its URL must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UpstreamError::rejected("its URL must not carry credentials"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
