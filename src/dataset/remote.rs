//! Search engines behind an HTTP API that speaks JSON.

use std::time::Duration;

use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::Health,
    error::{Cause, UpstreamError},
    upstream::{Failed, Upstream, in_span, parse_base_url, read_body},
};

/// How long one question about an engine's health may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `Upstream` says of an answer with status 404.
pub(super) const NOT_KNOWN: &str = "it does not know what was asked for";

/// An engine's server: where it is, and what every request to it carries. Its headers leave for no other host.
pub(super) struct Remote {
    upstream: Upstream,
    base: Url,
    headers: HeaderMap,
}

impl Remote {
    /// # Errors
    /// When the URL or a header cannot be one.
    pub(super) fn new(
        upstream: Upstream,
        base: &str,
        headers: impl IntoIterator<Item = (String, SecretString)>,
    ) -> Result<Self, Cause> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value.expose_secret())?;
            value.set_sensitive(true);
            map.insert(HeaderName::try_from(name)?, value);
        }
        Ok(Self { upstream, base: parse_base_url(base)?, headers: map })
    }

    /// Asks for something. Each part of a path is one segment of it, whatever it is made of.
    ///
    /// # Errors
    /// As [`Upstream::send`], and `Unavailable` for what is not the JSON that was expected.
    pub(super) async fn get<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A, UpstreamError> {
        self.read(|| self.request(Method::GET, path)).await.map_err(|failed| failed.error)
    }

    /// Sends something, and reads what comes back. It may be sent again: it must change nothing.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<A, Failed> {
        self.read(|| Ok(self.request(Method::POST, path)?.json(body))).await
    }

    /// Whether the server answers a path with 2xx; the answer itself is of no interest.
    ///
    /// # Errors
    /// As [`Upstream::send_once`].
    pub(super) async fn answers(&self, path: &[&str]) -> Result<(), UpstreamError> {
        let request = self.request(Method::GET, path)?.timeout(PATIENCE);
        self.upstream.send_once(request).await.map(drop).map_err(|failed| failed.error)
    }

    async fn read<A: DeserializeOwned>(
        &self,
        request: impl Fn() -> Result<RequestBuilder, UpstreamError>,
    ) -> Result<A, Failed> {
        // One clock for the whole answer: nobody reads it while it comes.
        let mut clocks = self.upstream.clocks();
        let response: Response = clocks.wait(self.upstream.send(request)).await.map_err(Failed::from)??;
        let body = read_body(response, &mut clocks).await?;
        Ok(serde_json::from_slice(&body).map_err(|error| malformed().because(At::from(&error)))?)
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, UpstreamError> {
        let mut url = self.base.clone();
        let not_a_base = |()| UpstreamError::rejected("its URL is not valid");
        url.path_segments_mut().map_err(not_a_base)?.pop_if_empty().extend(path);
        Ok(in_span(self.upstream.request(method, &url)?.headers(self.headers.clone())))
    }
}

/// An answer that is not what was asked for.
pub(super) fn malformed() -> UpstreamError {
    UpstreamError::unavailable("its answer is malformed")
}

/// A check of an engine's health, within a limit.
pub(super) async fn checked(check: impl Future<Output = Result<(), String>>) -> Health {
    match tokio::time::timeout(2 * PATIENCE, check).await {
        Ok(Ok(())) => Health::healthy(),
        Ok(Err(reason)) => Health::unhealthy(reason),
        Err(_) => Health::unhealthy("the server did not answer in time"),
    }
}

/// Where JSON went wrong, without the text there: it may be a document's.
#[derive(Debug, thiserror::Error)]
#[error("unexpected JSON at line {line} column {column}")]
struct At {
    line: usize,
    column: usize,
}

impl From<&serde_json::Error> for At {
    fn from(error: &serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}
