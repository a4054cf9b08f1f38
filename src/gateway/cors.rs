//! Which pages of other origins may call.

use http::{HeaderName, HeaderValue, header, request::Parts};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// What browsers may show to pages of other origins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Origins whose pages may call: each as a browser writes it, where `*` stands for one label of the
    /// host's name. A single `*` stands for all of them.
    pub allowed_origins: Vec<String>,
}

/// How long a browser remembers what it may do.
const MAX_AGE: Duration = Duration::from_secs(600);
/// What pages may read of an answer beside its body.
const EXPOSED: [HeaderName; 8] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("x-policy-metadata-bin"),
    HeaderName::from_static("x-query-id"),
    HeaderName::from_static("x-correlation-id"),
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

impl Default for Config {
    fn default() -> Self {
        let origins = [
            "http://localhost:5173",
            "http://localhost:5174",
            "http://localhost:5175",
            "http://localhost:8080",
            "https://syfthub.openmined.org",
            "tauri://localhost",
            "http://tauri.localhost",
            "https://tauri.localhost",
            "https://*.syfthub.ngrok.app",
        ];
        Self { allowed_origins: origins.map(str::to_owned).to_vec() }
    }
}

impl Config {
    /// The layer that answers preflights and marks answers.
    pub fn layer(&self) -> CorsLayer {
        let patterns = self.allowed_origins.clone();
        let everybody = patterns.iter().any(|pattern| pattern == "*");
        let allowed = move |origin: &HeaderValue, _: &Parts| {
            let origin = origin.to_str().unwrap_or_default();
            everybody || patterns.iter().any(|pattern| fits(pattern, origin))
        };
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(allowed))
            .allow_methods(AllowMethods::mirror_request())
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED)
            // Credentials are never cookies here; pages that send theirs along are not refused for it.
            .allow_credentials(!everybody)
            .max_age(MAX_AGE)
    }

    /// What is wrong with the origins.
    pub fn problems(&self) -> Vec<String> {
        let bad = self.allowed_origins.iter().filter(|origin| !could_be_origin(origin));
        bad.map(|origin| {
            format!("cors.allowed_origins: '{origin}' is not an origin, such as https://example.org")
        })
        .collect()
    }
}

/// Whether an origin is one that a pattern means.
fn fits(pattern: &str, origin: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == origin };
    let label = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    label.is_some_and(|label| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

fn could_be_origin(pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let rest = pattern.split_once("://").map(|(_, host)| host);
    let host =
        rest.is_some_and(|host| !host.is_empty() && !host.contains('/') && host.matches('*').count() <= 1);
    host && pattern.is_ascii() && !pattern.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::{could_be_origin, fits};

    #[test]
    fn a_star_is_one_label() {
        let pattern = "https://*.syfthub.ngrok.app";
        assert!(fits(pattern, "https://a-b_1.syfthub.ngrok.app"));
        for other in [
            "https://.syfthub.ngrok.app",
            "https://a.b.syfthub.ngrok.app",
            "https://evil.org/.syfthub.ngrok.app",
            "http://a.syfthub.ngrok.app",
            "https://a.syfthub.ngrok.app.evil.org",
        ] {
            assert!(!fits(pattern, other), "{other}");
        }
        assert!(fits("http://localhost:5173", "http://localhost:5173"));
        assert!(!fits("http://localhost:5173", "http://localhost:51730"));
    }

    #[test]
    fn an_origin_has_no_path() {
        assert!(
            ["*", "tauri://localhost", "https://x.org:8443"].iter().all(|origin| could_be_origin(origin))
        );
        assert!(
            !["", "x.org", "https://x.org/", "https://*.*.org", "https:// x"]
                .iter()
                .any(|o| could_be_origin(o))
        );
    }
}
