//! Policies of endpoints.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Store, attachments,
    endpoints::{self, of},
    entities::{endpoint, policy},
    fault, now,
    seal::Owner,
};
use crate::{
    domain::{Configuration, EndpointId, Policy, PolicyId, TenantId},
    error::{Error, Resource},
};

impl Store {
    /// Attaches a policy to the endpoint with that slug. `secrets` are the fields of its configuration
    /// to be sealed.
    ///
    /// # Errors
    /// `EndpointNotFound`; `AlreadyExists` when the endpoint has a policy of that name;
    /// `StoreUnavailable`.
    pub async fn create_policy(
        &self,
        tenant: TenantId,
        mut new: Policy,
        secrets: &'static [&'static str],
    ) -> Result<Policy, Error> {
        let mut sealed = new.configuration.clone();
        self.secrets().seal(Owner { tenant, row: new.id.0 }, secrets, &mut sealed)?;
        (new.created_at, new.updated_at) = (now(), now());
        self.change(move |txn| {
            Box::pin(async move {
                new.endpoint_id = EndpointId(endpoints::find(txn, tenant, &new.endpoint_slug).await?.id);
                let row = policy::ActiveModel {
                    id: Set(new.id.0),
                    tenant_id: Set(tenant.0),
                    endpoint_id: Set(new.endpoint_id.0),
                    name: Set(new.name.clone()),
                    policy_type: Set(new.policy_type.clone()),
                    configuration: Set(Value::Object(sealed)),
                    created_at: Set(new.created_at),
                    updated_at: Set(new.updated_at),
                };
                let inserted = policy::Entity::insert(row).exec_without_returning(txn).await;
                inserted.map_err(|e| fault::taken(e, Resource::Policy, &new.name))?;
                Ok(new)
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
        endpoint_slug: Option<&str>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Policy>, Error> {
        let mut find = policies_of(tenant).order_by_asc(policy::Column::Id).limit(limit);
        if let Some(slug) = endpoint_slug {
            let endpoint = endpoints::find(self.reader(), tenant, slug).await?;
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

    /// Changes name and configuration; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn update_policy(
        &self,
        tenant: TenantId,
        id: PolicyId,
        name: Option<String>,
        configuration: Option<(Configuration, &'static [&'static str])>,
    ) -> Result<Policy, Error> {
        let mut row = policy::ActiveModel { id: Set(id.0), updated_at: Set(now()), ..Default::default() };
        let taken_name = name.clone().unwrap_or_default();
        if let Some(name) = name {
            row.name = Set(name);
        }
        if let Some((mut configuration, secrets)) = configuration {
            self.secrets().seal(Owner { tenant, row: id.0 }, secrets, &mut configuration)?;
            row.configuration = Set(Value::Object(configuration));
        }
        self.change(move |txn| {
            Box::pin(async move {
                exists(txn, tenant, id).await?;
                let updated = policy::Entity::update(row).exec(txn).await;
                updated.map_err(|e| fault::taken(e, Resource::Policy, &taken_name))?;
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
                exists(txn, tenant, id).await?;
                policy::Entity::delete_by_id(id.0).exec(txn).await?;
                for statement in forget {
                    txn.execute_raw(statement).await?;
                }
                Ok(())
            })
        })
        .await
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

async fn exists(txn: &impl ConnectionTrait, tenant: TenantId, id: PolicyId) -> Result<(), Error> {
    let found = policies_of(tenant).filter(policy::Column::Id.eq(id.0)).one(txn).await?;
    found.map(|_| ()).ok_or_else(|| Error::NotFound(Resource::Policy, id.to_string()))
}
