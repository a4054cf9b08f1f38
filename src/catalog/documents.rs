//! Documents of `local` datasets.

use std::time::Duration;

use super::{Catalog, Page, PageRequest, page::Listing};
use crate::{
    dataset::local::{self, LocalDataset},
    domain::{
        Attachment, AttachmentId, Document, FileWriter, Tenant, TenantId,
        rules::{self, Check, violation},
    },
    error::{Error, Part, Rule},
};

/// Documents written together at most.
const BATCH_DOCUMENTS: usize = 256;
/// Bytes of text written together at most, but for a single document.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a document's id.
const MAX_ID: usize = 512;
/// How long the end of an ingestion waits until a search here finds its documents.
const INDEXED_WITHIN: Duration = Duration::from_secs(60);

/// How long a deletion waits until a search here no longer finds what is gone: well within the time of
/// a call.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);

/// Documents on their way into one dataset, in batches.
pub struct Ingestion {
    catalog: Catalog,
    tenant: TenantId,
    dataset: Attachment,
    local: LocalDataset,
    /// Whose the documents are, where they come from a file.
    writer: Option<FileWriter>,
    batch: Vec<Document>,
    bytes: usize,
    /// Documents of this ingestion that came in.
    received: usize,
    /// The dataset's first revision that holds some of them, and the one that holds all.
    first_revision: Option<i64>,
    revision: i64,
}

impl Catalog {
    /// Begins to store documents in a `local` dataset.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` when the dataset is of another type, `StoreUnavailable`.
    pub async fn ingest(&self, tenant: &Tenant, dataset: &str) -> Result<Ingestion, Error> {
        let (dataset, local) = self.local_dataset(tenant, dataset).await?;
        Ok(Ingestion {
            catalog: self.clone(),
            tenant: tenant.id,
            dataset,
            local,
            writer: None,
            batch: Vec::new(),
            bytes: 0,
            received: 0,
            first_revision: None,
            revision: 0,
        })
    }

    /// A page of a dataset's documents, by id.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `StoreUnavailable`.
    pub async fn documents(
        &self,
        tenant: &Tenant,
        dataset: &str,
        page: &PageRequest,
    ) -> Result<Page<Document>, Error> {
        let (dataset, _) = self.local_dataset(tenant, dataset).await?;
        let listing = Listing::new(&self.store, tenant.id, &format!("documents/{}", dataset.id), page)?;
        let read = listing.read(|after, limit| async move {
            self.store.documents(dataset.id, after.as_deref(), limit).await
        });
        read.await
    }

    /// Deletes documents, waits until a search here no longer finds them, and returns how many there
    /// were.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `StoreUnavailable`.
    pub async fn delete_documents(
        &self,
        tenant: &Tenant,
        dataset: &str,
        ids: Vec<String>,
    ) -> Result<u64, Error> {
        if ids.len() > 1000 {
            return Err(Error::Invalid(vec![violation("ids", Rule::TooLong(1000), "must be at most 1000")]));
        }
        let ids = ids.into_iter().filter(|id| rules::can_be_stored(id, MAX_ID)).collect();
        let (dataset, local) = self.local_dataset(tenant, dataset).await?;
        let deleted = self.store.delete_documents(tenant.id, dataset.id, ids).await?;
        let revision = self.store.document_revision(dataset.id).await?;
        local.reached(revision, FORGOTTEN_WITHIN).await;
        Ok(deleted)
    }

    /// Waits until a search here finds what is stored in a dataset now, a minute at most.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `StoreUnavailable`.
    pub async fn searchable(&self, tenant: &Tenant, dataset: &str) -> Result<(), Error> {
        let (dataset, local) = self.local_dataset(tenant, dataset).await?;
        let revision = self.store.document_revision(dataset.id).await?;
        local.reached(revision, INDEXED_WITHIN).await;
        Ok(())
    }

    pub(super) async fn local_dataset(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<(Attachment, LocalDataset), Error> {
        rules::named("dataset", name).map_err(|violation| vec![violation])?;
        let stored = self.store.attachment(Part::Dataset, tenant.id, name).await?;
        if stored.dtype != local::NAME {
            let message = format!("must name a dataset of the type '{}'", local::NAME);
            return Err(Error::Invalid(vec![violation("dataset", Rule::OneOf, message)]));
        }
        let local = self.datasets.open_local(&stored)?;
        Ok((stored, local))
    }
}

impl Ingestion {
    pub fn dataset_id(&self) -> AttachmentId {
        self.dataset.id
    }

    /// The dataset's name.
    pub fn dataset(&self) -> &str {
        &self.dataset.name
    }

    /// The same, of documents that are a file's.
    #[must_use]
    pub fn of_file(self, writer: FileWriter) -> Self {
        Self { writer: Some(writer), ..self }
    }

    /// The dataset's first revision that holds documents of this ingestion, once some are stored.
    pub fn first_revision(&self) -> Option<i64> {
        self.first_revision
    }

    /// How many documents have been taken.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Whether documents have been taken that are not stored yet.
    pub fn has_unstored(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Takes a document. True when the batch is full and wants to be stored.
    ///
    /// # Errors
    /// `Invalid`, with the document's place in the ingestion; nothing of it is kept then.
    pub fn add(&mut self, document: Document) -> Result<bool, Error> {
        let field = |name: &str| format!("documents.{}.{name}", self.received);
        let mut check = Check::default();
        check.take(rules::text(&field("id"), &document.id, MAX_ID));
        check.take(rules::text(&field("content"), &document.content, rules::MAX_DOCUMENT_BYTES));
        let metadata = serde_json::to_string(&document.metadata).unwrap_or_default();
        check.take(rules::optional_text(&field("metadata"), &metadata, 64 << 10));
        if metadata.contains("\\u0000") {
            check.fail(field("metadata"), Rule::Pattern, "must not contain the character NUL");
        }
        check.finish()?;
        self.received += 1;
        self.bytes += document.content.len();
        self.batch.push(document);
        Ok(self.batch.len() >= BATCH_DOCUMENTS || self.bytes >= BATCH_BYTES)
    }

    /// Stores the batch, with its vectors where the dataset has an embedding endpoint: nothing is stored without
    /// them. Once this returns, nothing that was added before is lost, whatever happens.
    /// Returns how many documents of the ingestion are stored, and the dataset's revision; `None` when
    /// there was nothing to store.
    ///
    /// # Errors
    /// `Upstream` when the batch cannot be embedded, `NotFound` when the dataset was deleted meanwhile,
    /// `StoreUnavailable`.
    pub async fn store(&mut self) -> Result<Option<(usize, i64)>, Error> {
        if self.batch.is_empty() {
            return Ok(None);
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        // Before the transaction: it waits for nobody's server.
        let batch = self.local.embedded(batch).await.map_err(|fault| fault.of(Part::Dataset))?;
        let put = self.catalog.store.put_documents(self.tenant, self.dataset.id, self.writer, batch);
        self.revision = put.await?;
        self.first_revision.get_or_insert(self.revision);
        Ok(Some((self.received, self.revision)))
    }

    /// Waits until a search on this replica finds what was stored, a minute at most: then the index
    /// catches up later.
    pub async fn indexed(&self) {
        self.local.reached(self.revision, INDEXED_WITHIN).await;
    }
}
