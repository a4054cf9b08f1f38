//! What must be swept now and then, by one replica.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Store, database_micros};
use crate::error::Error;

const JOB: &str = "upkeep";
const TERM: Duration = Duration::from_secs(180);
/// Older than any window: such a counter says nothing any more.
const STALE: Duration = Duration::from_secs(2 * 3600);

/// Charges that are deleted in one transaction, and transactions in one sweep.
const BATCH: u64 = 1_000;
const BATCHES: usize = 20;

/// Sweeps while this replica holds the lease, until `shutdown`, and gives the lease up then.
pub(super) async fn run(store: &Store, shutdown: CancellationToken) {
    let holder = Uuid::now_v7();
    while !shutdown.is_cancelled() {
        if let Err(error) = sweep(store, holder).await {
            tracing::warn!(cause = error.cause(), "upkeep failed");
        }
        shutdown.run_until_cancelled(tokio::time::sleep(TERM / 3)).await;
    }
    if let Err(error) = store.release_lease(JOB, holder).await {
        tracing::debug!(cause = error.cause(), "a lease was not given up");
    }
}

async fn sweep(store: &Store, holder: Uuid) -> Result<(), Error> {
    if store.acquire_lease(JOB, holder, TERM).await?.is_none() {
        return Ok(());
    }
    store.forget_stale_rates(STALE).await?;
    store.sweep_tokens().await?;
    store.forget_stale_leases(STALE).await?;
    store.forget_stale_repeats().await?;
    forget_charges(store).await?;
    store.forget_marketplaces().await.map(|_| ())
}

/// What is left is for the next sweep.
async fn forget_charges(store: &Store) -> Result<(), Error> {
    let Some(age) = store.charges_kept() else { return Ok(()) };
    for _ in 0..BATCHES {
        if store.forget_charges(age, BATCH).await? < BATCH {
            break;
        }
    }
    Ok(())
}

impl Store {
    /// How long closed charges are kept; `None` for ever.
    fn charges_kept(&self) -> Option<Duration> {
        let days = self.inner.config.charges_kept_days;
        (days > 0).then(|| Duration::from_secs(24 * 3600) * days)
    }

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
}
