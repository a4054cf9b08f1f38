//! Callers with a token of a marketplace. The token is checked here first, so that junk costs the hub
//! nothing; then the hub says whose it is, once for each token, for only it knows the e-mail address.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backon::{ExponentialBuilder, Retryable};
use moka::{Expiry, future::Cache};
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

use super::{Digest, jwks::KeyRing, token::Token};
use crate::{
    domain::{Caller, Marketplace, MarketplaceId, Scope, Tenant, TenantId, rules},
    error::{Error, UpstreamError},
    hub::{self, Hub, Verdict},
    store::Store,
};

/// Tokens remembered at most.
const TOKENS: u64 = 100_000;
/// Tenants whose marketplaces are remembered at most, and how long when nobody asks.
const TENANTS: u64 = 10_000;
const KEPT: Duration = Duration::from_secs(60);
/// How long the hub's word on a token is taken without asking again, however long the token lives.
const TRUSTED: Duration = Duration::from_secs(300);

/// Knows marketplaces and whose their tokens are. Clones share everything.
#[derive(Clone)]
pub struct Satellites {
    store: Store,
    hub: Hub,
    config: Arc<hub::Config>,
    keys: KeyRing,
    /// By the revision at which they were loaded, as plans are.
    marketplaces: Cache<(TenantId, i64), Arc<[Marketplace]>>,
    bearers: Cache<TokenKey, Arc<Bearer>>,
}

/// A token at a marketplace as it is now: what was known before a change of it is not found.
type TokenKey = (Digest, MarketplaceId, OffsetDateTime);

/// Whose a token is.
struct Bearer {
    email: String,
    guest: bool,
    /// When the token ends, in seconds since 1970.
    expires_at: i64,
}

/// Nobody is remembered for longer than the token lives.
struct UntilItEnds;

impl Satellites {
    /// Knows nothing yet. Fetches of keys run on `tasks`.
    pub fn new(store: Store, hub: Hub, config: hub::Config, tasks: TaskTracker) -> Self {
        Self {
            store,
            keys: KeyRing::new(hub.clone(), tasks),
            hub,
            config: Arc::new(config),
            // Every change of the catalog leaves those before it behind.
            marketplaces: Cache::builder().max_capacity(TENANTS).time_to_idle(KEPT).build(),
            bearers: Cache::builder().max_capacity(TOKENS).expire_after(UntilItEnds).build(),
        }
    }

    /// Stores the configured marketplace, if there is one, as the default one of `tenant`; one that was
    /// configured before is not asked any more.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub(super) async fn seed(&self, tenant: TenantId) -> Result<(), Error> {
        self.store.configure_marketplace(tenant, self.config.marketplace()).await
    }

    /// The caller whose token this is. Costs neither the database nor the hub anything, and no
    /// signature is checked, when the token is known.
    ///
    /// # Errors
    /// `Unauthenticated`, always alike; `Hub` when that cannot be told; `StoreUnavailable`.
    pub(super) async fn identify(
        &self,
        text: &str,
        digest: Digest,
        tenant: &Tenant,
    ) -> Result<Caller, Error> {
        let marketplaces = self.marketplaces(tenant.id).await?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        for marketplace in marketplaces.iter() {
            let bearer = self.bearers.get(&token_key(digest, marketplace)).await;
            if let Some(bearer) = bearer.filter(|bearer| now < bearer.expires_at) {
                return Ok(bearer.caller(tenant));
            }
        }
        let leeway = i64::from(self.config.clock_leeway_s);
        let token = Token::parse(text).filter(|token| token.is_current(now, leeway));
        let token = token.ok_or(Error::Unauthenticated)?;
        let signer = self.signer(&token, &marketplaces).await?;
        // Those who come with it meanwhile wait for one call, and make it anew if its caller goes away.
        let asked = self.bearers.try_get_with(token_key(digest, signer), self.ask(signer, &token)).await;
        asked.map(|bearer| bearer.caller(tenant)).map_err(|error| shared(&error))
    }

    /// The owner's e-mail address, as the tenant's default marketplace has it.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub(super) async fn owner_email(&self, tenant: TenantId) -> Result<Option<String>, Error> {
        let marketplaces = self.marketplaces(tenant).await?;
        let default = marketplaces.iter().find(|marketplace| marketplace.is_default);
        Ok(default.map(|marketplace| marketplace.email.clone()).filter(|email| !email.is_empty()))
    }

    /// Asks the hub for the owner's e-mail address until it is known. Returns at once when it is.
    pub(super) async fn learn_owner_email(&self, tenant: TenantId) {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(300))
            .without_max_times();
        let learned = (|| self.ask_for_owner(tenant)).retry(backoff).notify(|error: &Error, _| {
            tracing::warn!(
                reason = error.reason(),
                cause = error.cause(),
                "the owner's e-mail address is not known"
            );
        });
        // Without an end it does not fail.
        let _ = learned.await;
    }

    async fn ask_for_owner(&self, tenant: TenantId) -> Result<(), Error> {
        let marketplaces = self.store.active_marketplaces(tenant).await?;
        let unknown = marketplaces.iter().find(|one| one.is_default && one.email.is_empty());
        let Some(marketplace) = unknown else { return Ok(()) };
        let profile = self.hub.profile(marketplace).await.map_err(Error::Hub)?;
        if profile.username.to_lowercase() != marketplace.username {
            return Err(Error::Hub(UpstreamError::rejected("its credential is another account's")));
        }
        let email = rules::email("", &profile.email);
        let email = email.map_err(|_| Error::Hub(UpstreamError::unavailable("it has no e-mail address")))?;
        self.store.set_marketplace_email(tenant, marketplace.id, email).await
    }

    async fn marketplaces(&self, tenant: TenantId) -> Result<Arc<[Marketplace]>, Error> {
        let load = async || self.store.active_marketplaces(tenant).await.map(Arc::from);
        let Some(revision) = self.store.feed().catalog_revision() else { return load().await };
        if let Some(known) = self.marketplaces.get(&(tenant, revision)).await {
            return Ok(known);
        }
        let found = load().await?;
        self.marketplaces.insert((tenant, revision), Arc::clone(&found)).await;
        Ok(found)
    }

    /// The marketplace whose key has signed the token.
    async fn signer<'m>(
        &self,
        token: &Token<'_>,
        marketplaces: &'m [Marketplace],
    ) -> Result<&'m Marketplace, Error> {
        let mut untold = None;
        for marketplace in marketplaces.iter().filter(|marketplace| token.names(marketplace)) {
            match self.has_signed(marketplace, token).await {
                Ok(true) => return Ok(marketplace),
                Ok(false) => {}
                Err(fault) => untold = Some(fault),
            }
        }
        Err(untold.map_or(Error::Unauthenticated, Error::Hub))
    }

    async fn has_signed(&self, marketplace: &Marketplace, token: &Token<'_>) -> Result<bool, UpstreamError> {
        let known = self.keys.keys(marketplace).await?;
        if known.has_signed(token) {
            return Ok(true);
        }
        let newer = self.keys.newer(marketplace, &known).await?;
        Ok(newer.is_some_and(|keys| keys.has_signed(token)))
    }

    /// What the hub says of a token that it has signed.
    async fn ask(&self, marketplace: &Marketplace, token: &Token<'_>) -> Result<Arc<Bearer>, Error> {
        let verdict = self.hub.verify(marketplace, token.text).await.map_err(Error::Hub)?;
        let Verdict::Good { email, guest } = verdict else { return Err(Error::Unauthenticated) };
        let email = rules::email("", &email).map_err(|_| Error::Unauthenticated)?;
        let guest = guest || token.is_guests();
        Ok(Arc::new(Bearer { email, guest, expires_at: token.expires_at() }))
    }
}

impl Bearer {
    fn caller(&self, tenant: &Tenant) -> Caller {
        match self.guest {
            true => Caller::guest(tenant.clone(), &self.email),
            false => Caller::new(tenant.clone(), &self.email, vec![Scope::Query]),
        }
    }
}

impl Expiry<TokenKey, Arc<Bearer>> for UntilItEnds {
    fn expire_after_create(&self, _key: &TokenKey, bearer: &Arc<Bearer>, _at: Instant) -> Option<Duration> {
        let left = bearer.expires_at.saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
        Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()).min(TRUSTED))
    }
}

fn token_key(digest: Digest, marketplace: &Marketplace) -> TokenKey {
    (digest, marketplace.id, marketplace.updated_at)
}

/// An error that several callers waited for, once for each.
fn shared(error: &Error) -> Error {
    match error {
        Error::Hub(fault) => Error::Hub(fault.shared()),
        Error::Unauthenticated => Error::Unauthenticated,
        other => Error::internal(other.to_string()),
    }
}
