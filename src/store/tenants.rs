//! Tenants.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{Store, entities::tenant, fault, now};
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
