//! Tenants.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, sea_query::LockType,
};
use uuid::Uuid;

use super::{Store, entities::tenant, fault, listings, now};
use crate::{
    domain::{Tenant, TenantId, rules::can_be_stored},
    error::{Error, Resource},
};

impl Store {
    /// Creates a tenant.
    ///
    /// # Errors
    /// `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_tenant(&self, name: String, display_name: String) -> Result<Tenant, Error> {
        self.change(move |txn| {
            Box::pin(async move {
                let row = tenant::ActiveModel {
                    id: Set(TenantId::new().0),
                    name: Set(name.clone()),
                    display_name: Set(display_name),
                    active: Set(true),
                    public_url: Set(None),
                    created_at: Set(now()),
                    updated_at: Set(now()),
                };
                let inserted = tenant::Entity::insert(row).exec_with_returning(txn).await;
                inserted.map(Tenant::from).map_err(|e| fault::taken(e, Resource::Tenant, &name))
            })
        })
        .await
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn tenant(&self, name: &str) -> Result<Tenant, Error> {
        let found = match can_be_stored(name, 64) {
            true => tenant::Entity::find().filter(tenant::Column::Name.eq(name)).one(self.reader()).await?,
            false => None,
        };
        found.map(Tenant::from).ok_or_else(|| Error::NotFound(Resource::Tenant, name.to_owned()))
    }

    /// The tenant with that id.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn tenant_by_id(&self, id: TenantId) -> Result<Tenant, Error> {
        let found = tenant::Entity::find_by_id(id.0).one(self.reader()).await?;
        found.map(Tenant::from).ok_or_else(|| Error::NotFound(Resource::Tenant, id.to_string()))
    }

    /// Up to `limit` tenants after the one with the id `after`, oldest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn tenants(&self, after: Option<Uuid>, limit: u64) -> Result<Vec<Tenant>, Error> {
        let mut find = tenant::Entity::find().order_by_asc(tenant::Column::Id).limit(limit);
        if let Some(after) = after {
            find = find.filter(tenant::Column::Id.gt(after));
        }
        Ok(find.all(self.reader()).await?.into_iter().map(Tenant::from).collect())
    }

    /// The tenant of that name, created if it is missing: any number of replicas start with it at once.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn ensure_tenant(&self, name: &str) -> Result<Tenant, Error> {
        match self.tenant(name).await {
            Err(Error::NotFound(..)) => {}
            found => return found,
        }
        match self.create_tenant(name.to_owned(), "Root Tenant".to_owned()).await {
            Err(Error::AlreadyExists(..)) => self.tenant(name).await,
            created => created,
        }
    }

    /// Where the owner says that marketplaces' users reach this space.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn public_url(&self, tenant: TenantId) -> Result<Option<String>, Error> {
        let found = tenant::Entity::find_by_id(tenant.0).one(self.reader()).await?;
        Ok(found.and_then(|tenant| tenant.public_url))
    }

    /// Says it anew. Every marketplace is to be told of every endpoint again: hubs know the URL of each.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn set_public_url(&self, tenant: TenantId, url: Option<String>) -> Result<(), Error> {
        self.tell(move |txn| {
            Box::pin(async move {
                let found = tenant::Entity::find_by_id(tenant.0).lock(LockType::NoKeyUpdate).one(txn).await?;
                let found = found.ok_or_else(|| Error::NotFound(Resource::Tenant, tenant.to_string()))?;
                if found.public_url == url {
                    return Ok(());
                }
                let mut row = found.into_active_model();
                row.public_url = Set(url);
                row.updated_at = Set(now());
                row.update(txn).await?;
                listings::again(txn, "tenant_id = $1", [tenant.0.into()]).await?;
                Ok(())
            })
        })
        .await
    }
}

impl From<tenant::Model> for Tenant {
    fn from(row: tenant::Model) -> Self {
        Self {
            id: TenantId(row.id),
            name: row.name,
            display_name: row.display_name,
            active: row.active,
            created_at: row.created_at,
        }
    }
}
