//! Who is calling: from credentials to a [`Caller`] in a tenant.

mod admin_key;

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

use crate::{
    domain::{ApiKey, Caller, Scope, Tenant, rules::violation},
    error::{Error, Rule},
    store::Store,
};

/// What every API key begins with.
pub const API_KEY_PREFIX: &str = "syft_sk_";
/// Keys remembered at most, unknown ones included.
const CAPACITY: u64 = 10_000;

/// Who the owner is, and whether there are tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The e-mail address that policies see when the admin key is used.
    pub owner_email: String,
    /// Whether `x-tenant-name` chooses a tenant.
    pub enable_multi_tenancy: bool,
    /// The tenant of a space that has one, and of calls that name none.
    pub default_tenant_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            owner_email: "owner@localhost".to_owned(),
            enable_multi_tenancy: false,
            default_tenant_name: "root".to_owned(),
        }
    }
}

/// Checks credentials. Clones share the cache.
#[derive(Clone)]
pub struct Identity {
    store: Store,
    config: Arc<Config>,
    admin_key: Arc<SecretString>,
    default_tenant: Tenant,
    keys: Cache<(String, i64), Arc<Known>>,
    tenants: Cache<(String, i64), Tenant>,
}

/// What is known of a key: `None` when nobody has it.
type Known = Option<(ApiKey, Tenant)>;

/// What a call says about itself.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The bearer token.
    pub token: Option<&'a str>,
    /// `x-tenant-name`.
    pub tenant: Option<&'a str>,
    /// Whether the call is about one tenant's resources.
    pub tenant_scoped: bool,
}

impl Identity {
    /// Makes the default tenant if it is missing.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn new(store: Store, config: Config, admin_key: SecretString) -> Result<Self, Error> {
        let default_tenant = store.ensure_tenant(&config.default_tenant_name).await?;
        Ok(Self {
            store,
            config: Arc::new(config),
            admin_key: Arc::new(admin_key),
            default_tenant,
            keys: Cache::new(CAPACITY),
            tenants: Cache::new(CAPACITY),
        })
    }

    /// Who the caller is. Costs nothing on the database when the key is known and nothing has changed.
    ///
    /// # Errors
    /// `Unauthenticated` for anything but a good credential, always alike; `NotFound` and
    /// `TenantInactive` for the tenant that the admin key names; `StoreUnavailable`.
    pub async fn identify(&self, credentials: Credentials<'_>) -> Result<Caller, Error> {
        let token = credentials.token.ok_or(Error::Unauthenticated)?;
        if self.is_admin_key(token) {
            let tenant = self.chosen_tenant(credentials).await?;
            let scopes = vec![Scope::Admin, Scope::Manage, Scope::Query];
            return Ok(Caller::new(tenant, &self.config.owner_email, scopes));
        }
        if !could_be_api_key(token) {
            return Err(Error::Unauthenticated);
        }
        let known = self.known(hash(token)).await?;
        let Some((key, tenant)) = known.as_ref() else { return Err(Error::Unauthenticated) };
        let now = OffsetDateTime::now_utc();
        let ended = key.revoked_at.is_some() || key.expires_at.is_some_and(|expires_at| expires_at <= now);
        let elsewhere = match self.config.enable_multi_tenancy {
            true => credentials.tenant.is_some_and(|name| name != tenant.name),
            false => tenant.id != self.default_tenant.id,
        };
        // A key of another tenant is no key here, and says no more than a wrong one.
        if ended || elsewhere {
            return Err(Error::Unauthenticated);
        }
        let tenant = active(tenant.clone())?;
        Ok(Caller::new(tenant, &key.email, key.scopes.clone()))
    }

    /// Compares digests, in constant time; an empty key matches nothing.
    fn is_admin_key(&self, token: &str) -> bool {
        let key = self.admin_key.expose_secret();
        let [token, key_digest] = [token, key].map(|text| digest(&SHA256, text.as_bytes()));
        !key.is_empty() && verify_slices_are_equal(token.as_ref(), key_digest.as_ref()).is_ok()
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
        let Some(revision) = self.store.feed().catalog_revision() else {
            return active(self.store.tenant(name).await?);
        };
        if let Some(tenant) = self.tenants.get(&(name.to_owned(), revision)).await {
            return active(tenant);
        }
        let tenant = self.store.tenant(name).await?;
        self.tenants.insert((name.to_owned(), revision), tenant.clone()).await;
        active(tenant)
    }

    /// Filed under the revision at which the look-up began, as plans are: a revoked key is never found
    /// in the cache.
    async fn known(&self, hash: String) -> Result<Arc<Known>, Error> {
        let Some(revision) = self.store.feed().catalog_revision() else {
            return Ok(Arc::new(self.store.api_key_by_hash(&hash).await?));
        };
        if let Some(known) = self.keys.get(&(hash.clone(), revision)).await {
            return Ok(known);
        }
        let known = Arc::new(self.store.api_key_by_hash(&hash).await?);
        self.keys.insert((hash, revision), Arc::clone(&known)).await;
        Ok(known)
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
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes()))
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

fn active(tenant: Tenant) -> Result<Tenant, Error> {
    if tenant.active { Ok(tenant) } else { Err(Error::TenantInactive(tenant.name)) }
}
