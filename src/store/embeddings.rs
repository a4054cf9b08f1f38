//! Vectors of documents, in the documents' rows. Those that were stored without one, or with another model's, get
//! theirs later.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, Statement, Value,
};

use super::{
    Store, VersionedDocument, documents,
    entities::document::{self, Column},
    feed,
};
use crate::{
    domain::AttachmentId,
    error::{Error, Resource},
};

/// What a text means, as a model has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// What made it: vectors of two models cannot be compared.
    pub made_by: String,
    /// Of length 1. Empty when nothing can be made of the text.
    pub vector: Vec<f32>,
}

/// A vector for a document that is stored already, as it was at a revision.
#[derive(Clone)]
pub struct LateEmbedding {
    pub document: String,
    pub revision: i64,
    pub embedding: Embedding,
}

impl Embedding {
    /// The vector's numbers of 32 bits, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        self.vector.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    pub(super) fn stored(bytes: Option<Vec<u8>>, made_by: Option<String>) -> Option<Self> {
        let (bytes, made_by) = (bytes?, made_by?);
        let (numbers, _) = bytes.as_chunks();
        Some(Self { made_by, vector: numbers.iter().copied().map(f32::from_le_bytes).collect() })
    }
}

impl Store {
    /// Those of these documents that are there.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn documents_called(
        &self,
        dataset: AttachmentId,
        ids: Vec<String>,
    ) -> Result<Vec<VersionedDocument>, Error> {
        let find = document::Entity::find()
            .filter(Column::DatasetId.eq(dataset.0))
            .filter(Column::Deleted.eq(false))
            .filter(Column::DocumentId.is_in(ids));
        find.all(self.reader()).await?.into_iter().map(documents::versioned).collect()
    }

    /// Adds vectors to documents, in one transaction, and returns the dataset's new revision, which is that
    /// of the documents too: every index hears of it. A document that has changed meanwhile is left alone.
    ///
    /// # Errors
    /// `NotFound` when the dataset is gone, `StoreUnavailable`.
    pub async fn put_embeddings(
        &self,
        dataset: AttachmentId,
        late: Vec<LateEmbedding>,
    ) -> Result<i64, Error> {
        let backend = self.backend();
        let written = self.write(move |txn| {
            Box::pin(async move {
                let revision = next_revision(txn, backend, dataset).await?;
                for late in late {
                    let sql = "UPDATE documents SET embedding = $1, embedded_by = $2, revision = $3 \
                               WHERE dataset_id = $4 AND document_id = $5 AND revision = $6 AND NOT deleted";
                    let LateEmbedding { document, revision: read, embedding } = late;
                    let values: [Value; 6] = [
                        embedding.bytes().into(),
                        embedding.made_by.into(),
                        revision.into(),
                        dataset.0.into(),
                        document.into(),
                        read.into(),
                    ];
                    txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
                }
                Ok((revision, feed::announce(txn, backend, feed::DOCUMENTS).await?))
            })
        });
        let (revision, announced) = written.await?;
        self.feed().advance_documents(announced);
        Ok(revision)
    }
}

/// Takes the dataset's row lock until the transaction ends.
async fn next_revision(
    txn: &DatabaseTransaction,
    backend: DbBackend,
    dataset: AttachmentId,
) -> Result<i64, Error> {
    let sql = "UPDATE datasets SET document_revision = document_revision + 1 WHERE id = $1 RETURNING document_revision";
    let row = txn.query_one_raw(Statement::from_sql_and_values(backend, sql, [dataset.0.into()])).await?;
    let row = row.ok_or_else(|| Error::NotFound(Resource::Dataset, dataset.to_string()))?;
    Ok(row.try_get("", "document_revision")?)
}
