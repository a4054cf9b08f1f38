//! Sessions of accounts that are entered with a password. They live in memory: a process logs in once, and
//! refreshes when the hub refuses its token, one task for all that have been refused.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Hub, HubError,
    call::{Answer, Call, in_time},
};
use crate::{
    domain::{Credential, Marketplace, MarketplaceId},
    error::UpstreamError,
};

/// Sessions kept at most, and how long when nobody calls.
const SESSIONS: u64 = 10_000;
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a password that was refused is not tried again: hubs allow ten logins a minute.
const PAUSE: Duration = Duration::from_secs(6);

/// The sessions of a process. Clones share them.
#[derive(Clone)]
pub(super) struct Sessions {
    known: Cache<Key, Arc<Session>>,
}

/// A marketplace, and the digest of what enters it.
type Key = (MarketplaceId, [u8; 32]);

#[derive(Default)]
struct Session {
    /// Locked while the hub is asked: whoever comes meanwhile has no token of use.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: Option<Arc<Tokens>>,
    /// Why there is no session, and since when.
    failed: Option<(Instant, HubError)>,
}

/// What a hub gives for a password.
#[derive(Deserialize)]
pub(super) struct Tokens {
    #[serde(rename = "access_token")]
    pub(super) access: SecretString,
    #[serde(rename = "refresh_token", default)]
    refresh: Option<SecretString>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { known: Cache::builder().max_capacity(SESSIONS).time_to_idle(KEPT).build() }
    }

    async fn of(&self, marketplace: &Marketplace, password: &SecretString) -> Arc<Session> {
        let entered = [&marketplace.url, &marketplace.username, password.expose_secret()].join("\0");
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, entered.as_bytes()).as_ref());
        self.known.get_with((marketplace.id, key), async { Arc::default() }).await
    }
}

impl State {
    /// Tokens that the caller has not tried yet.
    fn untried(&self, tried: Option<&Arc<Tokens>>) -> Option<Arc<Tokens>> {
        let is_tried = |tokens: &Arc<Tokens>| tried.is_some_and(|tried| Arc::ptr_eq(tried, tokens));
        self.tokens.as_ref().filter(|tokens| !is_tried(tokens)).map(Arc::clone)
    }

    /// What those are told who came before it was known, and for a refusal those who come soon after.
    fn failure(&self, came_at: Instant) -> Option<HubError> {
        let (at, error) = self.failed.as_ref()?;
        let lasts = if error.is_final() { PAUSE } else { Duration::ZERO };
        (came_at <= *at + lasts).then(|| error.shared())
    }

    fn note(&mut self, renewed: Result<Tokens, HubError>) -> Result<Arc<Tokens>, HubError> {
        match renewed {
            Ok(tokens) => {
                self.failed = None;
                Ok(Arc::clone(self.tokens.insert(Arc::new(tokens))))
            }
            Err(error) => {
                self.failed = Some((Instant::now(), error.shared()));
                Err(error)
            }
        }
    }
}

impl Hub {
    /// Makes a call for the account, within ten seconds, whatever it takes to enter it.
    pub(super) async fn ask(&self, marketplace: &Marketplace, call: Call<'_>) -> Result<Answer, HubError> {
        match &marketplace.credential {
            None => Err(UpstreamError::rejected("its credential is lost").into()),
            Some(Credential::ApiToken(api_token)) => {
                in_time(self.exchange(&marketplace.url, &call, Some(api_token))).await
            }
            Some(Credential::Password(password)) => {
                in_time(self.ask_in_session(marketplace, password, &call.hiding(password.expose_secret())))
                    .await
            }
        }
    }

    /// Has a password turned into tokens.
    pub(super) async fn log_in(
        &self,
        url: &str,
        username: &str,
        password: &SecretString,
    ) -> Result<Tokens, HubError> {
        let password = password.expose_secret();
        let path = ["api", "v1", "auth", "login"];
        let login = Call::post(&path).form(&[("username", username), ("password", password)]);
        self.exchange(url, &login.hiding(password).once(), None).await?.read()
    }

    async fn ask_in_session(
        &self,
        marketplace: &Marketplace,
        password: &SecretString,
        call: &Call<'_>,
    ) -> Result<Answer, HubError> {
        let tokens = self.tokens(marketplace, password, None).await?;
        let answer = self.exchange(&marketplace.url, call, Some(&tokens.access)).await;
        if !answer.as_ref().is_err_and(HubError::is_unauthorized) {
            return answer;
        }
        let tokens = self.tokens(marketplace, password, Some(&tokens)).await?;
        self.exchange(&marketplace.url, call, Some(&tokens.access)).await
    }

    /// Tokens other than those that have been `tried`.
    async fn tokens(
        &self,
        marketplace: &Marketplace,
        password: &SecretString,
        tried: Option<&Arc<Tokens>>,
    ) -> Result<Arc<Tokens>, HubError> {
        let came_at = Instant::now();
        let session = self.sessions.of(marketplace, password).await;
        let mut state = session.state.lock().await;
        if let Some(tokens) = state.untried(tried) {
            return Ok(tokens);
        }
        if let Some(error) = state.failure(came_at) {
            return Err(error);
        }
        let refresh_token = state.tokens.as_ref().and_then(|tokens| tokens.refresh.clone());
        let refreshed = match refresh_token {
            Some(refresh_token) => Some(self.refresh(&marketplace.url, &refresh_token).await),
            None => None,
        };
        let renewed = match refreshed {
            Some(Ok(tokens)) => Ok(tokens),
            // Nobody knows whether it has been used.
            Some(Err(error)) if !error.is_final() => Err(error),
            Some(Err(_)) | None => {
                state.tokens = None;
                self.log_in(&marketplace.url, &marketplace.username, password).await
            }
        };
        state.note(renewed)
    }

    /// The refresh token is of no use afterwards.
    async fn refresh(&self, url: &str, refresh_token: &SecretString) -> Result<Tokens, HubError> {
        let refresh_token = refresh_token.expose_secret();
        let path = ["api", "v1", "auth", "refresh"];
        let refresh = Call::post(&path).json(&json!({ "refresh_token": refresh_token }));
        self.exchange(url, &refresh.hiding(refresh_token).once(), None).await?.read()
    }
}
