//! Jobs that read files into datasets: asked for, listed, stopped. Who runs them is in `runs`, what becomes of
//! each file in `files` and `lists`.
//!
//! Whoever changes anything takes locks in one order: the job's row, the file's, the dataset's.

mod files;
mod lists;
mod runs;

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement, Value};
use tokio::sync::futures::Notified;
use uuid::Uuid;

pub use files::{FilePlace, StoredFile};
pub(super) use files::{forget_hash, still_writes};
pub use runs::{IngestionRun, TERM as INGESTION_TERM};

use super::{Store, fault, now, seal::Owner};
use crate::{
    domain::{
        AttachmentId, IngestionCounts, IngestionId, IngestionJob, IngestionSource, IngestionState, TenantId,
    },
    error::{Error, Resource},
};

/// Jobs of one tenant that have not ended, at most.
const MAX_OPEN: i64 = 1_000;
/// When to ask again who has so many.
const LATER: std::time::Duration = std::time::Duration::from_secs(60);
const COLUMNS: &str = "SELECT j.id, j.tenant_id, j.dataset_id, d.name AS dataset, j.source, j.state, j.total, \
                       j.done, j.unchanged, j.failed, j.removed, j.error, j.attempt, j.revision, j.created_at, \
                       j.started_at, j.ended_at FROM ingestion_jobs j JOIN datasets d ON d.id = j.dataset_id";

/// A job to be done.
#[derive(Debug, Clone)]
pub struct NewIngestion {
    pub tenant: TenantId,
    pub dataset: AttachmentId,
    pub source: IngestionSource,
}

impl Store {
    /// Waits until a job may have been asked for in this process. To be asked for before looking.
    pub fn ingestions_woken(&self) -> Notified<'_> {
        self.inner.ingestions.notified()
    }

    /// Writes down that a job is to be done.
    ///
    /// # Errors
    /// `NotFound` when the dataset is gone, `Overloaded` with too many open jobs, `StoreUnavailable`.
    pub async fn create_ingestion(&self, new: NewIngestion) -> Result<IngestionJob, Error> {
        let id = IngestionId::new();
        let source = serde_json::to_string(&new.source).map_err(Error::internal)?;
        let source = self.secrets().seal_text(&binding(new.tenant, id), &source)?;
        let sql = "INSERT INTO ingestion_jobs (id, tenant_id, dataset_id, source, state, total, done, unchanged, \
                   failed, removed, error, attempt, revision, held_until, created_at) \
                   VALUES ($1, $2, $3, $4, 'pending', 0, 0, 0, 0, 0, '', 0, 1, 0, $5)";
        let (tenant, dataset) = (new.tenant, new.dataset);
        let values = [id.0.into(), tenant.0.into(), dataset.0.into(), source.into(), now().into()];
        let insert = self.statement(sql, values);
        let created = self.write(move |txn| {
            Box::pin(async move {
                if count_open(txn, tenant).await? >= MAX_OPEN {
                    return Err(Error::Overloaded { retry_after: LATER });
                }
                let gone = || Error::NotFound(Resource::Dataset, dataset.to_string());
                let inserted = txn.execute_raw(insert).await;
                inserted.map_err(|error| match fault::is_foreign_key(&error) {
                    true => gone(),
                    false => error.into(),
                })?;
                Ok(())
            })
        });
        created.await?;
        self.inner.ingestions.notify_one();
        self.ingestion(tenant, id).await
    }

    /// A job.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn ingestion(&self, tenant: TenantId, id: IngestionId) -> Result<IngestionJob, Error> {
        let sql = format!("{COLUMNS} WHERE j.tenant_id = $1 AND j.id = $2");
        let row = self.reader().query_one_raw(self.statement(&sql, [tenant.0.into(), id.0.into()])).await?;
        self.read_job(&row.ok_or_else(|| unknown(id))?)
    }

    /// Up to `limit` jobs that are older than the one with the id `after`, newest first: of one dataset, or all.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn ingestions(
        &self,
        tenant: TenantId,
        dataset: Option<AttachmentId>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<IngestionJob>, Error> {
        let mut sql = format!("{COLUMNS} WHERE j.tenant_id = $1");
        let mut values: Vec<Value> = vec![tenant.0.into()];
        if let Some(dataset) = dataset {
            values.push(dataset.0.into());
            sql.push_str(&format!(" AND j.dataset_id = ${}", values.len()));
        }
        if let Some(after) = after {
            values.push(after.into());
            sql.push_str(&format!(" AND j.id < ${}", values.len()));
        }
        sql.push_str(&format!(" ORDER BY j.id DESC LIMIT {limit}"));
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let rows = self.reader().query_all_raw(statement).await?;
        rows.iter().map(|row| self.read_job(row)).collect()
    }

    /// Ends a job that has not ended, and returns it as it is then. Whoever runs it can write nothing from now
    /// on, and notices.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn stop_ingestion(&self, tenant: TenantId, id: IngestionId) -> Result<IngestionJob, Error> {
        let sql = "UPDATE ingestion_jobs SET state = 'stopped', holder = NULL, ended_at = $3, \
                   revision = revision + 1 WHERE id = $1 AND tenant_id = $2 AND state IN ('pending', 'running')";
        let values = [id.0.into(), tenant.0.into(), now().into()];
        let files = "UPDATE ingested_files SET state = 'pending', writer = NULL \
                     WHERE job_id = $1 AND state = 'running'";
        self.change_job(self.statement(sql, values), files, (tenant, id)).await
    }

    /// Does a job again that has failed or was stopped: what has failed, and what was not done. Returns the job
    /// as it is then; one that runs, waits or is done stays as it is.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn retry_ingestion(&self, tenant: TenantId, id: IngestionId) -> Result<IngestionJob, Error> {
        let sql = "UPDATE ingestion_jobs SET state = 'pending', ended_at = NULL, error = '', failed = 0, \
                   revision = revision + 1 WHERE id = $1 AND tenant_id = $2 AND state IN ('failed', 'stopped')";
        let files = "UPDATE ingested_files SET state = 'pending', reason = '', tries = 0 \
                     WHERE job_id = $1 AND state = 'failed'";
        let change = self.statement(sql, [id.0.into(), tenant.0.into()]);
        let retried = self.change_job(change, files, (tenant, id)).await?;
        self.inner.ingestions.notify_one();
        Ok(retried)
    }

    /// Deletes jobs that ended before `age`, `limit` at most. Says how many.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_ingestions(&self, age: std::time::Duration, limit: u64) -> Result<u64, Error> {
        let Some(before) = now().checked_sub(age.try_into().unwrap_or(time::Duration::MAX)) else {
            return Ok(0);
        };
        let sql = format!(
            "DELETE FROM ingestion_jobs WHERE id IN (SELECT id FROM ingestion_jobs WHERE ended_at < $1 \
             LIMIT {limit}) AND ended_at < $1"
        );
        let statement = self.statement(&sql, [before.into()]);
        self.write(move |txn| Box::pin(async move { Ok(txn.execute_raw(statement).await?.rows_affected()) }))
            .await
    }

    /// Changes a job, and its files if it was there to be changed.
    async fn change_job(
        &self,
        change: Statement,
        files: &str,
        (tenant, id): (TenantId, IngestionId),
    ) -> Result<IngestionJob, Error> {
        let files = self.statement(files, [id.0.into()]);
        let changed = self.write(move |txn| {
            Box::pin(async move {
                if txn.execute_raw(change).await?.rows_affected() > 0 {
                    txn.execute_raw(files).await?;
                }
                Ok(())
            })
        });
        changed.await?;
        self.ingestion(tenant, id).await
    }

    fn read_job(&self, row: &QueryResult) -> Result<IngestionJob, Error> {
        let id = IngestionId(row.try_get("", "id")?);
        let tenant_id = TenantId(row.try_get("", "tenant_id")?);
        let sealed: String = row.try_get("", "source")?;
        let source = self.secrets().open_text(&binding(tenant_id, id), &sealed);
        let source = source.and_then(|source| serde_json::from_str(&source).ok());
        let state: String = row.try_get("", "state")?;
        Ok(IngestionJob {
            id,
            tenant_id,
            dataset_id: AttachmentId(row.try_get("", "dataset_id")?),
            dataset: row.try_get("", "dataset")?,
            // One whose key is gone must not keep the others from being listed.
            source: source.unwrap_or(IngestionSource::Urls(Vec::new())),
            state: IngestionState::parse(&state).unwrap_or(IngestionState::Failed),
            counts: IngestionCounts {
                total: row.try_get("", "total")?,
                done: row.try_get("", "done")?,
                unchanged: row.try_get("", "unchanged")?,
                failed: row.try_get("", "failed")?,
                removed: row.try_get("", "removed")?,
            },
            error: row.try_get("", "error")?,
            attempt: row.try_get("", "attempt")?,
            revision: row.try_get("", "revision")?,
            created_at: row.try_get("", "created_at")?,
            started_at: row.try_get("", "started_at")?,
            ended_at: row.try_get("", "ended_at")?,
        })
    }
}

fn unknown(id: IngestionId) -> Error {
    Error::NotFound(Resource::Ingestion, id.to_string())
}

async fn count_open(txn: &DatabaseTransaction, tenant: TenantId) -> Result<i64, Error> {
    let sql =
        "SELECT count(*) AS n FROM ingestion_jobs WHERE tenant_id = $1 AND state IN ('pending', 'running')";
    let ask = Statement::from_sql_and_values(txn.get_database_backend(), sql, [tenant.0.into()]);
    Ok(txn.query_one_raw(ask).await?.map_or(Ok(0), |row| row.try_get("", "n"))?)
}

fn binding(tenant: TenantId, id: IngestionId) -> String {
    Owner { tenant, row: id.0 }.bind("source")
}
