//! Files on their way into datasets: jobs over folders and URLs, which any replica runs and any other goes on
//! with, and uploads.
//!
//! What is to be done is written down first (`store::ingestions`), and one loop ([`Ingestions::run`]) does it.
//! A file whose bytes are as they were costs their reading and nothing else. One that has changed is stored
//! under its name, and then what is left of its older version is deleted. One that cannot be read keeps what
//! is stored of it, and says why.

mod read;
mod run;
mod source;
mod upload;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_stream::try_stream;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use upload::{MAX_NAME, Upload, Uploaded};

use crate::{
    catalog::Catalog,
    domain::{IngestionId, IngestionJob, IngestionSource, Tenant, TenantId},
    error::{Ended, Error},
    store::{NewIngestion, Store},
    telemetry::Metrics,
    upstream::Upstream,
};
use upload::Slots;

/// Watchers of one process at most.
const WATCHERS: usize = 256;
/// How often they look, at most.
const LOOK: Duration = Duration::from_millis(250);
/// When to ask again who found too many.
const LATER: Duration = Duration::from_secs(2);

/// How files are read into datasets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder below which jobs may read folders and files of this machine; with several tenants each
    /// has the folder in it that is called as the tenant. Empty: they may read none.
    pub root: PathBuf,
    /// Jobs that this process runs at once. 0: it runs none, and others must.
    pub max_running: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { root: PathBuf::new(), max_running: 2 }
    }
}

/// What it works with.
pub struct Parts {
    pub store: Store,
    pub catalog: Catalog,
    pub upstream: Upstream,
    /// Runs what a caller that goes away does not end.
    pub tasks: TaskTracker,
    pub metrics: Metrics,
    pub multi_tenancy: bool,
}

/// Reads files into datasets. Clones share everything.
#[derive(Clone)]
pub struct Ingestions {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    config: Config,
    uploads: Slots,
    watchers: Arc<Semaphore>,
    /// Watchers have to go.
    stopping: CancellationToken,
}

impl Ingestions {
    pub fn new(parts: Parts, config: Config) -> Self {
        let watchers = Arc::new(Semaphore::new(WATCHERS));
        let stopping = CancellationToken::new();
        Self { inner: Arc::new(Inner { parts, config, uploads: Slots::default(), watchers, stopping }) }
    }

    /// Writes down that a dataset is to be brought in line with a source. The source is looked at, not read.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Overloaded` with too many open jobs, `StoreUnavailable`.
    pub async fn start(
        &self,
        tenant: &Tenant,
        dataset: &str,
        source: IngestionSource,
    ) -> Result<IngestionJob, Error> {
        let Parts { catalog, store, .. } = &self.inner.parts;
        let dataset = catalog.ingest(tenant, dataset).await?.dataset_id();
        let source = self.inner.checked(tenant, source).await?;
        store.create_ingestion(NewIngestion { tenant: tenant.id, dataset, source }).await
    }

    /// A job as it is, and as it is after each change, until it has ended. Who reads slowly misses what was
    /// between.
    ///
    /// # Errors
    /// `NotFound`, `Overloaded` with too many watchers, `StoreUnavailable`; on the way `ShuttingDown` too.
    pub async fn watch(
        &self,
        tenant: TenantId,
        id: IngestionId,
    ) -> Result<impl Stream<Item = Result<IngestionJob, Error>> + Send + use<>, Error> {
        let place = Arc::clone(&self.inner.watchers).try_acquire_owned();
        let place = place.map_err(|_| Error::Overloaded { retry_after: LATER })?;
        let (store, stopping) = (self.inner.parts.store.clone(), self.inner.stopping.clone());
        let mut job = store.ingestion(tenant, id).await?;
        Ok(try_stream! {
            let _place = place;
            yield job.clone();
            while !job.state.has_ended() {
                if stopping.run_until_cancelled(sleep(LOOK)).await.is_none() {
                    Err(Error::Ended(Ended::ShuttingDown))?;
                }
                let now = store.ingestion(tenant, id).await?;
                if now.revision != job.revision {
                    job = now;
                    yield job.clone();
                }
            }
        })
    }
}
