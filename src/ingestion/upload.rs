//! Files that a client sends: stored as those of a job, at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Ingestions, Inner, LATER,
    read::{self, Bytes, Known},
};
use crate::{
    domain::{AttachmentId, FileOrigin, FileState, IngestedFile, Tenant, TenantId, rules, rules::violation},
    error::{Error, Resource, Rule},
    extract::{Format, MAX_FILE},
    store::FilePlace,
    telemetry::metrics::Outcome,
};

/// Bytes of a file's name: ids of its documents begin with it.
pub const MAX_NAME: usize = 480;
/// Uploads at once, and those of one tenant: each may hold a whole file in memory.
const AT_ONCE: usize = 4;
const OF_ONE: usize = 2;

/// Who may upload now. Clones share it.
#[derive(Clone)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    /// Of every tenant that has ever asked.
    by_tenant: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

/// A file that is on its way in.
pub struct Upload {
    inner: Arc<Inner>,
    tenant: Tenant,
    dataset: String,
    dataset_id: AttachmentId,
    name: String,
    format: Format,
    bytes: Vec<u8>,
    _slot: [OwnedSemaphorePermit; 2],
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Uploaded {
    pub file: IngestedFile,
    /// It was there already, and nothing was touched.
    pub unchanged: bool,
}

impl Default for Slots {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), by_tenant: Arc::default() }
    }
}

impl Slots {
    fn take(&self, tenant: TenantId) -> Option<[OwnedSemaphorePermit; 2]> {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_tenant.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE)));
        let own = Arc::clone(own).try_acquire_owned().ok()?;
        Some([own, Arc::clone(&self.all).try_acquire_owned().ok()?])
    }
}

impl Ingestions {
    /// Begins to take a file for a dataset. Its name and content type say what it is.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Overloaded` with too many uploads at once, `StoreUnavailable`.
    pub async fn upload(
        &self,
        tenant: &Tenant,
        dataset: &str,
        (name, media_type): (&str, &str),
    ) -> Result<Upload, Error> {
        let dataset = self.inner.parts.catalog.ingest(tenant, dataset).await?;
        let name = rules::text("name", name, MAX_NAME).map_err(|violation| vec![violation])?;
        let kind = Some(media_type).filter(|kind| !kind.is_empty());
        let unknown = || {
            let message =
                format!("must end with one of {}, unless media_type says what it is", Format::EXTENSIONS);
            Error::Invalid(vec![violation("name", Rule::OneOf, message)])
        };
        let format = Format::of(&name, kind).ok_or_else(unknown)?;
        let slot = self.inner.uploads.take(tenant.id);
        Ok(Upload {
            inner: Arc::clone(&self.inner),
            tenant: tenant.clone(),
            dataset_id: dataset.dataset_id(),
            dataset: dataset.dataset().to_owned(),
            name,
            format,
            bytes: Vec::new(),
            _slot: slot.ok_or(Error::Overloaded { retry_after: LATER })?,
        })
    }
}

impl Upload {
    /// Takes a piece of the file.
    ///
    /// # Errors
    /// `Invalid` when the file has become too large.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.bytes.len() + piece.len() > MAX_FILE {
            let message = "must be a file of at most 64 MiB";
            return Err(Error::Invalid(vec![violation("data", Rule::TooLong(MAX_FILE), message)]));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Stores the file, and returns once a search here finds it. It goes on when nobody waits any more.
    ///
    /// # Errors
    /// `Invalid` when the file cannot be read, `NotFound` when the dataset is gone, `StoreUnavailable`, and
    /// what embedding its documents may fail with.
    pub async fn finish(self) -> Result<Uploaded, Error> {
        let tasks = self.inner.parts.tasks.clone();
        tasks.spawn(self.write()).await.map_err(Error::internal)?
    }

    async fn write(mut self) -> Result<Uploaded, Error> {
        let (bytes, format) = (std::mem::take(&mut self.bytes), self.format);
        let hashed = tokio::task::spawn_blocking(move || Bytes::new(bytes, format)).await;
        let bytes = hashed.map_err(Error::internal)?;
        let store = &self.inner.parts.store;
        let known = store.ingested_file(self.dataset_id, &self.name).await?;
        let is_same = |known: &IngestedFile| {
            known.hash == bytes.hash && known.format == format.name() && known.state == FileState::Done
        };
        let unchanged = known.is_some_and(|known| is_same(&known));
        if !unchanged {
            self.replace(bytes).await?;
            self.inner.parts.catalog.searchable(&self.tenant, &self.dataset).await?;
        }
        let outcome = if unchanged { "unchanged" } else { "stored" };
        self.inner.parts.metrics.ingested_files.get_or_create(&Outcome { outcome }).inc();
        let file = store.ingested_file(self.dataset_id, &self.name).await?;
        Ok(Uploaded { file: file.ok_or_else(taken_over)?, unchanged })
    }

    async fn replace(&self, bytes: Bytes) -> Result<(), Error> {
        let known = Known::of(&bytes);
        let unreadable = |words: String| {
            Error::Invalid(vec![violation("data", Rule::Pattern, format!("cannot be read: {words}"))])
        };
        let documents = bytes.documents(self.name.clone()).await.map_err(unreadable)?;
        let count = documents.len();
        let place = FilePlace {
            tenant: self.tenant.id,
            dataset: self.dataset_id,
            name: self.name.clone(),
            origin: FileOrigin::Upload,
        };
        let store = &self.inner.parts.store;
        let (writer, _) = store.begin_file(None, place.clone()).await?.ok_or_else(taken_over)?;
        let written = read::store(&self.inner.parts, (&self.tenant, &self.dataset), writer, documents).await;
        let finished = match written {
            Ok(since) => store.finish_file(None, (place, writer), known.stored(count, since)).await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(_) => Ok(()),
            Err(Error::NotFound(Resource::File, _)) => Err(taken_over()),
            Err(error) => {
                let reason = error.to_string();
                if let Err(unnoted) = store.fail_upload(writer, reason.replace('\0', " ")).await {
                    tracing::debug!(cause = unnoted.cause(), "a failed upload was not noted");
                }
                Err(error)
            }
        }
    }
}

/// To be tried again: then it is the last one.
fn taken_over() -> Error {
    Error::StoreUnavailable("another has written or deleted the file meanwhile".into())
}
