//! API keys. The database holds a hash: 256 random bits need no slow one.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use super::{
    Store,
    entities::{Texts, api_key, tenant},
    now,
};
use crate::{
    domain::{ApiKey, ApiKeyId, Scope, Tenant, TenantId},
    error::{Error, Resource},
};

impl Store {
    /// Stores a key by the hash of its secret.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn create_api_key(
        &self,
        tenant: TenantId,
        key: ApiKey,
        secret_hash: String,
    ) -> Result<ApiKey, Error> {
        self.change(move |txn| {
            Box::pin(async move {
                let scopes = key.scopes.iter().map(|scope| scope.name().to_owned()).collect();
                let row = api_key::ActiveModel {
                    id: Set(key.id.0),
                    tenant_id: Set(tenant.0),
                    name: Set(key.name),
                    email: Set(key.email),
                    secret_hash: Set(secret_hash),
                    scopes: Set(Texts(scopes)),
                    expires_at: Set(key.expires_at),
                    revoked_at: Set(None),
                    created_at: Set(now()),
                    updated_at: Set(now()),
                };
                Ok(api_key::Entity::insert(row).exec_with_returning(txn).await?.into())
            })
        })
        .await
    }

    /// The key with that hash and its tenant, if there is one; revoked and expired ones too.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn api_key_by_hash(&self, secret_hash: &str) -> Result<Option<(ApiKey, Tenant)>, Error> {
        let find = api_key::Entity::find().filter(api_key::Column::SecretHash.eq(secret_hash));
        let Some(key) = find.one(self.reader()).await? else { return Ok(None) };
        let tenant = tenant::Entity::find_by_id(key.tenant_id).one(self.reader()).await?;
        Ok(tenant.map(|tenant| (key.into(), tenant.into())))
    }

    /// Up to `limit` keys after the one with the id `after`, oldest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn api_keys(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<ApiKey>, Error> {
        let mut find = api_key::Entity::find()
            .filter(api_key::Column::TenantId.eq(tenant.0))
            .order_by_asc(api_key::Column::Id)
            .limit(limit);
        if let Some(after) = after {
            find = find.filter(api_key::Column::Id.gt(after));
        }
        Ok(find.all(self.reader()).await?.into_iter().map(ApiKey::from).collect())
    }

    /// Ends a key now; one that has ended already stays as it was.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn revoke_api_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey, Error> {
        self.change(move |txn| {
            Box::pin(async move {
                let find = api_key::Entity::find_by_id(id.0).filter(api_key::Column::TenantId.eq(tenant.0));
                let Some(row) = find.one(txn).await? else {
                    return Err(Error::NotFound(Resource::ApiKey, id.to_string()));
                };
                if row.revoked_at.is_some() {
                    return Ok(row.into());
                }
                let mut row = row.into_active_model();
                row.revoked_at = Set(Some(now()));
                row.updated_at = Set(now());
                Ok(row.update(txn).await?.into())
            })
        })
        .await
    }
}

impl From<api_key::Model> for ApiKey {
    fn from(row: api_key::Model) -> Self {
        Self {
            id: ApiKeyId(row.id),
            name: row.name,
            email: row.email,
            scopes: row.scopes.0.iter().filter_map(|name| Scope::parse(name)).collect(),
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            created_at: row.created_at,
        }
    }
}
