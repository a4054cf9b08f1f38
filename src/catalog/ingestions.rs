//! Jobs that read files into datasets, and the files: shown, stopped, deleted. What runs them stands above.

use std::time::Duration;

use super::{
    Catalog, Page, PageRequest,
    page::{self, FIXED, Listed, Listing},
};
use crate::{
    domain::{FileState, IngestedFile, IngestionId, IngestionJob, IngestionSource, Tenant, rules::violation},
    error::{Error, Part, Resource, Rule},
};

/// How long a deletion waits until a search here no longer finds what is gone.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);

/// Which files, as it was asked: nothing is checked.
#[derive(Default)]
pub struct FilesDraft {
    pub dataset: String,
    /// Empty: of all.
    pub job: String,
    pub state: Option<FileState>,
}

impl Catalog {
    /// A job.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn ingestion(&self, tenant: &Tenant, id: &str) -> Result<IngestionJob, Error> {
        self.store.ingestion(tenant.id, parse(id)?).await
    }

    /// A page of jobs, newest first: of one dataset, or all.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` when there is no such dataset, `StoreUnavailable`.
    pub async fn ingestions(
        &self,
        tenant: &Tenant,
        dataset: &str,
        page: &PageRequest,
    ) -> Result<Page<IngestionJob>, Error> {
        let dataset = match dataset {
            "" => None,
            name => Some(self.store.attachment(Part::Dataset, tenant.id, name).await?.id),
        };
        let listing = Listing::new(&self.store, tenant.id, &format!("ingestions/{dataset:?}"), page)?;
        let read = listing.read(|after, limit| async move {
            self.store.ingestions(tenant.id, dataset, page::id(after), limit).await
        });
        read.await
    }

    /// Ends a job that has not ended, and returns it. What it has stored stays.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn stop_ingestion(&self, tenant: &Tenant, id: &str) -> Result<IngestionJob, Error> {
        self.store.stop_ingestion(tenant.id, parse(id)?).await
    }

    /// Does again what has failed or was not done of a job that has failed or was stopped, and returns it.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn retry_ingestion(&self, tenant: &Tenant, id: &str) -> Result<IngestionJob, Error> {
        self.store.retry_ingestion(tenant.id, parse(id)?).await
    }

    /// A page of a dataset's files, by name.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `StoreUnavailable`.
    pub async fn ingested_files(
        &self,
        tenant: &Tenant,
        draft: FilesDraft,
        page: &PageRequest,
    ) -> Result<Page<IngestedFile>, Error> {
        if draft.dataset.is_empty() {
            return Err(Error::Invalid(vec![violation("dataset", Rule::Missing, "is required")]));
        }
        let dataset = self.store.attachment(Part::Dataset, tenant.id, &draft.dataset).await?.id;
        let job = match draft.job.as_str() {
            "" => None,
            id => Some(self.ingestion(tenant, id).await?.id),
        };
        let which = (job, draft.state);
        let listing = Listing::new(&self.store, tenant.id, &format!("files/{dataset}/{which:?}"), page)?;
        let read = listing.read(|after, limit| async move {
            self.store.ingested_files(dataset, which, after.as_deref(), limit).await
        });
        read.await
    }

    /// Deletes a file of a dataset with its documents, and waits until a search here no longer finds them.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `StoreUnavailable`.
    pub async fn delete_file(&self, tenant: &Tenant, dataset: &str, name: &str) -> Result<(), Error> {
        let (dataset, local) = self.local_dataset(tenant, dataset).await?;
        let is_known = crate::domain::rules::can_be_stored(name, 1024)
            && self.store.remove_file(None, (tenant.id, dataset.id), name).await?;
        if !is_known {
            return Err(Error::NotFound(Resource::File, name.chars().take(256).collect()));
        }
        let revision = self.store.document_revision(dataset.id).await?;
        local.reached(revision, FORGOTTEN_WITHIN).await;
        Ok(())
    }
}

/// What is no id names nothing.
fn parse(id: &str) -> Result<IngestionId, Error> {
    let unknown = |_| Error::NotFound(Resource::Ingestion, id.chars().take(64).collect());
    id.parse().map(IngestionId).map_err(unknown)
}

impl Listed for IngestionJob {
    const STEP: usize = 16;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn bytes(&self) -> usize {
        let source = match &self.source {
            IngestionSource::Folder(folder) => folder.len(),
            IngestionSource::Urls(urls) => urls.iter().map(|url| url.len() + 16).sum(),
        };
        FIXED + self.dataset.len() + self.error.len() + source
    }
}

impl Listed for IngestedFile {
    fn key(&self) -> String {
        self.name.clone()
    }

    fn bytes(&self) -> usize {
        FIXED + self.name.len() + self.reason.len()
    }
}
