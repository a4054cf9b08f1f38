//! SyftHub, as far as this service talks to it: its keys, its word on a token, the owner's account.
//!
//! Every call ends within ten seconds. `Rejected` means that the hub refuses our credential or does not
//! know what was asked for, and the owner must act; anything else that goes wrong is `Unavailable`.
//! Nothing that the hub says reaches a caller or the log.

mod accounts;
mod answers;
mod config;
mod error;
mod listings;
mod publication;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::json;

pub use accounts::{Registered, Registration};
pub use answers::{Key, Keys, Profile, Verdict};
pub use config::Config;
pub use error::HubError;
pub use listings::Listed;
pub use publication::{Connection, ListedPolicy, Liveness, Publication};

use crate::{
    domain::{Credential, Marketplace},
    error::{Cause, UpstreamError},
    upstream::{self, Upstream, parse_base_url},
};

/// One call, repeats included.
const LIMIT: Duration = Duration::from_secs(10);
/// Attempts of one call.
const ATTEMPTS: usize = 2;
/// Bytes of one answer.
const MAX_ANSWER: usize = 1 << 20;

/// Calls hubs. Clones share one connection pool.
#[derive(Clone)]
pub struct Hub {
    upstream: Upstream,
}

impl Hub {
    /// Calls addresses as `config` allows, with clocks of its own.
    ///
    /// # Errors
    /// When the TLS provider cannot be set up.
    pub fn new(config: &upstream::Config) -> Result<Self, Cause> {
        let limit = LIMIT.as_secs() * 1_000;
        let config = upstream::Config {
            first_token_timeout_ms: limit,
            idle_timeout_ms: limit,
            attempts: ATTEMPTS,
            ..config.clone()
        };
        Ok(Self { upstream: Upstream::new(config)? })
    }

    /// The keys that the hub's tokens are signed with.
    ///
    /// # Errors
    /// `Unavailable`, also when there is no key of use; `Rejected`.
    pub async fn keys(&self, marketplace: &Marketplace) -> Result<Keys, UpstreamError> {
        let call = || self.request(Method::GET, marketplace, "/.well-known/jwks.json");
        let (headers, answer) = self.exchange(call).await?;
        Keys::read(&headers, answer)
    }

    /// What the hub says of a token.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when it refuses our credential, or it is another account's.
    pub async fn verify(&self, marketplace: &Marketplace, token: &str) -> Result<Verdict, UpstreamError> {
        let mut body = json!({ "token": token });
        if let Some(satellite_id) = &marketplace.satellite_id {
            body["satellite_id"] = satellite_id.as_str().into();
        }
        let call = || Ok(self.authorized(Method::POST, marketplace, "/api/v1/verify")?.json(&body));
        let (_, answer) = self.exchange(call).await?;
        Verdict::read(answer)
    }

    /// The account that our credential belongs to.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when it refuses our credential.
    pub async fn profile(&self, marketplace: &Marketplace) -> Result<Profile, UpstreamError> {
        let call = || self.authorized(Method::GET, marketplace, "/api/v1/users/me");
        Ok(self.exchange(call).await?.1)
    }

    fn authorized(
        &self,
        method: Method,
        marketplace: &Marketplace,
        path: &str,
    ) -> Result<RequestBuilder, UpstreamError> {
        let request = self.request(method, marketplace, path)?;
        let Some(Credential::ApiToken(api_token)) = &marketplace.credential else {
            return Err(UpstreamError::rejected("its credential is lost"));
        };
        Ok(request.bearer_auth(api_token.expose_secret()))
    }

    fn request(
        &self,
        method: Method,
        marketplace: &Marketplace,
        path: &str,
    ) -> Result<RequestBuilder, UpstreamError> {
        self.upstream.request(method, &parse_base_url(&format!("{}{path}", marketplace.url))?)
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        call: impl Fn() -> Result<RequestBuilder, UpstreamError>,
    ) -> Result<(HeaderMap, T), UpstreamError> {
        let exchange = async {
            let response = self.upstream.send(call).await.map_err(|failed| failed.error)?;
            let headers = response.headers().clone();
            let mut clocks = self.upstream.clocks();
            let body = upstream::read_at_most(MAX_ANSWER, response, &mut clocks).await?;
            Ok((headers, serde_json::from_slice(&body).map_err(|error| unreadable(&error))?))
        };
        let late = || Err(UpstreamError::unavailable("it did not answer in time"));
        tokio::time::timeout(LIMIT, exchange).await.unwrap_or_else(|_| late())
    }
}

/// Says where, not what: the message would quote the answer.
fn unreadable(error: &serde_json::Error) -> UpstreamError {
    let place = format!("{:?} error in column {}", error.classify(), error.column());
    UpstreamError::unavailable("its answer cannot be read").because(place)
}
