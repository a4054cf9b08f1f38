//! Repeats of a call that has not answered yet.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::{RequestBuilder, Response, StatusCode, header::RETRY_AFTER};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::Failed;
use crate::error::UpstreamError;

/// A server that asks for more patience than this, or than half of the time that a call has, is not waited for:
/// the caller is told instead.
const MAX_PATIENCE: Duration = Duration::from_secs(10);
/// Nor is it believed that it wants to be left alone for longer than this.
const MAX_ASKED: Duration = Duration::from_secs(3600);
/// How much of an error's body is kept for those who can act on it. Some quote the whole request.
const MAX_ERROR_BODY: usize = 256 << 10;

pub(super) async fn send(
    request: impl Fn() -> Result<RequestBuilder, UpstreamError>,
    attempts: usize,
    limit: Duration,
) -> Result<Response, Failed> {
    let patience = MAX_PATIENCE.min(limit / 2);
    let backoff = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(attempts.saturating_sub(1));
    let once = || async { attempt(request()?).await };
    once.retry(backoff).when(|failed| worth_repeating(failed, patience)).adjust(as_asked).await
}

pub(super) async fn attempt(request: RequestBuilder) -> Result<Response, Failed> {
    let mut response = request
        .send()
        .await
        .map_err(|e| UpstreamError::unavailable("it cannot be reached").because(e.without_url()))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let error = judge(status, retry_after(&response));
    let headers = Box::new(std::mem::take(response.headers_mut()));
    Err(Failed { error, status: Some(status), headers, body: error_body(response).await })
}

fn judge(status: StatusCode, retry_after: Option<Duration>) -> UpstreamError {
    let unavailable = |reason| UpstreamError::Unavailable {
        reason,
        retry_after,
        cause: Some(format!("HTTP {status}").into()),
    };
    let rejected = |reason| UpstreamError::rejected(reason).because(format!("HTTP {status}"));
    match status.as_u16() {
        429 => unavailable("it is rate limited"),
        408 | 500..=599 => unavailable("it failed"),
        401 | 403 => rejected("its credential was refused"),
        404 => rejected("it does not know what was asked for"),
        300..=399 => rejected("it answered with a redirect"),
        _ => rejected("it refused the request"),
    }
}

fn worth_repeating(failed: &Failed, patience: Duration) -> bool {
    matches!(&failed.error, UpstreamError::Unavailable { retry_after, .. }
        if retry_after.is_none_or(|wait| wait <= patience))
}

fn as_asked(failed: &Failed, planned: Option<Duration>) -> Option<Duration> {
    let UpstreamError::Unavailable { retry_after: Some(asked), .. } = &failed.error else { return planned };
    planned.map(|planned| planned.max(*asked))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let asked = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = OffsetDateTime::parse(value, &Rfc2822).ok()?;
            (until - OffsetDateTime::now_utc()).try_into().unwrap_or_default()
        }
    };
    Some(asked.min(MAX_ASKED))
}

async fn error_body(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BODY {
        match tokio::time::timeout(Duration::from_secs(5), response.chunk()).await {
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
            _ => break,
        }
    }
    body.truncate(MAX_ERROR_BODY);
    String::from_utf8_lossy(&body).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_has_an_end() {
        let asked = |value: &str| {
            let answer = http::Response::builder().header(RETRY_AFTER, value).body("").unwrap();
            retry_after(&Response::from(answer))
        };
        assert_eq!(asked("20"), Some(Duration::from_secs(20)));
        for endless in ["18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(asked(endless), Some(MAX_ASKED), "{endless}");
        }
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("99999999999999999999"), None);
    }
}
