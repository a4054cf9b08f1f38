//! API keys.

use time::OffsetDateTime;

use super::{
    Catalog, Page, PageRequest,
    page::{Listing, id},
};
use crate::{
    domain::{
        ApiKey, ApiKeyId, Scope, Tenant,
        rules::{self, Check},
    },
    error::{Error, Resource, Rule, Violation},
};

/// An API key as it was asked for: nothing is checked.
#[derive(Clone, Default)]
pub struct ApiKeyDraft {
    pub name: String,
    pub email: String,
    /// `None` for a scope that is not known.
    pub scopes: Vec<Option<Scope>>,
    pub expires_at: Option<OffsetDateTime>,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

impl Catalog {
    /// Stores a key whose secret hashes to `hash`.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn create_api_key(
        &self,
        tenant: &Tenant,
        draft: ApiKeyDraft,
        hash: String,
    ) -> Result<ApiKey, Error> {
        let mut check = Check::of(draft.problems);
        let name = check.take(rules::text("api_key.name", &draft.name, 100));
        let email = check.take(rules::email("api_key.email", &draft.email));
        let mut scopes: Vec<Scope> = draft.scopes.iter().copied().flatten().collect();
        scopes.sort_unstable();
        scopes.dedup();
        if draft.scopes.is_empty() || draft.scopes.contains(&None) {
            check.fail("api_key.scopes", Rule::OneOf, "must be SCOPE_QUERY, SCOPE_MANAGE or both");
        }
        if draft.expires_at.is_some_and(|at| at <= OffsetDateTime::now_utc()) {
            check.fail("api_key.expire_time", Rule::AtLeast(0.0), "must be in the future");
        }
        let key = name.zip(email).map(|(name, email)| ApiKey {
            id: ApiKeyId::new(),
            name,
            email,
            scopes,
            expires_at: draft.expires_at,
            revoked_at: None,
            created_at: OffsetDateTime::now_utc(),
        });
        let key = check.with(key)?;
        self.store.create_api_key(tenant.id, key, hash).await
    }

    /// A page of the tenant's keys.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn api_keys(&self, tenant: &Tenant, page: &PageRequest) -> Result<Page<ApiKey>, Error> {
        let listing = Listing::new(&self.store, tenant.id, "api_keys", page)?;
        listing.read(|after, limit| self.store.api_keys(tenant.id, id(after), limit)).await
    }

    /// Ends a key now.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn revoke_api_key(&self, tenant: &Tenant, id: &str) -> Result<ApiKey, Error> {
        rules::named("id", id).map_err(|violation| vec![violation])?;
        let parsed = id.parse().map(ApiKeyId);
        let id = parsed.map_err(|_| Error::NotFound(Resource::ApiKey, id.to_owned()))?;
        self.store.revoke_api_key(tenant.id, id).await
    }
}
