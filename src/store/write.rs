//! Writes: transactions that no caller can cancel, tried again when they lose a race.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures_util::future::BoxFuture;
use sea_orm::{DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::time::{Instant, timeout};

use super::{LIMIT, Store, fault, feed, pools::Pool};
use crate::error::Error;

/// Writes that run or wait for a connection at most. Beyond it they are refused at once.
pub(super) const PLACES: usize = 256;
/// Of these, writes that running queries make for themselves, at most. Beyond it they wait for their turn.
pub(super) const TURNS: usize = 64;
/// How often a write is repeated that lost a race.
const REPEATS: usize = 3;

/// What runs inside a transaction. A clone of it runs when the transaction has to be repeated, so what
/// is big is behind an `Arc`.
pub(super) trait Work<T>:
    for<'t> FnOnce(&'t DatabaseTransaction) -> BoxFuture<'t, Result<T, Error>> + Clone + Send + 'static
{
}

impl<T, F> Work<T> for F where
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> BoxFuture<'t, Result<T, Error>> + Clone + Send + 'static
{
}

impl Store {
    /// Runs `work` in a transaction, on a task that no caller can cancel. A transaction that lost a race
    /// with another is repeated.
    ///
    /// # Errors
    /// What `work` says, and `StoreUnavailable`: with too many writes at once, after [`LIMIT`], which it
    /// may still be committed after, and when it cannot be committed.
    pub(super) async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, Error> {
        let place = self.inner.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Error::StoreUnavailable("too many writes wait".into()))?;
        let store = self.clone();
        let task = self.inner.tasks.spawn(async move {
            let written = store.repeat(work).await;
            drop(place);
            written
        });
        match timeout(LIMIT, task).await {
            Ok(done) => done.map_err(Error::internal)?,
            // The task goes on: a transaction must not be dropped.
            Err(_) => Err(Error::StoreUnavailable("a write takes too long".into())),
        }
    }

    /// As [`Store::write`], for what every running query writes for itself: there may be more of them than
    /// places, and none of them is to fail for that. Waits [`LIMIT`] at most for its turn.
    pub(super) async fn write_in_turn<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, Error> {
        let late = |_| Error::StoreUnavailable("too many writes wait".into());
        let turn = timeout(LIMIT, self.inner.turns.acquire()).await.map_err(late)?;
        let _turn = turn.map_err(Error::internal)?;
        self.write(work).await
    }

    /// As [`Store::write`], for what plans and keys are made of: every replica drops what it cached
    /// once the transaction is committed, this one before the call returns.
    pub(super) async fn change<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, Error> {
        let backend = self.backend();
        let announced = self.write(move |txn| {
            Box::pin(async move {
                let done = work(txn).await?;
                Ok((done, feed::announce(txn, backend, feed::CATALOG).await?))
            })
        });
        let (done, revision) = announced.await?;
        self.inner.feed.advance_catalog(revision);
        // It may concern what marketplaces list.
        self.inner.outbox.notify_one();
        Ok(done)
    }

    async fn repeat<T>(&self, work: impl Work<T>) -> Result<T, Error> {
        let begun = Instant::now();
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(20))
            .with_max_times(REPEATS);
        let attempt = move || {
            let (work, pool) = (work.clone(), self.inner.pools.current());
            async move { transact(&pool, work).await }
        };
        attempt.retry(backoff).when(|error| begun.elapsed() < LIMIT && fault::is_passing(error)).await
    }
}

/// Once. When the connections are replaced, a transaction that does not commit yet ends at once: it has
/// done nothing, and can be repeated. A commit is given a moment.
async fn transact<T>(pool: &Pool, work: impl Work<T>) -> Result<T, Error> {
    let (txn, done) = tokio::select! {
        worked = pool.watch(begin(pool, work)) => worked?,
        () = pool.replaced() => return Err(fault::replaced()),
    };
    tokio::select! {
        committed = pool.watch(txn.commit()) => {
            pool.hear(&committed);
            committed?;
        }
        () = pool.given_up() => return Err(Error::StoreUnavailable("a commit was not answered".into())),
    }
    Ok(done)
}

async fn begin<T>(pool: &Pool, work: impl Work<T>) -> Result<(DatabaseTransaction, T), Error> {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let begun: Result<_, DbErr> = pool.writer().begin_with_options(immediate).await;
    pool.hear(&begun);
    let txn = begun?;
    match work(&txn).await {
        Ok(done) => Ok((txn, done)),
        Err(error) => {
            if let Err(failed) = txn.rollback().await {
                tracing::debug!(error = %failed, "a transaction was not rolled back by hand");
            }
            Err(error)
        }
    }
}
