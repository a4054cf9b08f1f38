//! Running jobs: whichever replica finds one takes it, and goes on where the last one was.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info_span};

use super::{
    Ingestions, Inner,
    read::{self, Known},
    source::Input,
};
use crate::{
    domain::{FileOrigin, IngestedFile, IngestionJob, IngestionSource, Tenant},
    error::{Error, Part, Resource},
    store::{FilePlace, INGESTION_TERM, IngestionRun},
    telemetry::{metrics::Outcome, traces::TARGET},
};

/// How often work is looked for that other replicas have left, and whether a job is still ours.
const LOOK: Duration = Duration::from_secs(1);
/// How long what has begun may take at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Pause before a job is given up because the database fails.
const TROUBLED: Duration = Duration::from_secs(2);
/// How often reading one file may end the process that reads it.
const MAX_TRIES: i64 = 3;
/// Bytes of a reason that is kept.
const MAX_REASON: usize = 500;

/// Why a run ends before its job does.
enum Break {
    /// Somebody has stopped the job, or another replica runs it.
    Lost,
    /// Another replica is to go on with it.
    Stopping,
    Troubled(Error),
    /// Doing it again would not help.
    Failed(String),
}

/// One job being run here.
struct Job<'a> {
    inner: &'a Inner,
    run: IngestionRun,
    job: &'a IngestionJob,
    tenant: Tenant,
    origin: FileOrigin,
}

impl Ingestions {
    /// Runs jobs until `shutdown`, and leaves those that are not done to other replicas then. Any number of
    /// replicas may do so.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (tasks, mut running) = (TaskTracker::new(), FuturesUnordered::new());
        while !shutdown.is_cancelled() {
            let woken = self.inner.parts.store.ingestions_woken();
            let claimed =
                if running.len() < self.inner.config.max_running { self.inner.claim().await } else { None };
            if let Some((run, job)) = claimed {
                let (inner, until) = (Arc::clone(&self.inner), shutdown.clone());
                let span = info_span!(target: TARGET, "ingestion", job = %job.id);
                running.push(
                    tasks.spawn(async move { inner.carry_out(run, job, until).await }.instrument(span)),
                );
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = woken => {}
                Some(done) = running.next() => {
                    if done.is_err() {
                        tracing::error!("an ingestion panicked");
                    }
                }
                () = sleep(LOOK) => {}
            }
        }
        self.inner.stopping.cancel();
        tasks.close();
        if timeout(GRACE, tasks.wait()).await.is_err() {
            running.iter().for_each(tokio::task::JoinHandle::abort);
            tasks.wait().await;
        }
    }
}

impl Inner {
    async fn claim(&self) -> Option<(IngestionRun, IngestionJob)> {
        self.parts.store.claim_ingestion().await.unwrap_or_else(|error| {
            tracing::warn!(cause = error.cause(), "jobs cannot be read");
            None
        })
    }

    async fn carry_out(&self, run: IngestionRun, job: IngestionJob, shutdown: CancellationToken) {
        let store = &self.parts.store;
        self.parts.metrics.running_ingestions.inc();
        let worked = tokio::select! {
            worked = self.work(run, &job) => worked,
            () = self.lost(run) => Err(Break::Lost),
            () = shutdown.cancelled() => Err(Break::Stopping),
        };
        let ended = match worked {
            Ok(error) => store.end_ingestion(run, &error).await,
            Err(Break::Failed(words)) => store.end_ingestion(run, &words).await,
            Err(Break::Lost) => Ok(false),
            Err(Break::Stopping) => store.release_ingestion(run).await.map(|()| false),
            Err(Break::Troubled(error)) => {
                tracing::warn!(job = %job.id, cause = error.cause(), "an ingestion is put off");
                shutdown.run_until_cancelled(sleep(TROUBLED)).await;
                store.release_ingestion(run).await.map(|()| false)
            }
        };
        self.parts.metrics.running_ingestions.dec();
        match ended {
            Ok(true) => self.count_end(run, &job).await,
            Ok(false) => {}
            // It is taken over when it has not been renewed for a while.
            Err(error) => tracing::warn!(job = %job.id, cause = error.cause(), "an ingestion is left alone"),
        }
    }

    async fn count_end(&self, run: IngestionRun, job: &IngestionJob) {
        let Ok(ended) = self.parts.store.ingestion(job.tenant_id, run.job).await else { return };
        let outcome = ended.state.name();
        self.parts.metrics.ingestions.get_or_create(&Outcome { outcome }).inc();
        let counts = ended.counts;
        tracing::info!(
            job = %job.id,
            outcome,
            total = counts.total,
            done = counts.done,
            unchanged = counts.unchanged,
            failed = counts.failed,
            removed = counts.removed,
            "an ingestion has ended"
        );
    }

    /// Renews a run, and returns when it is not ours any more.
    async fn lost(&self, run: IngestionRun) {
        let mut renewed = Instant::now();
        loop {
            sleep(LOOK).await;
            let held = if renewed.elapsed() < INGESTION_TERM / 3 {
                self.parts.store.holds_ingestion(run).await
            } else {
                renewed = Instant::now();
                self.parts.store.renew_ingestion(run).await
            };
            match held {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(cause = error.cause(), "an ingestion was not renewed"),
            }
        }
    }

    /// Does a job. Returns what is wrong with the job itself, or nothing.
    async fn work(&self, run: IngestionRun, job: &IngestionJob) -> Result<String, Break> {
        let store = &self.parts.store;
        let tenant = store.tenant_by_id(job.tenant_id).await?;
        let (inputs, origin) = match &job.source {
            IngestionSource::Folder(folder) => (self.files_in(&tenant, folder).await, FileOrigin::Folder),
            IngestionSource::Urls(urls) => {
                let inputs = self.urls(urls).map_err(|_| "The URLs can be fetched no more".to_owned());
                (inputs, FileOrigin::Url)
            }
        };
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(words) => return Ok(words),
        };
        let job = Job { inner: self, run, job, tenant, origin };
        job.remove_gone(&inputs).await?;
        let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        let of = (job.tenant.id, job.job.dataset_id, origin);
        held(store.plan_ingestion(run, of, &names).await)?;
        let settled: HashSet<String> = store.settled_files(run.job).await?.into_iter().collect();
        for input in inputs {
            if !settled.contains(&input.name) {
                job.read(input).await?;
            }
        }
        let dataset = job.dataset().await?;
        self.parts.catalog.searchable(&job.tenant, &dataset).await?;
        Ok(String::new())
    }
}

impl Job<'_> {
    /// Deletes what is stored of files that the folder has no more.
    async fn remove_gone(&self, inputs: &[Input]) -> Result<(), Break> {
        let IngestionSource::Folder(folder) = &self.job.source else { return Ok(()) };
        let (store, dataset) = (&self.inner.parts.store, self.job.dataset_id);
        let there: HashSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        for name in store.files_of_folder(dataset, folder).await? {
            if there.contains(name.as_str()) {
                continue;
            }
            let of = (self.job.tenant_id, dataset);
            if store.remove_file(Some(self.run), of, &name).await? {
                self.count("removed");
            } else {
                // Nothing to delete, or not ours to.
                held(store.holds_ingestion(self.run).await)?;
            }
        }
        Ok(())
    }

    /// Brings the dataset in line with one file.
    async fn read(&self, input: Input) -> Result<(), Break> {
        let (parts, name) = (&self.inner.parts, input.name.clone());
        let bytes = match read::bytes(&parts.upstream, input).await {
            Ok(bytes) => bytes,
            Err(reason) => return self.fail(&name, &reason).await,
        };
        let known = parts.store.ingested_file(self.job.dataset_id, &name).await?;
        let is_same = |known: &IngestedFile| known.hash == bytes.hash && known.format == bytes.format.name();
        if let Some(known) = known.filter(is_same) {
            self.count("unchanged");
            return held(parts.store.keep_file(self.run, &known).await);
        }
        self.replace(name, bytes).await
    }

    async fn replace(&self, name: String, bytes: read::Bytes) -> Result<(), Break> {
        let store = &self.inner.parts.store;
        let (dataset, known) = (self.dataset().await?, Known::of(&bytes));
        let place = FilePlace {
            tenant: self.tenant.id,
            dataset: self.job.dataset_id,
            name: name.clone(),
            origin: self.origin,
        };
        let begun = store.begin_file(Some(self.run), place.clone()).await?;
        let (writer, tries) = begun.ok_or(Break::Lost)?;
        if tries > MAX_TRIES {
            return self.fail(&name, "the service has stopped each time when it was read").await;
        }
        let documents = match bytes.documents(name.clone()).await {
            Ok(documents) => documents,
            Err(reason) => return self.fail(&name, &reason).await,
        };
        let count = documents.len();
        let written = match read::store(&self.inner.parts, (&self.tenant, &dataset), writer, documents).await
        {
            Ok(since) => store.finish_file(Some(self.run), (place, writer), known.stored(count, since)).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(_) => self.count("stored"),
            // An upload has taken it over, or it was deleted meanwhile.
            Err(Error::NotFound(Resource::File, _)) => return held(store.leave_file(self.run).await),
            Err(error @ (Error::StoreUnavailable(_) | Error::NotFound(..))) => return Err(error.into()),
            Err(error) => return self.fail(&name, &error.to_string()).await,
        }
        held(written)
    }

    async fn fail(&self, name: &str, reason: &str) -> Result<(), Break> {
        self.count("failed");
        let reason = reason[..reason.floor_char_boundary(MAX_REASON)].replace('\0', " ");
        held(self.inner.parts.store.fail_file(self.run, (self.job.dataset_id, name), reason).await)
    }

    /// The dataset's name, which may change meanwhile.
    async fn dataset(&self) -> Result<String, Error> {
        let store = &self.inner.parts.store;
        let found = store.attachment_by_id(Part::Dataset, self.tenant.id, self.job.dataset_id).await?;
        Ok(found.name)
    }

    fn count(&self, outcome: &'static str) {
        self.inner.parts.metrics.ingested_files.get_or_create(&Outcome { outcome }).inc();
    }
}

fn held(held: Result<bool, Error>) -> Result<(), Break> {
    if held? { Ok(()) } else { Err(Break::Lost) }
}

impl From<Error> for Break {
    fn from(error: Error) -> Self {
        match error {
            Error::StoreUnavailable(_) | Error::NotFound(..) => Self::Troubled(error),
            error => Self::Failed(error.to_string()),
        }
    }
}
