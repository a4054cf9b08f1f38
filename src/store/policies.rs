//! Policies of endpoints.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Select,
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Secrets, Store, attachments,
    endpoints::{self, of},
    entities::{endpoint, policy},
    fault, listings, now,
    seal::Owner,
};
use crate::{
    domain::{
        Configuration, ConfigurationChange, EndpointId, EndpointRef, NewPolicy, Policy, PolicyChange,
        PolicyId, TenantId,
    },
    error::{Error, Resource},
};

/// How a policy is compared with the others of its endpoint, in the transaction that stores it.
#[derive(Clone, Copy)]
pub struct Beside {
    /// The types that a policy of this type is compared with.
    pub types: fn(&str) -> &'static [&'static str],
    /// Says why it cannot stand beside them.
    pub check: fn(&Policy, &[Policy]) -> Result<(), Error>,
}

/// Compares with nothing.
impl Default for Beside {
    fn default() -> Self {
        Self { types: |_| &[], check: |_, _| Ok(()) }
    }
}

impl Store {
    /// Attaches a policy to an endpoint. `secrets` are the fields of its configuration to be sealed. The
    /// endpoint is locked before the policy is compared with its others: of two that come at once, the
    /// second sees the first.
    ///
    /// # Errors
    /// What `beside` says; `EndpointNotFound`; `AlreadyExists` when the endpoint has a policy of that name;
    /// `StoreUnavailable`.
    pub async fn create_policy(
        &self,
        tenant: TenantId,
        new: NewPolicy,
        (secrets, beside): (Secrets, Beside),
    ) -> Result<Policy, Error> {
        let store = self.clone();
        let (id, at) = (PolicyId::new(), now());
        let mut sealed = new.configuration.clone();
        self.secrets().seal(Owner { tenant, row: id.0 }, secrets, &mut sealed)?;
        self.change(move |txn| {
            Box::pin(async move {
                let endpoint = endpoints::named(txn, tenant, &new.endpoint).await?;
                let row = policy::ActiveModel {
                    id: Set(id.0),
                    tenant_id: Set(tenant.0),
                    endpoint_id: Set(endpoint.id),
                    name: Set(new.name.clone()),
                    policy_type: Set(new.policy_type.clone()),
                    configuration: Set(Value::Object(sealed)),
                    created_at: Set(at),
                    updated_at: Set(at),
                };
                listings::endpoint_changed(txn, endpoint.id).await?;
                let made = Policy {
                    id,
                    endpoint_id: EndpointId(endpoint.id),
                    endpoint_slug: endpoint.slug,
                    name: new.name,
                    policy_type: new.policy_type,
                    configuration: new.configuration,
                    created_at: at,
                    updated_at: at,
                };
                store.compare(txn, tenant, &made, beside).await?;
                let inserted = policy::Entity::insert(row).exec_without_returning(txn).await;
                inserted.map_err(|e| fault::taken(e, Resource::Policy, &made.name))?;
                Ok(made)
            })
        })
        .await
    }

    /// The policy with that id.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn policy(&self, tenant: TenantId, id: PolicyId) -> Result<Policy, Error> {
        let found = policies_of(tenant).filter(policy::Column::Id.eq(id.0)).one(self.reader()).await?;
        let found = found.ok_or_else(|| Error::NotFound(Resource::Policy, id.to_string()))?;
        let endpoint =
            of(tenant).filter(endpoint::Column::Id.eq(found.endpoint_id)).one(self.reader()).await?;
        let slug = endpoint.map(|row| row.slug).unwrap_or_default();
        self.open_policy(tenant, found, &slug)
    }

    /// Up to `limit` policies after the one with the id `after`, oldest first, of one endpoint or of
    /// all.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn policies(
        &self,
        tenant: TenantId,
        endpoint: Option<&EndpointRef>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Policy>, Error> {
        let mut find = policies_of(tenant).order_by_asc(policy::Column::Id).limit(limit);
        if let Some(endpoint) = endpoint {
            let endpoint = endpoints::named(self.reader(), tenant, endpoint).await?;
            find = find.filter(policy::Column::EndpointId.eq(endpoint.id));
        }
        if let Some(after) = after {
            find = find.filter(policy::Column::Id.gt(after));
        }
        let rows = find.all(self.reader()).await?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.endpoint_id).collect();
        let endpoints = of(tenant).filter(endpoint::Column::Id.is_in(ids)).all(self.reader()).await?;
        let slug = |id| endpoints.iter().find(|row| row.id == id).map_or("", |row| row.slug.as_str());
        rows.into_iter()
            .map(|row| {
                let slug = slug(row.endpoint_id);
                self.open_policy(tenant, row, slug)
            })
            .collect()
    }

    /// Changes a policy. `check` is given its type and the configuration that it is to have, and says
    /// which fields of it to seal. All of it happens in one transaction, which locks the policy: of two
    /// merges none is lost.
    ///
    /// # Errors
    /// `NotFound`; what `check` says, and `beside`; `AlreadyExists`; `StoreUnavailable`.
    pub async fn update_policy(
        &self,
        tenant: TenantId,
        id: PolicyId,
        change: PolicyChange,
        (check, beside): (
            impl Fn(&str, &Configuration) -> Result<Secrets, Error> + Clone + Send + 'static,
            Beside,
        ),
    ) -> Result<Policy, Error> {
        let store = self.clone();
        self.change(move |txn| {
            Box::pin(async move {
                let find = policies_of(tenant).filter(policy::Column::Id.eq(id.0));
                let gone = || Error::NotFound(Resource::Policy, id.to_string());
                let endpoint = find.clone().one(txn).await?.ok_or_else(gone)?.endpoint_id;
                // Locks the endpoint first, as whoever deletes it does.
                listings::endpoint_changed(txn, endpoint).await?;
                let stored = find.lock_exclusive().one(txn).await?.ok_or_else(gone)?;
                let mut row =
                    policy::ActiveModel { id: Set(id.0), updated_at: Set(now()), ..Default::default() };
                let taken = change.name.clone().unwrap_or_default();
                if let Some(name) = change.name {
                    row.name = Set(name);
                }
                if let Some(configuration) = change.configuration {
                    let configured = store.reconfigured(tenant, &stored, configuration, check)?;
                    row.configuration = Set(configured.clone());
                    let changed = policy::Model { configuration: configured, ..stored };
                    let changed = store.open_policy(tenant, changed, "")?;
                    store.compare(txn, tenant, &changed, beside).await?;
                }
                let updated = policy::Entity::update(row).exec(txn).await;
                updated.map_err(|e| fault::taken(e, Resource::Policy, &taken))?;
                Ok(())
            })
        })
        .await?;
        self.policy(tenant, id).await
    }

    /// Deletes a policy and its counters.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn delete_policy(&self, tenant: TenantId, id: PolicyId) -> Result<(), Error> {
        let forget = ["rate_counters", "rate_slots"]
            .map(|table| self.statement(&format!("DELETE FROM {table} WHERE policy_id = $1"), [id.0.into()]));
        self.change(move |txn| {
            Box::pin(async move {
                let found = policies_of(tenant).filter(policy::Column::Id.eq(id.0)).one(txn).await?;
                let found = found.ok_or_else(|| Error::NotFound(Resource::Policy, id.to_string()))?;
                listings::endpoint_changed(txn, found.endpoint_id).await?;
                policy::Entity::delete_by_id(id.0).exec(txn).await?;
                for statement in forget {
                    txn.execute_raw(statement).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Compares a policy with the others of its endpoint, which is locked.
    async fn compare(
        &self,
        txn: &DatabaseTransaction,
        tenant: TenantId,
        policy: &Policy,
        beside: Beside,
    ) -> Result<(), Error> {
        let types = (beside.types)(&policy.policy_type);
        if types.is_empty() {
            return Ok(());
        }
        let others = policies_of(tenant)
            .filter(policy::Column::EndpointId.eq(policy.endpoint_id.0))
            .filter(policy::Column::PolicyType.is_in(types.iter().copied()))
            .filter(policy::Column::Id.ne(policy.id.0))
            .order_by_asc(policy::Column::Id);
        let others = others.all(txn).await?.into_iter().map(|row| self.open_policy(tenant, row, ""));
        (beside.check)(policy, &others.collect::<Result<Vec<_>, _>>()?)
    }

    /// The column that a stored policy gets, its secrets sealed.
    fn reconfigured(
        &self,
        tenant: TenantId,
        stored: &policy::Model,
        change: ConfigurationChange,
        check: impl Fn(&str, &Configuration) -> Result<Secrets, Error>,
    ) -> Result<Value, Error> {
        let owner = Owner { tenant, row: stored.id };
        let mut configuration = attachments::object(stored.configuration.clone())?;
        self.secrets().open(owner, &mut configuration)?;
        let mut configuration = change.apply(configuration);
        let secrets = check(&stored.policy_type, &configuration)?;
        self.secrets().seal(owner, secrets, &mut configuration)?;
        Ok(Value::Object(configuration))
    }

    pub(super) fn open_policy(
        &self,
        tenant: TenantId,
        row: policy::Model,
        slug: &str,
    ) -> Result<Policy, Error> {
        let mut configuration = attachments::object(row.configuration)?;
        self.secrets().open(Owner { tenant, row: row.id }, &mut configuration)?;
        Ok(Policy {
            id: PolicyId(row.id),
            endpoint_id: EndpointId(row.endpoint_id),
            endpoint_slug: slug.to_owned(),
            name: row.name,
            policy_type: row.policy_type,
            configuration,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

fn policies_of(tenant: TenantId) -> Select<policy::Entity> {
    policy::Entity::find().filter(policy::Column::TenantId.eq(tenant.0))
}
