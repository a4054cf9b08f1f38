//! Who runs a job. A run holds the job's row on the database's clock and renews it; whatever it writes asks
//! whether it still does, so of two that believe to run one job, one can write nothing.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value};
use uuid::Uuid;

use super::COLUMNS;
use crate::{
    domain::{IngestionId, IngestionJob},
    error::{Error, Resource},
    store::{Store, clock, database_micros, fault, now},
};

/// How long a job is held that is not renewed.
pub const TERM: Duration = Duration::from_secs(15);

/// A job that is being run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestionRun {
    pub job: IngestionId,
    /// Of this run alone: one process may run a job twice, and is another the second time.
    pub holder: Uuid,
}

impl Store {
    /// Takes a job that waits, or one whose process has died, if there is one: of the tenant of which the fewest
    /// run, the oldest. Never one of a dataset of which another runs.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn claim_ingestion(&self) -> Result<Option<(IngestionRun, IngestionJob)>, Error> {
        let backend = self.backend();
        // Looks before it takes the writer.
        let now = database_micros(self.reader()).await?;
        if self.reader().query_one_raw(waiting(backend, now, false)).await?.is_none() {
            return Ok(None);
        }
        let holder = Uuid::now_v7();
        let claimed = self.write(move |txn| Box::pin(async move { claim(txn, holder).await })).await;
        match claimed {
            Ok(Some(job)) => {
                let sql = format!("{COLUMNS} WHERE j.id = $1");
                let row = self.reader().query_one_raw(self.statement(&sql, [job.0.into()])).await?;
                let run = IngestionRun { job, holder };
                row.map(|row| Ok((run, self.read_job(&row)?))).transpose()
            }
            // Another was quicker with a job of the same dataset.
            Ok(None) | Err(Error::AlreadyExists(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Holds a job for longer. Says whether it was still held.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn renew_ingestion(&self, run: IngestionRun) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE ingestion_jobs SET held_until = {} + $3 WHERE id = $1 AND holder = $2 AND state = 'running'",
            clock(self.backend())
        );
        let values = [run.job.0.into(), run.holder.into(), micros(TERM).into()];
        let renew = self.statement(&sql, values);
        self.write(move |txn| Box::pin(async move { Ok(txn.execute_raw(renew).await?.rows_affected() > 0) }))
            .await
    }

    /// Whether a job is still held. Locks nothing.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn holds_ingestion(&self, run: IngestionRun) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM ingestion_jobs WHERE id = $1 AND holder = $2 AND state = 'running'";
        let ask = self.statement(sql, [run.job.0.into(), run.holder.into()]);
        Ok(self.reader().query_one_raw(ask).await?.is_some())
    }

    /// Gives a job up, for another process to go on with at once. What was begun has not been tried.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn release_ingestion(&self, run: IngestionRun) -> Result<(), Error> {
        let sql = "UPDATE ingestion_jobs SET state = 'pending', holder = NULL, held_until = 0, \
                   revision = revision + 1 WHERE id = $1 AND holder = $2 AND state = 'running'";
        let release = self.statement(sql, [run.job.0.into(), run.holder.into()]);
        let files = "UPDATE ingested_files SET state = 'pending', writer = NULL, tries = tries - 1 \
                     WHERE job_id = $1 AND state = 'running'";
        let files = self.statement(files, [run.job.0.into()]);
        self.write(move |txn| {
            Box::pin(async move {
                if txn.execute_raw(release).await?.rows_affected() > 0 {
                    txn.execute_raw(files).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Ends a job: failed with `error`, or because one of its files has; else done. Says whether it was held.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn end_ingestion(&self, run: IngestionRun, error: &str) -> Result<bool, Error> {
        let sql = "UPDATE ingestion_jobs SET state = CASE WHEN $3 = '' AND failed = 0 THEN 'done' ELSE 'failed' END, \
                   error = CASE WHEN $3 <> '' THEN $3 WHEN failed > 0 THEN failed || ' of ' || total || ' files failed' \
                   ELSE '' END, holder = NULL, held_until = 0, ended_at = $4, revision = revision + 1 \
                   WHERE id = $1 AND holder = $2 AND state = 'running'";
        let values = [run.job.0.into(), run.holder.into(), error.into(), now().into()];
        let end = self.statement(sql, values);
        self.write(move |txn| Box::pin(async move { Ok(txn.execute_raw(end).await?.rows_affected() > 0) }))
            .await
    }
}

async fn claim(txn: &DatabaseTransaction, holder: Uuid) -> Result<Option<IngestionId>, Error> {
    let backend = txn.get_database_backend();
    let micros_now = database_micros(txn).await?;
    let Some(row) = txn.query_one_raw(waiting(backend, micros_now, true)).await? else { return Ok(None) };
    let id: Uuid = row.try_get("", "id")?;
    let sql = "UPDATE ingestion_jobs SET state = 'running', holder = $2, held_until = $3, attempt = attempt + 1, \
               revision = revision + 1, started_at = COALESCE(started_at, $4) WHERE id = $1";
    let values: [Value; 4] = [id.into(), holder.into(), (micros_now + micros(TERM)).into(), now().into()];
    let take = txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await;
    take.map_err(|error| fault::taken(error, Resource::Ingestion, ""))?;
    Ok(Some(IngestionId(id)))
}

/// The job to run next. A clock that has been set back must not hold one for ever.
fn waiting(backend: DbBackend, now: i64, for_update: bool) -> Statement {
    let lock = if for_update && backend == DbBackend::Postgres { " FOR UPDATE OF j SKIP LOCKED" } else { "" };
    let sql = format!(
        "SELECT j.id FROM ingestion_jobs j JOIN tenants t ON t.id = j.tenant_id \
         WHERE j.state IN ('pending', 'running') AND t.active \
         AND (j.state = 'pending' OR j.held_until <= $1 OR j.held_until > $2) \
         AND NOT EXISTS (SELECT 1 FROM ingestion_jobs r WHERE r.dataset_id = j.dataset_id \
         AND r.state = 'running' AND r.id <> j.id) \
         ORDER BY (SELECT count(*) FROM ingestion_jobs r WHERE r.tenant_id = j.tenant_id AND r.state = 'running'), \
         j.id LIMIT 1{lock}"
    );
    Statement::from_sql_and_values(backend, sql, [now.into(), (now + 2 * micros(TERM)).into()])
}

/// Changes the counts of a job, if it is still held. Locks its row.
pub(super) async fn count(
    txn: &DatabaseTransaction,
    run: IngestionRun,
    change: &'static str,
) -> Result<bool, Error> {
    let sql = format!(
        "UPDATE ingestion_jobs SET revision = revision + 1{change} \
         WHERE id = $1 AND holder = $2 AND state = 'running'"
    );
    let values: [Value; 2] = [run.job.0.into(), run.holder.into()];
    let counted = txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values));
    Ok(counted.await?.rows_affected() > 0)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}
