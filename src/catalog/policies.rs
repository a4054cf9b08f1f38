//! Policies of endpoints.

use time::OffsetDateTime;

use super::{Catalog, Page, PageRequest, check_type, page::Listing};
use crate::{
    domain::{
        Configuration, EndpointId, Policy, PolicyId, Tenant, TypeInfo,
        rules::{self, Check},
    },
    error::{Error, Resource, Violation},
};

/// A policy as it came: nothing is checked.
#[derive(Clone, Default)]
pub struct PolicyDraft {
    pub name: String,
    pub policy_type: String,
    pub configuration: Configuration,
    pub endpoint_slug: String,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

impl Catalog {
    /// Attaches a policy to an endpoint.
    ///
    /// # Errors
    /// `Invalid`, `EndpointNotFound`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_policy(&self, tenant: &Tenant, draft: PolicyDraft) -> Result<Policy, Error> {
        let mut check = Check::default();
        check.take(rules::text("name", &draft.name, 100));
        let named = ("policy_type", draft.policy_type.as_str());
        let spec = check_type(&mut check, self.policies.specs(), named, &draft.configuration);
        check.take(rules::text("endpoint_slug", &draft.endpoint_slug, 64));
        let mut all = Check::of(draft.problems);
        all.absorb("policy", check.finish().err().unwrap_or_default());
        let spec = all.with(spec)?;
        let new = Policy {
            id: PolicyId::new(),
            // The store finds it, inside the transaction.
            endpoint_id: EndpointId(uuid::Uuid::nil()),
            endpoint_slug: draft.endpoint_slug,
            name: draft.name,
            policy_type: spec.name().to_owned(),
            configuration: draft.configuration,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
        };
        Ok(self.redacted_policy(self.store.create_policy(tenant.id, new, spec.secrets()).await?))
    }

    /// A policy.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn policy(&self, tenant: &Tenant, id: &str) -> Result<Policy, Error> {
        Ok(self.redacted_policy(self.store.policy(tenant.id, policy_id(id)?).await?))
    }

    /// A page of the policies of one endpoint, or of all when `endpoint_slug` is empty.
    ///
    /// # Errors
    /// `Invalid`, `EndpointNotFound`, `StoreUnavailable`.
    pub async fn policies(
        &self,
        tenant: &Tenant,
        endpoint_slug: &str,
        page: &PageRequest,
    ) -> Result<Page<Policy>, Error> {
        let listing = Listing::new(&self.store, tenant.id, &format!("policies/{endpoint_slug}"), page)?;
        let slug = Some(endpoint_slug).filter(|slug| !slug.is_empty());
        let found = self.store.policies(tenant.id, slug, listing.after_id(), listing.limit()).await?;
        let found = found.into_iter().map(|policy| self.redacted_policy(policy)).collect();
        listing.page(found, |policy: &Policy| policy.id.to_string())
    }

    /// Changes name and configuration; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn update_policy(
        &self,
        tenant: &Tenant,
        id: &str,
        (name, configuration): (Option<String>, Option<Configuration>),
    ) -> Result<Policy, Error> {
        let id = policy_id(id)?;
        let mut check = Check::default();
        if let Some(name) = &name {
            check.take(rules::text("policy.name", name, 100));
        }
        let mut sealed = None;
        if let Some(configuration) = configuration {
            let stored = self.store.policy(tenant.id, id).await?;
            let mut of_type = Check::default();
            let named = ("policy_type", stored.policy_type.as_str());
            let spec = check_type(&mut of_type, self.policies.specs(), named, &configuration);
            check.absorb("policy", of_type.finish().err().unwrap_or_default());
            sealed = spec.map(|spec| (configuration, spec.secrets()));
        }
        check.finish()?;
        Ok(self.redacted_policy(self.store.update_policy(tenant.id, id, name, sealed).await?))
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn delete_policy(&self, tenant: &Tenant, id: &str) -> Result<(), Error> {
        self.store.delete_policy(tenant.id, policy_id(id)?).await
    }

    /// The types, by name.
    pub fn policy_types(&self) -> Vec<TypeInfo> {
        self.policies.specs().map(|spec| spec.info()).collect()
    }

    pub(super) fn redacted_policy(&self, mut policy: Policy) -> Policy {
        let configuration = std::mem::take(&mut policy.configuration);
        if let Some(spec) = self.policies.specs().find(|spec| spec.name() == policy.policy_type) {
            policy.configuration = spec.redact(configuration);
        }
        policy
    }
}

/// What is no UUID names no policy.
fn policy_id(text: &str) -> Result<PolicyId, Error> {
    rules::named("id", text).map_err(|violation| vec![violation])?;
    text.parse().map(PolicyId).map_err(|_| Error::NotFound(Resource::Policy, text.to_owned()))
}
