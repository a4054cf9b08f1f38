//! Documents of `local` datasets, each at the revision that wrote it.
//!
//! A dataset's writers queue on its row, so revisions are committed in their order: whoever has read
//! up to revision `r` has missed nothing below it.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement, UpdateMany,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use serde_json::{Map, Value};

use super::{
    Embedding, Store,
    attachments::object,
    entities::document::{self, Column},
    feed, ingestions, now,
};
use crate::{
    domain::{AttachmentId, Document, FileId, FileWriter, TenantId},
    error::{Error, Resource},
};

/// A document that is to be stored, with its vector where its dataset has one for each.
#[derive(Clone)]
pub struct NewDocument {
    pub document: Document,
    pub embedding: Option<Embedding>,
}

/// A document as an index sees it: what it is now, or that it is gone.
pub struct VersionedDocument {
    pub document: Document,
    pub embedding: Option<Embedding>,
    pub revision: i64,
    pub deleted: bool,
}

impl From<Document> for NewDocument {
    fn from(document: Document) -> Self {
        Self { document, embedding: None }
    }
}

impl Store {
    /// Stores a batch, in one transaction, and returns its revision. Documents with ids of stored ones
    /// replace them; of two with one id in the batch the later one stays. From now on they belong to the file
    /// of `writer`, or to none.
    ///
    /// # Errors
    /// `NotFound` when the dataset is gone, or somebody else writes the file; `StoreUnavailable`.
    pub async fn put_documents(
        &self,
        tenant: TenantId,
        dataset: AttachmentId,
        writer: Option<FileWriter>,
        batch: Vec<NewDocument>,
    ) -> Result<i64, Error> {
        let backend = self.backend();
        let written = self.write(move |txn| {
            Box::pin(async move {
                if let Some(writer) = writer {
                    ingestions::still_writes(txn, dataset, writer).await?;
                }
                let ids = batch.iter().map(|new| &new.document.id);
                disown(txn, dataset, ids, writer.map(|writer| writer.file)).await?;
                let revision = next_revision(txn, backend, tenant, dataset).await?;
                let rows = rows(tenant, dataset, (batch, writer), revision);
                let replace = OnConflict::columns([Column::DatasetId, Column::DocumentId])
                    .update_columns([
                        Column::Content,
                        Column::Metadata,
                        Column::Revision,
                        Column::Deleted,
                        Column::FileId,
                        Column::Written,
                        Column::UpdatedAt,
                        Column::Embedding,
                        Column::EmbeddedBy,
                    ])
                    .to_owned();
                document::Entity::insert_many(rows).on_conflict(replace).exec_without_returning(txn).await?;
                Ok((revision, feed::announce(txn, backend, feed::DOCUMENTS).await?))
            })
        });
        let (revision, announced) = written.await?;
        self.feed().advance_documents(announced);
        Ok(revision)
    }

    /// Deletes documents and returns how many there were.
    ///
    /// # Errors
    /// `NotFound` when the dataset is gone, `StoreUnavailable`.
    pub async fn delete_documents(
        &self,
        tenant: TenantId,
        dataset: AttachmentId,
        ids: Vec<String>,
    ) -> Result<u64, Error> {
        let backend = self.backend();
        let written = self.write(move |txn| {
            Box::pin(async move {
                disown(txn, dataset, ids.iter(), None).await?;
                let revision = next_revision(txn, backend, tenant, dataset).await?;
                let gone = gone(dataset, revision).filter(Column::DocumentId.is_in(ids)).exec(txn).await?;
                Ok((gone.rows_affected, feed::announce(txn, backend, feed::DOCUMENTS).await?))
            })
        });
        let (deleted, announced) = written.await?;
        self.feed().advance_documents(announced);
        Ok(deleted)
    }

    /// Up to `limit` documents after the one with the id `after`, by id.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn documents(
        &self,
        dataset: AttachmentId,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Document>, Error> {
        // Without their vectors: nobody here looks at them.
        let mut find = document::Entity::find()
            .select_only()
            .columns([Column::DocumentId, Column::Content, Column::Metadata])
            .filter(Column::DatasetId.eq(dataset.0))
            .filter(Column::Deleted.eq(false))
            .order_by_asc(Column::DocumentId)
            .limit(limit);
        if let Some(after) = after {
            find = find.filter(Column::DocumentId.gt(after));
        }
        let rows: Vec<(String, String, Value)> = find.into_tuple().all(self.reader()).await?;
        rows.into_iter().map(stored).collect()
    }

    /// The dataset's revision: that of its last write.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn document_revision(&self, dataset: AttachmentId) -> Result<i64, Error> {
        let sql = "SELECT document_revision FROM datasets WHERE id = $1";
        let row = self.reader().query_one_raw(self.statement(sql, [dataset.0.into()])).await?;
        let row = row.ok_or_else(|| Error::NotFound(Resource::Dataset, dataset.to_string()))?;
        Ok(row.try_get("", "document_revision")?)
    }

    /// Up to `limit` documents written after `(revision, id)`, in that order.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn documents_since(
        &self,
        dataset: AttachmentId,
        (revision, id): (i64, &str),
        limit: u64,
    ) -> Result<Vec<VersionedDocument>, Error> {
        let later = Condition::any()
            .add(Column::Revision.gt(revision))
            .add(Condition::all().add(Column::Revision.eq(revision)).add(Column::DocumentId.gt(id)));
        let find = document::Entity::find()
            .filter(Column::DatasetId.eq(dataset.0))
            .filter(Expr::col(Column::Revision).gte(revision))
            .filter(later)
            .order_by_asc(Column::Revision)
            .order_by_asc(Column::DocumentId)
            .limit(limit);
        find.all(self.reader()).await?.into_iter().map(versioned).collect()
    }
}

/// Deletes the documents of a file that were written before `revision`. Returns what [`feed::announce`] says,
/// or nothing when there were none.
pub(super) async fn delete_of_file(
    txn: &DatabaseTransaction,
    (tenant, dataset): (TenantId, AttachmentId),
    file: FileId,
    before: i64,
) -> Result<Option<i64>, Error> {
    let old = || Condition::all().add(Column::FileId.eq(file.0)).add(Column::Written.lt(before));
    let found = document::Entity::find().select_only().column(Column::DocumentId).filter(old()).limit(1);
    if found.into_tuple::<String>().one(txn).await?.is_none() {
        return Ok(None);
    }
    let backend = txn.get_database_backend();
    let revision = next_revision(txn, backend, tenant, dataset).await?;
    gone(dataset, revision).filter(old()).exec(txn).await?;
    Ok(Some(feed::announce(txn, backend, feed::DOCUMENTS).await?))
}

/// Notes that documents are no longer what their files say, unless it is this one that writes them: the others
/// are read again when they come again.
async fn disown(
    txn: &DatabaseTransaction,
    dataset: AttachmentId,
    ids: impl Iterator<Item = &String>,
    writing: Option<FileId>,
) -> Result<(), Error> {
    let of_files = document::Entity::find()
        .select_only()
        .column(Column::FileId)
        .distinct()
        .filter(Column::DatasetId.eq(dataset.0))
        .filter(Column::DocumentId.is_in(ids.map(String::as_str)))
        .filter(Column::FileId.is_not_null());
    let of_files = of_files.into_tuple::<uuid::Uuid>().all(txn).await?;
    for file in of_files.into_iter().map(FileId).filter(|file| Some(*file) != writing) {
        ingestions::forget_hash(txn, file).await?;
    }
    Ok(())
}

/// What documents become that are deleted: indexes must learn of it.
fn gone(dataset: AttachmentId, revision: i64) -> UpdateMany<document::Entity> {
    document::Entity::update_many()
        .col_expr(Column::Deleted, Expr::value(true))
        .col_expr(Column::Content, Expr::value(""))
        .col_expr(Column::Metadata, Expr::value(Value::Object(Map::new())))
        .col_expr(Column::Revision, Expr::value(revision))
        .col_expr(Column::Embedding, Expr::value(Option::<Vec<u8>>::None))
        .col_expr(Column::EmbeddedBy, Expr::value(Option::<String>::None))
        .col_expr(Column::FileId, Expr::value(None::<uuid::Uuid>))
        .col_expr(Column::UpdatedAt, Expr::value(now()))
        .filter(Column::DatasetId.eq(dataset.0))
        .filter(Column::Deleted.eq(false))
}

/// Takes the dataset's row lock until the transaction ends.
async fn next_revision(
    txn: &DatabaseTransaction,
    backend: DbBackend,
    tenant: TenantId,
    dataset: AttachmentId,
) -> Result<i64, Error> {
    let sql = "UPDATE datasets SET document_revision = document_revision + 1 \
               WHERE id = $1 AND tenant_id = $2 RETURNING document_revision";
    let values = [dataset.0.into(), tenant.0.into()];
    let row = txn.query_one_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    let row = row.ok_or_else(|| Error::NotFound(Resource::Dataset, dataset.to_string()))?;
    Ok(row.try_get("", "document_revision")?)
}

fn rows(
    tenant: TenantId,
    dataset: AttachmentId,
    (batch, writer): (Vec<NewDocument>, Option<FileWriter>),
    revision: i64,
) -> Vec<document::ActiveModel> {
    let mut seen = std::collections::HashSet::new();
    let mut rows: Vec<_> = batch
        .into_iter()
        .rev()
        .filter(|new| seen.insert(new.document.id.clone()))
        .map(|NewDocument { document, embedding }| document::ActiveModel {
            dataset_id: Set(dataset.0),
            document_id: Set(document.id),
            tenant_id: Set(tenant.0),
            content: Set(document.content),
            metadata: Set(Value::Object(document.metadata)),
            revision: Set(revision),
            deleted: Set(false),
            file_id: Set(writer.map(|writer| writer.file.0)),
            written: Set(Some(revision)),
            created_at: Set(now()),
            updated_at: Set(now()),
            embedding: Set(embedding.as_ref().map(Embedding::bytes)),
            embedded_by: Set(embedding.map(|embedding| embedding.made_by)),
        })
        .collect();
    rows.reverse();
    rows
}

pub(super) fn versioned(row: document::Model) -> Result<VersionedDocument, Error> {
    Ok(VersionedDocument {
        document: stored((row.document_id, row.content, row.metadata))?,
        embedding: Embedding::stored(row.embedding, row.embedded_by),
        revision: row.revision,
        deleted: row.deleted,
    })
}

fn stored((id, content, metadata): (String, String, Value)) -> Result<Document, Error> {
    Ok(Document { id, content, metadata: object(metadata)? })
}
