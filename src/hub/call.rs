//! One call of a hub: what is sent, and what comes back.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Url,
    header::{CONTENT_TYPE, HeaderMap},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use time::OffsetDateTime;
use url::form_urlencoded;

use super::{Hub, HubError, LIMIT};
use crate::{
    error::UpstreamError,
    upstream::{self, Failed, parse_base_url},
};

/// Bytes of an answer, unless a call expects more.
const MAX_ANSWER: usize = 1 << 20;

/// What is asked of a hub.
pub(super) struct Call<'a> {
    method: Method,
    /// Segments; each may be any text.
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
    /// What the hub must not say again.
    secrets: Vec<&'a str>,
    is_sent_once: bool,
    max_answer: usize,
}

/// What a hub answered, with a status of success.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    status: u16,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            secrets: Vec::new(),
            is_sent_once: false,
            max_answer: MAX_ANSWER,
        }
    }

    pub(super) fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &'a [&'a str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// One more parameter of the query.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        // Maps here have texts for keys: this does not fail.
        self.body = Some(("application/json", serde_json::to_vec(body).unwrap_or_default().into()));
        self
    }

    pub(super) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body = Some(("application/x-www-form-urlencoded", body.into()));
        self
    }

    pub(super) fn hiding(mut self, secret: &'a str) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Never repeated by itself.
    pub(super) fn once(mut self) -> Self {
        self.is_sent_once = true;
        self
    }

    /// Expects an answer of at most `bytes`.
    pub(super) fn expecting(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    fn url(&self, base: &str) -> Result<Url, UpstreamError> {
        let mut url = parse_base_url(base)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

impl Answer {
    /// # Errors
    /// `Unavailable` when it is something else than was to be expected.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, HubError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| HubError { status: Some(self.status), ..unreadable(&error).into() })
    }

    /// Whether it is a hub that says so, whatever it says.
    ///
    /// # Errors
    /// `Unavailable` when it is something else, such as a page of HTML.
    pub(super) fn done(&self) -> Result<(), HubError> {
        if self.body.is_empty() { Ok(()) } else { self.read::<IgnoredAny>().map(|_| ()) }
    }
}

impl Hub {
    /// Makes a call that needs no account.
    pub(super) async fn ask_openly(&self, base: &str, call: &Call<'_>) -> Result<Answer, HubError> {
        in_time(self.exchange(base, call, None)).await
    }

    /// Makes a call once, or twice if that may help.
    pub(super) async fn exchange(
        &self,
        base: &str,
        call: &Call<'_>,
        bearer: Option<&SecretString>,
    ) -> Result<Answer, HubError> {
        let url = call.url(base)?;
        let sent_at = Mutex::new(OffsetDateTime::now_utc());
        let make = || {
            *sent_at.lock().unwrap_or_else(PoisonError::into_inner) = OffsetDateTime::now_utc();
            self.request(&url, call, bearer)
        };
        let sent = match call.is_sent_once {
            true => self.upstream.send_once(make()?).await,
            false => self.upstream.send(make).await,
        };
        let headers = match &sent {
            Ok(response) => response.headers(),
            Err(failed) => &failed.headers,
        };
        let sent_at = *sent_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.clocks.learn(base, headers, sent_at).await;
        let response = sent.map_err(|failed| refusal(failed, call, bearer))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut clocks = self.upstream.clocks();
        let body = upstream::read_at_most(call.max_answer, response, &mut clocks).await;
        let body = body.map_err(|fault| HubError { status: Some(status), ..fault.into() })?;
        Ok(Answer { headers, body, status })
    }

    fn request(
        &self,
        url: &Url,
        call: &Call<'_>,
        bearer: Option<&SecretString>,
    ) -> Result<RequestBuilder, UpstreamError> {
        let mut request = self.upstream.request(call.method.clone(), url)?;
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose_secret());
        }
        if let Some((kind, body)) = &call.body {
            request = request.header(CONTENT_TYPE, *kind).body(body.clone());
        }
        Ok(request)
    }
}

/// Ends with [`LIMIT`].
pub(super) async fn in_time<T>(call: impl Future<Output = Result<T, HubError>>) -> Result<T, HubError> {
    let late = || UpstreamError::unavailable("it did not answer in time");
    tokio::time::timeout(LIMIT, call).await.unwrap_or_else(|_| Err(late().into()))
}

fn refusal(failed: Failed, call: &Call<'_>, bearer: Option<&SecretString>) -> HubError {
    let mut secrets = call.secrets.clone();
    secrets.extend(bearer.map(ExposeSecret::expose_secret));
    HubError::read(failed, &secrets)
}

/// Says where, not what: the message would quote the answer.
fn unreadable(error: &serde_json::Error) -> UpstreamError {
    let place = format!("{:?} error in column {}", error.classify(), error.column());
    UpstreamError::unavailable("its answer cannot be read").because(place)
}
