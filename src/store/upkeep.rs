//! What must be swept now and then, by one replica.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{RecordsConfig, Store, database_micros};
use crate::error::Error;

const JOB: &str = "upkeep";
const TERM: Duration = Duration::from_secs(180);
/// Older than any window: such a counter says nothing any more.
const STALE: Duration = Duration::from_secs(2 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long jobs that have ended are listed. What they have stored stays.
const INGESTIONS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Rows that one transaction deletes at most: others wait for it.
const BATCH: u64 = 1_000;
/// Transactions of one sweep that delete rows of one table: what is left waits for the next one.
const BATCHES: u32 = 100;

/// Sweeps while this replica holds the lease, until `shutdown`, and gives the lease up then.
pub(super) async fn run(store: &Store, records: &RecordsConfig, shutdown: CancellationToken) {
    let holder = Uuid::now_v7();
    while !shutdown.is_cancelled() {
        if let Err(error) = sweep(store, records, holder, &shutdown).await {
            tracing::warn!(cause = error.cause(), "upkeep failed");
        }
        shutdown.run_until_cancelled(tokio::time::sleep(TERM / 3)).await;
    }
    if let Err(error) = store.release_lease(JOB, holder).await {
        tracing::debug!(cause = error.cause(), "a lease was not given up");
    }
}

async fn sweep(
    store: &Store,
    records: &RecordsConfig,
    holder: Uuid,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    if store.acquire_lease(JOB, holder, TERM).await?.is_none() {
        return Ok(());
    }
    store.forget_stale_rates(STALE).await?;
    store.sweep_tokens().await?;
    store.forget_stale_leases(STALE).await?;
    in_batches(shutdown, || store.forget_stale_repeats(BATCH)).await?;
    if let Some(age) = kept(store.inner.config.charges_kept_days) {
        in_batches(shutdown, || store.forget_charges(age, BATCH)).await?;
    }
    in_batches(shutdown, || store.forget_ingestions(INGESTIONS_KEPT, BATCH)).await?;
    store.forget_marketplaces().await?;
    store.forget_old_records(records, shutdown).await.map(|_| ())
}

/// How long that is; `None` for ever.
fn kept(days: u32) -> Option<Duration> {
    (days > 0).then(|| DAY * days)
}

/// Deletes a batch at a time, until nothing is left or `shutdown`. Says how many there were; after many batches
/// some may be left.
async fn in_batches<F: Future<Output = Result<u64, Error>>>(
    shutdown: &CancellationToken,
    forget: impl Fn() -> F,
) -> Result<u64, Error> {
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        if shutdown.is_cancelled() {
            break;
        }
        let batch = forget().await?;
        forgotten += batch;
        if batch < BATCH {
            break;
        }
    }
    Ok(forgotten)
}

impl Store {
    /// Deletes the counters of callers who have not asked for `age`.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_stale_rates(&self, age: Duration) -> Result<(), Error> {
        let backend = self.backend();
        let age = i64::try_from(age.as_micros()).map_err(Error::internal)?;
        self.write(move |txn| {
            Box::pin(async move {
                let before = database_micros(txn).await? - age;
                for sql in [
                    // Locks the counters as an admission does: one that comes meanwhile waits, and counts anew.
                    "UPDATE rate_counters SET last_at = last_at WHERE last_at < $1",
                    "DELETE FROM rate_slots WHERE EXISTS (SELECT 1 FROM rate_counters c WHERE c.last_at < $1 \
                     AND c.policy_id = rate_slots.policy_id AND c.key = rate_slots.key)",
                    "DELETE FROM rate_counters WHERE last_at < $1",
                ] {
                    txn.execute_raw(sea_orm::Statement::from_sql_and_values(backend, sql, [before.into()]))
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Deletes leases that ran out `age` ago: replicas come and go.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_stale_leases(&self, age: Duration) -> Result<(), Error> {
        let backend = self.backend();
        let age = i64::try_from(age.as_micros()).map_err(Error::internal)?;
        self.write(move |txn| {
            Box::pin(async move {
                let before = database_micros(txn).await? - age;
                let sql = "DELETE FROM leases WHERE expires_at < $1";
                txn.execute_raw(sea_orm::Statement::from_sql_and_values(backend, sql, [before.into()]))
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Deletes the records that the configuration keeps no longer, a batch at a time, until `shutdown`. Says how
    /// many; after many batches some may be left.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_old_records(
        &self,
        records: &RecordsConfig,
        shutdown: &CancellationToken,
    ) -> Result<u64, Error> {
        let Some(age) = kept(records.keep_days) else { return Ok(0) };
        in_batches(shutdown, || self.forget_records(age, BATCH)).await
    }

    /// Deletes up to `limit` records of queries that began more than `age` ago, on the database's clock, the
    /// oldest first. Says how many there were.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_records(&self, age: Duration, limit: u64) -> Result<u64, Error> {
        let backend = self.backend();
        let age = i64::try_from(age.as_millis()).map_err(Error::internal)?;
        self.write(move |txn| {
            Box::pin(async move {
                let before = Uuid::from_u128(first_of(database_micros(txn).await? / 1_000 - age));
                // Ids are in the order of time, whatever the tenant, and have an index already.
                let sql = "DELETE FROM query_records WHERE id IN \
                           (SELECT id FROM query_records WHERE id < $1 ORDER BY id LIMIT $2)";
                let values = [before.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
                let done =
                    txn.execute_raw(sea_orm::Statement::from_sql_and_values(backend, sql, values)).await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

/// The first id of a millisecond since 1970: a UUIDv7 begins with 48 bits of them.
fn first_of(millis: i64) -> u128 {
    u128::from(u64::try_from(millis).unwrap_or_default()) << 80
}
