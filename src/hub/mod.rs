//! SyftHub, as far as this service talks to it: its keys, its word on a token, the owner's account.
//!
//! Every call ends within ten seconds; what takes several says so. `Rejected` means that the hub refuses our credential or does not
//! know what was asked for, and the owner must act; anything else that goes wrong is `Unavailable`.
//! Nothing that the hub says reaches a caller or the log; the owner is told its words, see [`HubError`].

mod accounts;
mod answers;
mod call;
mod clocks;
mod config;
mod error;
mod listings;
mod publication;
mod reports;
mod said;
mod satellites;
mod sessions;

use std::time::Duration;

use serde_json::json;

pub use accounts::{Accounting, Registered, Registration};
pub use answers::{Key, Keys, Profile, Verdict};
pub use config::Config;
pub use error::HubError;
pub use listings::Listed;
pub use publication::{Connection, ListedPolicy, Liveness, Publication};

use crate::{
    domain::Marketplace,
    error::{Cause, UpstreamError},
    upstream::{self, Upstream},
};
use call::Call;
use clocks::Clocks;
use sessions::Sessions;

/// One call, repeats included.
const LIMIT: Duration = Duration::from_secs(10);
/// Attempts of one call.
const ATTEMPTS: usize = 2;
/// Our account.
const ME: [&str; 4] = ["api", "v1", "users", "me"];

/// Calls hubs. Clones share one connection pool, the sessions, and what is known of hubs' clocks.
#[derive(Clone)]
pub struct Hub {
    upstream: Upstream,
    sessions: Sessions,
    clocks: Clocks,
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
        Ok(Self { upstream: Upstream::new(config)?, sessions: Sessions::new(), clocks: Clocks::new() })
    }

    /// The keys that the hub's tokens are signed with.
    ///
    /// # Errors
    /// `Unavailable`, also when there is no key of use; `Rejected`.
    pub async fn keys(&self, marketplace: &Marketplace) -> Result<Keys, UpstreamError> {
        let call = Call::get(&[".well-known", "jwks.json"]);
        let answer = self.ask_openly(&marketplace.url, &call).await.map_err(|error| error.fault)?;
        Keys::read(&answer.headers, answer.read().map_err(|error| error.fault)?)
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
        let call = Call::post(&["api", "v1", "verify"]).json(&body).hiding(token);
        let answer = self.ask(marketplace, call).await.map_err(|error| error.fault)?;
        Verdict::read(answer.read().map_err(|error| error.fault)?)
    }

    /// The account that our credential belongs to.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when it refuses our credential.
    pub async fn profile(&self, marketplace: &Marketplace) -> Result<Profile, UpstreamError> {
        let answer = self.ask(marketplace, Call::get(&ME)).await.map_err(|error| error.fault)?;
        answer.read().map_err(|error| error.fault)
    }
}
