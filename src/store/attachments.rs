//! Datasets and models. Two tables of one shape, so one set of statements, given the table.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, ExprTrait, FromQueryResult,
    sea_query::{Expr, Order, Query, SelectStatement},
};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, entities::Texts, fault, feed, now, seal::Owner};
use crate::{
    domain::{
        Attachment, AttachmentChange, AttachmentId, Configuration, NewAttachment, TenantId,
        rules::can_be_stored,
    },
    error::{Error, Part, Resource},
};

#[derive(FromQueryResult)]
pub(super) struct Row {
    pub(super) id: Uuid,
    name: String,
    dtype: String,
    configuration: Value,
    summary: String,
    tags: Texts,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

const COLUMNS: [&str; 8] =
    ["id", "name", "dtype", "configuration", "summary", "tags", "created_at", "updated_at"];

impl Store {
    /// Stores a dataset or model. `secrets` are the fields of its configuration to be sealed.
    ///
    /// # Errors
    /// `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_attachment(
        &self,
        part: Part,
        tenant: TenantId,
        new: NewAttachment,
        secrets: &'static [&'static str],
    ) -> Result<Attachment, Error> {
        let (id, at) = (AttachmentId::new(), now());
        let mut sealed = new.configuration.clone();
        self.secrets().seal(Owner { tenant, row: id.0 }, secrets, &mut sealed)?;
        let name = new.name.clone();
        let stored = Attachment {
            id,
            name: new.name,
            dtype: new.dtype,
            configuration: new.configuration,
            summary: new.summary,
            tags: new.tags,
            created_at: at,
            updated_at: at,
        };
        let insert = Query::insert()
            .into_table(table(part))
            .columns(COLUMNS.into_iter().chain(["tenant_id"]))
            .values_panic([
                id.0.into(),
                stored.name.clone().into(),
                stored.dtype.clone().into(),
                Value::Object(sealed).into(),
                stored.summary.clone().into(),
                serde_json::to_value(&stored.tags).map_err(Error::internal)?.into(),
                at.into(),
                at.into(),
                tenant.0.into(),
            ])
            .to_owned();
        let inserted = self.change(move |txn| {
            Box::pin(async move {
                txn.execute(&insert).await.map_err(|e| fault::taken(e, resource(part), &name))?;
                Ok(())
            })
        });
        inserted.await?;
        Ok(stored)
    }

    /// The dataset or model of that name.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn attachment(&self, part: Part, tenant: TenantId, name: &str) -> Result<Attachment, Error> {
        if !can_be_stored(name, 64) {
            return Err(Error::NotFound(resource(part), name.chars().take(64).collect()));
        }
        let select = select(part, tenant).and_where(Expr::col("name").eq(name)).to_owned();
        let found = Row::find_by_statement(self.backend().build(&select)).one(self.reader()).await?;
        let found = found.ok_or_else(|| Error::NotFound(resource(part), name.to_owned()))?;
        self.open_attachment(tenant, found)
    }

    /// The dataset or model with that id.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn attachment_by_id(
        &self,
        part: Part,
        tenant: TenantId,
        id: AttachmentId,
    ) -> Result<Attachment, Error> {
        let select = select(part, tenant).and_where(Expr::col("id").eq(id.0)).to_owned();
        let found = Row::find_by_statement(self.backend().build(&select)).one(self.reader()).await?;
        let found = found.ok_or_else(|| Error::NotFound(resource(part), id.to_string()))?;
        self.open_attachment(tenant, found)
    }

    /// Up to `limit` datasets or models after the one with the id `after`, oldest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn attachments(
        &self,
        part: Part,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Attachment>, Error> {
        let mut select = select(part, tenant);
        select.order_by("id", Order::Asc).limit(limit);
        if let Some(after) = after {
            select.and_where(Expr::col("id").gt(after));
        }
        let rows = Row::find_by_statement(self.backend().build(&select)).all(self.reader()).await?;
        rows.into_iter().map(|row| self.open_attachment(tenant, row)).collect()
    }

    /// Changes a dataset or model.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` when the new name is taken; `StoreUnavailable`.
    pub async fn update_attachment(
        &self,
        part: Part,
        tenant: TenantId,
        name: &str,
        change: AttachmentChange,
    ) -> Result<Attachment, Error> {
        // By id: after it, the name may be another one.
        let id = self.attachment(part, tenant, name).await?.id;
        let taken = change.name.clone().unwrap_or_default();
        let mut update = Query::update();
        update.table(table(part)).value("updated_at", now());
        if let Some(name) = change.name {
            update.value("name", name);
        }
        if let Some(summary) = change.summary {
            update.value("summary", summary);
        }
        if let Some(tags) = change.tags {
            update.value("tags", serde_json::to_value(tags).map_err(Error::internal)?);
        }
        update.and_where(Expr::col("tenant_id").eq(tenant.0)).and_where(Expr::col("id").eq(id.0));
        self.change(move |txn| {
            Box::pin(async move {
                txn.execute(&update).await.map_err(|e| fault::taken(e, resource(part), &taken))?;
                Ok(())
            })
        })
        .await?;
        self.attachment_by_id(part, tenant, id).await
    }

    /// Deletes a dataset, with its documents, or a model.
    ///
    /// # Errors
    /// `NotFound`; `InUse` with the slugs of the endpoints that use it; `StoreUnavailable`.
    pub async fn delete_attachment(
        &self,
        part: Part,
        tenant: TenantId,
        name: &str,
    ) -> Result<AttachmentId, Error> {
        let attachment = self.attachment(part, tenant, name).await?;
        let (id, name) = (attachment.id, attachment.name);
        let used = self.endpoint_slugs(part, tenant, id).await?;
        let in_use = |by| Error::InUse { resource: resource(part), name: name.clone(), by };
        if !used.is_empty() {
            return Err(in_use(used));
        }
        let backend = self.backend();
        let deleted = self.change(move |txn| {
            Box::pin(async move {
                let deleted = delete(txn, part, tenant, id).await?;
                // Wakes those who keep an index of it.
                feed::announce(txn, backend, feed::DOCUMENTS).await?;
                Ok(deleted)
            })
        });
        if deleted.await? {
            return Ok(id);
        }
        // An endpoint came between: the foreign key saw it.
        Err(in_use(self.endpoint_slugs(part, tenant, id).await?))
    }

    pub(super) fn open_attachment(&self, tenant: TenantId, row: Row) -> Result<Attachment, Error> {
        let mut configuration = object(row.configuration)?;
        self.secrets().open(Owner { tenant, row: row.id }, &mut configuration)?;
        Ok(Attachment {
            id: AttachmentId(row.id),
            name: row.name,
            dtype: row.dtype,
            configuration,
            summary: row.summary,
            tags: row.tags.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// False when the foreign key of an endpoint refused. That fails a Postgres transaction as a whole, so
/// the announcement that follows is made in a savepoint's shelter.
async fn delete(
    txn: &DatabaseTransaction,
    part: Part,
    tenant: TenantId,
    id: AttachmentId,
) -> Result<bool, Error> {
    use sea_orm::TransactionTrait;

    let delete = Query::delete()
        .from_table(table(part))
        .and_where(Expr::col("id").eq(id.0))
        .and_where(Expr::col("tenant_id").eq(tenant.0))
        .to_owned();
    let attempt = txn.begin().await?;
    match attempt.execute(&delete).await {
        Ok(_) => attempt.commit().await?,
        Err(error) if fault::is_foreign_key(&error) => {
            attempt.rollback().await?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

fn select(part: Part, tenant: TenantId) -> SelectStatement {
    Query::select()
        .columns(COLUMNS)
        .from(table(part))
        .and_where(Expr::col("tenant_id").eq(tenant.0))
        .to_owned()
}

fn table(part: Part) -> &'static str {
    match part {
        Part::Dataset => "datasets",
        Part::Model => "models",
    }
}

pub(super) fn resource(part: Part) -> Resource {
    match part {
        Part::Dataset => Resource::Dataset,
        Part::Model => Resource::Model,
    }
}

/// A JSON column that holds an object.
pub(super) fn object(value: Value) -> Result<Configuration, Error> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::internal("a stored configuration is not an object")),
    }
}
