//! Who is calling: from credentials to a [`Caller`] in a tenant.

mod admin_key;
mod certificates;
mod jwks;
mod satellite;
mod token;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;

pub use admin_key::{KeyFile, read_or_create};
pub use certificates::CertificateCaller;
pub use satellite::Satellites;

use crate::{
    domain::{ApiKey, Caller, Peer, Scope, Tenant, rules::violation},
    error::{Error, Rule},
    store::Store,
};

/// What every API key begins with.
pub const API_KEY_PREFIX: &str = "syft_sk_";
/// The owner of a space that says nothing of its owner.
const UNNAMED_OWNER: &str = "owner@localhost";
/// Keys remembered at most, unknown ones included.
const CAPACITY: u64 = 10_000;

/// Who the owner is, and whether there are tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The e-mail address that policies see when the admin key is used. As it is by default, the
    /// marketplace's counts, if it has one.
    pub owner_email: String,
    /// Whether `x-tenant-name` chooses a tenant.
    pub enable_multi_tenancy: bool,
    /// The tenant of a space that has one, and of calls that name none.
    pub default_tenant_name: String,
    /// Callers that are known by the certificate of their connection. The first that fits counts.
    pub certificates: Vec<CertificateCaller>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            owner_email: UNNAMED_OWNER.to_owned(),
            enable_multi_tenancy: false,
            default_tenant_name: "root".to_owned(),
            certificates: Vec::new(),
        }
    }
}

/// Checks credentials. Clones share the cache.
#[derive(Clone)]
pub struct Identity {
    store: Store,
    config: Arc<Config>,
    /// `None` when the admin key is empty: it matches nothing.
    admin_key: Option<Digest>,
    default_tenant: Tenant,
    /// `None` for keys that nobody has.
    keys: Cache<(Digest, i64), Option<Known>>,
    tenants: Cache<(String, i64), Tenant>,
    satellites: Satellites,
}

type Digest = [u8; 32];

/// What is known of a key that somebody has.
#[derive(Clone)]
struct Known {
    caller: Caller,
    expires_at: Option<OffsetDateTime>,
    revoked: bool,
}

/// What a call says about itself.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The bearer token.
    pub token: Option<&'a str>,
    /// Whose certificate the connection has, if it may speak for the call.
    pub peer: Option<&'a Peer>,
    /// `x-tenant-name`.
    pub tenant: Option<&'a str>,
    /// Whether the call is about one tenant's resources.
    pub tenant_scoped: bool,
}

impl Identity {
    /// Makes the default tenant and its configured marketplace if they are missing.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn new(
        store: Store,
        config: Config,
        admin_key: SecretString,
        satellites: Satellites,
    ) -> Result<Self, Error> {
        let admin_key = admin_key.expose_secret();
        let default_tenant = store.ensure_tenant(&config.default_tenant_name).await?;
        satellites.seed(default_tenant.id).await?;
        Ok(Self {
            store,
            config: Arc::new(config),
            admin_key: (!admin_key.is_empty()).then(|| sha256(admin_key)),
            default_tenant,
            keys: Cache::new(CAPACITY),
            tenants: Cache::new(CAPACITY),
            satellites,
        })
    }

    /// Learns from the marketplace what the owner's e-mail address is, if it takes that; tries until it
    /// has it.
    pub async fn learn_owner(&self) {
        if self.config.owner_email == UNNAMED_OWNER {
            self.satellites.learn_owner_email(self.default_tenant.id).await;
        }
    }

    /// Who the caller is. Costs nothing on the database when the key is known and nothing has changed.
    ///
    /// # Errors
    /// `Unauthenticated` for anything but a good credential, always alike; `NotFound` and
    /// `TenantInactive` for the tenant that the admin key names; `Invalid` when it or a marketplace's
    /// token must name one; `Hub` when a marketplace cannot say whose its token is; `StoreUnavailable`.
    pub async fn identify(&self, credentials: Credentials<'_>) -> Result<Caller, Error> {
        let Some(token) = credentials.token else { return self.by_certificate(credentials).await };
        let digest = sha256(token);
        if self.is_admin_key(&digest) {
            return self.owner(credentials).await;
        }
        if token::could_be_token(token) {
            return self.by_token(token, digest, credentials).await;
        }
        if !could_be_api_key(token) {
            return Err(Error::Unauthenticated);
        }
        let known = self.known(digest).await?.ok_or(Error::Unauthenticated)?;
        let expired = known.expires_at.is_some_and(|expires_at| expires_at <= OffsetDateTime::now_utc());
        // A key of another tenant is no key here, and says no more than a wrong one.
        if known.revoked || expired || self.is_elsewhere(known.caller.tenant(), credentials) {
            return Err(Error::Unauthenticated);
        }
        active(known.caller.tenant())?;
        Ok(known.caller)
    }

    async fn owner(&self, credentials: Credentials<'_>) -> Result<Caller, Error> {
        let tenant = self.chosen_tenant(credentials).await?;
        active(&tenant)?;
        let email = match self.config.owner_email == UNNAMED_OWNER {
            true => self.satellites.owner_email(tenant.id).await?,
            false => None,
        };
        let email = email.as_deref().unwrap_or(&self.config.owner_email);
        let scopes = vec![Scope::Admin, Scope::Manage, Scope::Query];
        Ok(Caller::new(tenant, email, scopes))
    }

    /// The caller whose token one of the tenant's marketplaces has issued. What the tenant is like is
    /// said only to those who have one.
    async fn by_token(
        &self,
        token: &str,
        digest: Digest,
        credentials: Credentials<'_>,
    ) -> Result<Caller, Error> {
        let tenant = match self.chosen_tenant(credentials).await {
            Err(Error::NotFound(..)) => return Err(Error::Unauthenticated),
            chosen => chosen?,
        };
        let caller = self.satellites.identify(token, digest, &tenant).await?;
        active(&tenant)?;
        Ok(caller)
    }

    /// The caller whom the configuration names for the connection's certificate.
    async fn by_certificate(&self, credentials: Credentials<'_>) -> Result<Caller, Error> {
        let peer = credentials.peer.ok_or(Error::Unauthenticated)?;
        let known = self.config.certificates.iter().find(|known| known.fits(peer));
        let known = known.ok_or(Error::Unauthenticated)?;
        let name = if known.tenant.is_empty() { &self.config.default_tenant_name } else { &known.tenant };
        let tenant = match *name == self.default_tenant.name {
            true => self.default_tenant.clone(),
            false => self.tenant_named(name).await?,
        };
        if self.is_elsewhere(&tenant, credentials) {
            return Err(Error::Unauthenticated);
        }
        active(&tenant)?;
        Ok(Caller::new(tenant, &known.email, known.scopes()))
    }

    /// Whether a credential of `tenant` is of no use for the tenant that is asked for.
    fn is_elsewhere(&self, tenant: &Tenant, credentials: Credentials<'_>) -> bool {
        match self.config.enable_multi_tenancy {
            true => credentials.tenant.is_some_and(|name| name != tenant.name),
            false => tenant.id != self.default_tenant.id,
        }
    }

    /// Compares digests, in constant time.
    fn is_admin_key(&self, token: &Digest) -> bool {
        self.admin_key.as_ref().is_some_and(|key| verify_slices_are_equal(token, key).is_ok())
    }

    async fn chosen_tenant(&self, credentials: Credentials<'_>) -> Result<Tenant, Error> {
        if !self.config.enable_multi_tenancy {
            return Ok(self.default_tenant.clone());
        }
        let Some(name) = credentials.tenant else {
            if credentials.tenant_scoped {
                let message = "is required when multi-tenancy is enabled";
                return Err(Error::Invalid(vec![violation("x-tenant-name", Rule::Missing, message)]));
            }
            return Ok(self.default_tenant.clone());
        };
        self.tenant_named(name).await
    }

    async fn tenant_named(&self, name: &str) -> Result<Tenant, Error> {
        let Some(revision) = self.store.feed().catalog_revision() else {
            return self.store.tenant(name).await;
        };
        if let Some(tenant) = self.tenants.get(&(name.to_owned(), revision)).await {
            return Ok(tenant);
        }
        let tenant = self.store.tenant(name).await?;
        self.tenants.insert((name.to_owned(), revision), tenant.clone()).await;
        Ok(tenant)
    }

    /// Filed under the revision at which the look-up began, as plans are: a revoked key is never found
    /// in the cache.
    async fn known(&self, digest: Digest) -> Result<Option<Known>, Error> {
        let load = async || {
            let found = self.store.api_key_by_hash(&encoded(&digest)).await?;
            Ok::<_, Error>(found.map(|(key, tenant)| Known::new(key, tenant)))
        };
        let Some(revision) = self.store.feed().catalog_revision() else { return load().await };
        if let Some(known) = self.keys.get(&(digest, revision)).await {
            return Ok(known);
        }
        let known = load().await?;
        self.keys.insert((digest, revision), known.clone()).await;
        Ok(known)
    }
}

impl Known {
    fn new(key: ApiKey, tenant: Tenant) -> Self {
        let caller = Caller::new(tenant, &key.email, key.scopes);
        Self { caller, expires_at: key.expires_at, revoked: key.revoked_at.is_some() }
    }
}

/// What cannot be one of ours is not looked up.
fn could_be_api_key(token: &str) -> bool {
    let random = token.strip_prefix(API_KEY_PREFIX);
    random.is_some_and(|text| {
        text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

/// The hash under which a key is stored.
pub fn hash(key: &str) -> String {
    encoded(&sha256(key))
}

fn encoded(digest: &Digest) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    URL_SAFE_NO_PAD.encode(digest)
}

fn sha256(text: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

/// A new API key: 256 random bits.
///
/// # Errors
/// `Internal` when the machine gives no random numbers.
pub fn new_api_key() -> Result<SecretString, Error> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::internal("no random numbers"))?;
    Ok(format!("{API_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into())
}

fn active(tenant: &Tenant) -> Result<(), Error> {
    if tenant.active { Ok(()) } else { Err(Error::TenantInactive(tenant.name.clone())) }
}
