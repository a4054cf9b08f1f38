//! Policies of endpoints.

use super::{
    Catalog, Page, PageRequest, check_type,
    page::{self, Listing},
};
use crate::{
    domain::{
        Configuration, ConfigurationChange, EndpointId, EndpointRef, NewPolicy, Policy, PolicyChange,
        PolicyId, Tenant, TypeInfo,
        rules::{self, Check},
    },
    error::{Error, Resource, Rule, Violation},
    policy::BESIDE,
};

/// A policy as it came: nothing is checked.
#[derive(Clone, Default)]
pub struct PolicyDraft {
    pub name: String,
    pub policy_type: String,
    pub configuration: Configuration,
    /// This or `endpoint_id`.
    pub endpoint_slug: String,
    pub endpoint_id: String,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

impl Catalog {
    /// Attaches a policy to an endpoint.
    ///
    /// # Errors
    /// `Invalid`, `EndpointNotFound`, `Hub`, `HubRefused`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_policy(&self, tenant: &Tenant, mut draft: PolicyDraft) -> Result<Policy, Error> {
        draft.configuration = self.with_account(tenant, &draft.policy_type, draft.configuration).await?;
        let mut check = Check::default();
        check.take(rules::text("name", &draft.name, 100));
        let named = ("policy_type", draft.policy_type.as_str());
        let spec = check_type(&mut check, self.policies.specs(), named, &draft.configuration);
        if draft.endpoint_id.is_empty() {
            check.take(rules::text("endpoint_slug", &draft.endpoint_slug, 64));
        }
        let endpoint = named_endpoint(&mut check, &draft.endpoint_slug, &draft.endpoint_id);
        let mut all = Check::of(draft.problems);
        all.absorb("policy", check.finish().err().unwrap_or_default());
        let (spec, endpoint) = all.with(spec.zip(endpoint))?;
        let new = NewPolicy {
            endpoint,
            name: draft.name,
            policy_type: spec.name().to_owned(),
            configuration: draft.configuration,
        };
        Ok(self.redacted_policy(self.store.create_policy(tenant.id, new, (spec.secrets(), BESIDE)).await?))
    }

    /// A policy.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn policy(&self, tenant: &Tenant, id: &str) -> Result<Policy, Error> {
        Ok(self.redacted_policy(self.store.policy(tenant.id, policy_id(id)?).await?))
    }

    /// A page of the policies of one endpoint, named by slug or by id, or of all when both are empty.
    ///
    /// # Errors
    /// `Invalid`, `EndpointNotFound`, `StoreUnavailable`.
    pub async fn policies(
        &self,
        tenant: &Tenant,
        (slug, id): (&str, &str),
        page: &PageRequest,
    ) -> Result<Page<Policy>, Error> {
        let mut check = Check::default();
        let endpoint = named_endpoint(&mut check, slug, id);
        check.finish()?;
        let list = match &endpoint {
            None => "policies/".to_owned(),
            Some(EndpointRef::Slug(slug)) => format!("policies/{slug}"),
            Some(EndpointRef::Id(id)) => format!("policies/id/{id}"),
        };
        let listing = Listing::new(&self.store, tenant.id, &list, page)?;
        let named = endpoint.as_ref();
        let read = listing.read(|after, limit| async move {
            let found = self.store.policies(tenant.id, named, page::id(after), limit).await?;
            Ok(found.into_iter().map(|policy| self.redacted_policy(policy)).collect())
        });
        read.await
    }

    /// Changes a policy.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Hub`, `HubRefused`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn update_policy(
        &self,
        tenant: &Tenant,
        id: &str,
        mut change: PolicyChange,
    ) -> Result<Policy, Error> {
        let id = policy_id(id)?;
        if let Some(ConfigurationChange::Replace(new)) = change.configuration {
            let policy_type = self.store.policy(tenant.id, id).await?.policy_type;
            let new = self.with_account(tenant, &policy_type, new).await?;
            change.configuration = Some(ConfigurationChange::Replace(new));
        }
        let mut check = Check::default();
        if let Some(name) = &change.name {
            check.take(rules::text("policy.name", name, 100));
        }
        let mut problems = Vec::new();
        match change.configuration {
            None => check.finish()?,
            // Told together with what is wrong with the configuration.
            Some(_) => problems = check.finish().err().unwrap_or_default(),
        }
        let policies = self.policies.clone();
        let check = move |policy_type: &str, configuration: &Configuration| {
            let (mut check, mut of_type) = (Check::of(problems.clone()), Check::default());
            let spec =
                check_type(&mut of_type, policies.specs(), ("policy_type", policy_type), configuration);
            check.absorb("policy", of_type.finish().err().unwrap_or_default());
            Ok(check.with(spec)?.secrets())
        };
        Ok(self.redacted_policy(self.store.update_policy(tenant.id, id, change, (check, BESIDE)).await?))
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

/// The endpoint that a caller names, in one way or the other; `None` when in neither, or in both.
pub(super) fn named_endpoint(check: &mut Check, slug: &str, id: &str) -> Option<EndpointRef> {
    match (slug, id) {
        ("", "") => None,
        (slug, "") => Some(EndpointRef::Slug(slug.to_owned())),
        ("", id) => {
            let id = id.parse().map(EndpointId);
            if id.is_err() {
                check.fail("endpoint_id", Rule::Pattern, "must be a UUID");
            }
            id.ok().map(EndpointRef::Id)
        }
        _ => {
            check.fail("endpoint_id", Rule::OneOf, "cannot be given together with endpoint_slug");
            None
        }
    }
}

/// What is no UUID names no policy.
fn policy_id(text: &str) -> Result<PolicyId, Error> {
    rules::named("id", text).map_err(|violation| vec![violation])?;
    text.parse().map(PolicyId).map_err(|_| Error::NotFound(Resource::Policy, text.to_owned()))
}
