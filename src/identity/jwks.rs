//! The keys of every marketplace, kept apart: a key is only ever looked up at the hub that a token is
//! said to come from.
//!
//! Keys are fetched when they are too old, and when a token names an unknown one or fits none: a hub
//! may have changed its key, under the same name too. The latter at most once a minute a marketplace,
//! however many such tokens come. A fetch runs on a task of its own, so that nobody who goes away
//! ends it for the others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::DecodingKey;
use moka::future::Cache;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::token::Token;
use crate::{
    domain::{Marketplace, MarketplaceId},
    error::UpstreamError,
    hub::{self, Hub},
};

/// Marketplaces whose keys are kept at most.
const CAPACITY: u64 = 10_000;
/// How long keys are kept of which the hub says nothing.
const KEPT: Duration = Duration::from_secs(3600);
/// What the hub may ask for.
const MIN_KEPT: Duration = Duration::from_secs(60);
const MAX_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long keys that are too old serve on while the hub does not answer.
const STALE: Duration = Duration::from_secs(3600);
/// Between two fetches that tokens bring about.
const REFETCH_EVERY: Duration = Duration::from_secs(60);
/// From a fetch that failed to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches and keeps keys. Clones share them.
#[derive(Clone)]
pub(super) struct KeyRing {
    hub: Hub,
    tasks: TaskTracker,
    places: Cache<MarketplaceId, Arc<Place>>,
}

/// The keys of one marketplace at one time.
pub(super) struct KeySet {
    keys: Vec<(DecodingKey, String)>,
    fresh_until: Instant,
}

#[derive(Default)]
struct Place {
    state: Mutex<State>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// The last fetch that failed, if none has succeeded since.
    failed: Option<(Instant, UpstreamError)>,
    /// The last fetch that a token brought about.
    refetched: Option<Instant>,
}

/// What a fetch is for.
#[derive(Clone)]
enum Want {
    Fresh,
    OtherThan(Arc<KeySet>),
}

impl KeyRing {
    /// Fetches run on `tasks`, for ten seconds each at most.
    pub(super) fn new(hub: Hub, tasks: TaskTracker) -> Self {
        Self { hub, tasks, places: Cache::new(CAPACITY) }
    }

    /// The marketplace's keys. Costs nothing on the hub while they are fresh.
    ///
    /// # Errors
    /// What the hub says, unless there are keys that may still serve.
    pub(super) async fn keys(&self, marketplace: &Marketplace) -> Result<Arc<KeySet>, UpstreamError> {
        let place = self.fetched(marketplace, Want::Fresh).await;
        place.state().usable(Instant::now())
    }

    /// Keys that have been fetched since `known`; `None` when there is nothing new to be learned now.
    ///
    /// # Errors
    /// What the hub says: it may have other keys, and nobody knows.
    pub(super) async fn newer(
        &self,
        marketplace: &Marketplace,
        known: &Arc<KeySet>,
    ) -> Result<Option<Arc<KeySet>>, UpstreamError> {
        let place = self.fetched(marketplace, Want::OtherThan(Arc::clone(known))).await;
        place.state().newer(known)
    }

    async fn fetched(&self, marketplace: &Marketplace, want: Want) -> Arc<Place> {
        let place = self.places.get_with(marketplace.id, async { Arc::default() }).await;
        if place.state().is_due(&want, Instant::now()) {
            let (hub, marketplace, place) = (self.hub.clone(), marketplace.clone(), Arc::clone(&place));
            let fetch = self.tasks.spawn(async move {
                let _alone = place.fetching.lock().await;
                // Whoever was before may have fetched what is wanted.
                if place.state().is_due(&want, Instant::now()) {
                    let fetched = hub.keys(&marketplace).await;
                    place.state().note(&want, Instant::now(), fetched);
                }
            });
            if let Err(error) = fetch.await {
                tracing::error!(%error, "fetching keys panicked");
            }
        }
        place
    }
}

impl KeySet {
    fn new(fetched: hub::Keys, now: Instant) -> Self {
        let kept = fetched.max_age.unwrap_or(KEPT).clamp(MIN_KEPT, MAX_KEPT);
        let read =
            |key: hub::Key| (DecodingKey::from_rsa_raw_components(&key.modulus, &key.exponent), key.id);
        Self { keys: fetched.keys.into_iter().map(read).collect(), fresh_until: now + kept }
    }

    /// Whether the key that the token names has signed it.
    pub(super) fn has_signed(&self, token: &Token<'_>) -> bool {
        self.keys.iter().any(|(key, id)| *id == token.key_id && token.is_signed_by(key))
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_due(&self, want: &Want, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        match want {
            Want::Fresh => {
                let fresh = self.keys.as_ref().is_some_and(|keys| now < keys.fresh_until);
                !fresh && self.failed.as_ref().is_none_or(|(at, _)| since(*at) >= PAUSE)
            }
            Want::OtherThan(known) => {
                self.is_current(known) && self.refetched.is_none_or(|at| since(at) >= REFETCH_EVERY)
            }
        }
    }

    fn note(&mut self, want: &Want, now: Instant, fetched: Result<hub::Keys, UpstreamError>) {
        if let Want::OtherThan(_) = want {
            self.refetched = Some(now);
        }
        match fetched {
            Ok(keys) => {
                self.keys = Some(Arc::new(KeySet::new(keys, now)));
                self.failed = None;
            }
            Err(error) => self.failed = Some((now, error)),
        }
    }

    fn usable(&self, now: Instant) -> Result<Arc<KeySet>, UpstreamError> {
        match (&self.keys, &self.failed) {
            (Some(keys), _) if now < keys.fresh_until + STALE => Ok(Arc::clone(keys)),
            (_, Some((_, error))) => Err(error.shared()),
            _ => Err(UpstreamError::unavailable("it has no keys of use")),
        }
    }

    fn newer(&self, known: &Arc<KeySet>) -> Result<Option<Arc<KeySet>>, UpstreamError> {
        match (&self.keys, &self.failed) {
            (Some(keys), _) if !self.is_current(known) => Ok(Some(Arc::clone(keys))),
            (_, Some((_, error))) => Err(error.shared()),
            _ => Ok(None),
        }
    }

    fn is_current(&self, known: &Arc<KeySet>) -> bool {
        self.keys.as_ref().is_some_and(|keys| Arc::ptr_eq(keys, known))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::{MAX_KEPT, MIN_KEPT, PAUSE, REFETCH_EVERY, STALE, State, Want};
    use crate::{error::UpstreamError, hub};

    fn keys(max_age: Option<Duration>) -> Result<hub::Keys, UpstreamError> {
        Ok(hub::Keys { keys: Vec::new(), max_age })
    }

    fn down() -> Result<hub::Keys, UpstreamError> {
        Err(UpstreamError::unavailable("is down"))
    }

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn keys_are_kept_as_long_as_the_hub_says_within_bounds() {
        let now = Instant::now();
        for (said, kept) in [
            (Duration::ZERO, MIN_KEPT),
            (Duration::from_secs(900), Duration::from_secs(900)),
            (Duration::MAX, MAX_KEPT),
        ] {
            let mut state = State::default();
            assert!(state.is_due(&Want::Fresh, now));
            state.note(&Want::Fresh, now, keys(Some(said)));
            assert!(!state.is_due(&Want::Fresh, now + kept - MOMENT), "{said:?}");
            assert!(state.is_due(&Want::Fresh, now + kept), "{said:?}");
        }
    }

    #[test]
    fn a_hub_that_is_down_is_given_a_pause_while_old_keys_serve_for_a_while() {
        let (now, mut state) = (Instant::now(), State::default());
        state.note(&Want::Fresh, now, down());
        assert!(state.usable(now).is_err() && !state.is_due(&Want::Fresh, now + PAUSE - MOMENT));
        assert!(state.is_due(&Want::Fresh, now + PAUSE));
        state.note(&Want::Fresh, now, keys(Some(MIN_KEPT)));
        let old = now + MIN_KEPT;
        state.note(&Want::Fresh, old, down());
        assert!(state.usable(old).is_ok() && state.usable(old + STALE - MOMENT).is_ok());
        assert!(state.usable(old + STALE).is_err());
        state.note(&Want::Fresh, old + STALE, keys(None));
        assert!(state.usable(old + STALE).is_ok());
    }

    #[test]
    fn tokens_bring_about_a_fetch_a_minute() {
        let (now, mut state) = (Instant::now(), State::default());
        state.note(&Want::Fresh, now, keys(None));
        let first = state.usable(now).unwrap();
        let want = Want::OtherThan(Arc::clone(&first));
        assert!(state.is_due(&want, now));
        state.note(&want, now, keys(None));
        // Whoever knows the keys before these learns of them, and whoever knows these has to wait.
        assert!(!state.is_due(&want, now) && state.newer(&first).unwrap().is_some());
        let second = state.usable(now).unwrap();
        let want = Want::OtherThan(Arc::clone(&second));
        assert!(
            !state.is_due(&want, now + REFETCH_EVERY - MOMENT) && state.newer(&second).unwrap().is_none()
        );
        assert!(state.is_due(&want, now + REFETCH_EVERY));
        // A fetch that fails counts too, and until the next nobody can tell.
        state.note(&want, now + REFETCH_EVERY, down());
        assert!(!state.is_due(&want, now + 2 * REFETCH_EVERY - MOMENT) && state.newer(&second).is_err());
        assert!(state.is_due(&want, now + 2 * REFETCH_EVERY));
        state.note(&want, now + 2 * REFETCH_EVERY, keys(None));
        assert!(state.newer(&second).unwrap().is_some());
    }
}
