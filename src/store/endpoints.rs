//! Endpoints. Every statement carries the tenant: the unique index begins with it.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, sea_query::LockType,
};
use uuid::Uuid;

use super::{
    Store,
    entities::{Texts, endpoint},
    fault, listings, now,
};
use crate::{
    domain::{
        AttachmentId, Endpoint, EndpointChange, EndpointId, EndpointRef, NewEndpoint, ResponseType, TenantId,
        rules::can_be_stored,
    },
    error::{Error, Part, Resource},
};

impl Store {
    /// Stores an endpoint.
    ///
    /// # Errors
    /// `AlreadyExists` when the slug is taken, `StoreUnavailable`.
    pub async fn create_endpoint(&self, tenant: TenantId, new: NewEndpoint) -> Result<Endpoint, Error> {
        self.change(move |txn| {
            Box::pin(async move {
                let slug = new.slug.clone();
                let inserted = endpoint::Entity::insert(row(tenant, new)).exec_with_returning(txn).await;
                inserted.map(Endpoint::from).map_err(|e| fault::taken(e, Resource::Endpoint, &slug))
            })
        })
        .await
    }

    /// The endpoint with that slug, matched byte for byte.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn endpoint(&self, tenant: TenantId, slug: &str) -> Result<Endpoint, Error> {
        let found = find(self.reader(), tenant, slug).await?.into();
        self.shown(found).await
    }

    /// Up to `limit` endpoints after the one with the id `after`, oldest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn endpoints(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Endpoint>, Error> {
        let mut find = of(tenant).order_by_asc(endpoint::Column::Id).limit(limit);
        if let Some(after) = after {
            find = find.filter(endpoint::Column::Id.gt(after));
        }
        let found = find.all(self.reader()).await?.into_iter().map(Endpoint::from).collect();
        self.with_listings(found).await
    }

    /// Slugs of the endpoints that use a dataset or model.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn endpoint_slugs(
        &self,
        part: Part,
        tenant: TenantId,
        id: AttachmentId,
    ) -> Result<Vec<String>, Error> {
        let column = match part {
            Part::Dataset => endpoint::Column::DatasetId,
            Part::Model => endpoint::Column::ModelId,
        };
        let find = of(tenant).filter(column.eq(id.0)).order_by_asc(endpoint::Column::Slug);
        Ok(find.all(self.reader()).await?.into_iter().map(|row| row.slug).collect())
    }

    /// Changes an endpoint. Marketplaces that list it are told.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn update_endpoint(
        &self,
        tenant: TenantId,
        slug: &str,
        change: EndpointChange,
    ) -> Result<Endpoint, Error> {
        let slug = slug.to_owned();
        let updated = self.change(move |txn| {
            Box::pin(async move {
                let id = find(txn, tenant, &slug).await?.id;
                listings::endpoint_changed(txn, id).await?;
                Ok(endpoint::Entity::update(changed(id, change)).exec(txn).await?.into())
            })
        });
        self.shown(updated.await?).await
    }

    /// Deletes an endpoint and its policies. Marketplaces that list it are told.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn delete_endpoint(&self, tenant: TenantId, slug: &str) -> Result<(), Error> {
        let slug = slug.to_owned();
        self.change(move |txn| {
            Box::pin(async move {
                let id = find(txn, tenant, &slug).await?.id;
                listings::endpoint_deleted(txn, id).await?;
                forget_rates(txn, id).await?;
                endpoint::Entity::delete_by_id(id).exec(txn).await?;
                Ok(())
            })
        })
        .await
    }

    /// An endpoint, and how things stand with it on marketplaces.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn shown(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        let mut shown = self.with_listings(vec![endpoint]).await?;
        shown.pop().ok_or_else(|| Error::internal("an endpoint got lost"))
    }
}

pub(super) fn of(tenant: TenantId) -> Select<endpoint::Entity> {
    endpoint::Entity::find().filter(endpoint::Column::TenantId.eq(tenant.0))
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    slug: &str,
) -> Result<endpoint::Model, Error> {
    let found = match can_be_stored(slug, 64) {
        true => of(tenant).filter(endpoint::Column::Slug.eq(slug)).one(db).await?,
        false => None,
    };
    found.ok_or_else(|| Error::EndpointNotFound(slug.to_owned()))
}

/// Takes the endpoint's row lock until the transaction ends: who changes it and who wants it listed see what
/// the other has done. Says whether it is still there.
pub(super) async fn lock(txn: &DatabaseTransaction, endpoint: Uuid) -> Result<bool, Error> {
    let find = endpoint::Entity::find_by_id(endpoint).lock(LockType::NoKeyUpdate);
    Ok(find.one(txn).await?.is_some())
}

/// The endpoint that a caller names.
pub(super) async fn named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    endpoint: &EndpointRef,
) -> Result<endpoint::Model, Error> {
    match endpoint {
        EndpointRef::Slug(slug) => find(db, tenant, slug).await,
        EndpointRef::Id(id) => {
            let found = of(tenant).filter(endpoint::Column::Id.eq(id.0)).one(db).await?;
            found.ok_or_else(|| Error::EndpointNotFound(id.to_string()))
        }
    }
}

/// The counters of an endpoint's policies go with it; they have no foreign key of their own.
async fn forget_rates(txn: &DatabaseTransaction, endpoint: Uuid) -> Result<(), Error> {
    for table in ["rate_counters", "rate_slots"] {
        let sql = format!(
            "DELETE FROM {table} WHERE policy_id IN (SELECT id FROM policies WHERE endpoint_id = $1)"
        );
        let backend = txn.get_database_backend();
        txn.execute_raw(sea_orm::Statement::from_sql_and_values(backend, sql, [endpoint.into()])).await?;
    }
    Ok(())
}

fn row(tenant: TenantId, new: NewEndpoint) -> endpoint::ActiveModel {
    endpoint::ActiveModel {
        id: Set(EndpointId::new().0),
        tenant_id: Set(tenant.0),
        slug: Set(new.slug),
        name: Set(new.name),
        summary: Set(new.summary),
        description: Set(new.description),
        dataset_id: Set(new.dataset_id.map(|id| id.0)),
        model_id: Set(new.model_id.map(|id| id.0)),
        response_type: Set(new.response_type.name().to_owned()),
        published: Set(new.published),
        tags: Set(Texts(new.tags)),
        created_at: Set(now()),
        updated_at: Set(now()),
    }
}

fn changed(id: Uuid, change: EndpointChange) -> endpoint::ActiveModel {
    let mut row = endpoint::ActiveModel { id: Set(id), updated_at: Set(now()), ..Default::default() };
    if let Some(name) = change.name {
        row.name = Set(name);
    }
    if let Some(summary) = change.summary {
        row.summary = Set(summary);
    }
    if let Some(description) = change.description {
        row.description = Set(description);
    }
    if let Some(tags) = change.tags {
        row.tags = Set(Texts(tags));
    }
    if let Some(published) = change.published {
        row.published = Set(published);
    }
    row
}

impl From<endpoint::Model> for Endpoint {
    fn from(row: endpoint::Model) -> Self {
        Self {
            id: EndpointId(row.id),
            slug: row.slug,
            name: row.name,
            summary: row.summary,
            description: row.description,
            dataset_id: row.dataset_id.map(AttachmentId),
            model_id: row.model_id.map(AttachmentId),
            response_type: ResponseType::parse(&row.response_type).unwrap_or(ResponseType::Both),
            published: row.published,
            tags: row.tags.0,
            listings: Vec::new(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
