//! The change feed: two counters that only grow. `catalog` grows with every write to what plans and
//! keys are made of, `documents` with every write to documents.
//!
//! A cache keeps a value under the catalog revision at which it began to load it and looks it up
//! under the current one. So a write makes every older entry unreachable at once, and a load that
//! raced with a write is filed under the revision before it.
//!
//! The counters are rows of the database. Postgres wakes the follower by NOTIFY; without it, and on
//! SQLite, the rows are read every half second. A cache that has not heard of the database for
//! [`STALE_AFTER`] must not be used: a revocation could be waiting there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, sqlx::postgres::PgListener};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Store;
use crate::error::Error;

/// How old the last word from the database may be before cached values are not used.
const STALE_AFTER: Duration = Duration::from_secs(4);
/// The row of `change_counter` that counts catalog writes.
pub(super) const CATALOG: i32 = 1;
/// The row that counts document writes.
pub(super) const DOCUMENTS: i32 = 2;
const CHANNEL: &str = "syft_changes";

/// Revisions as this process knows them. Clones share them.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    catalog: AtomicI64,
    documents: watch::Sender<i64>,
    heard: watch::Sender<Option<Instant>>,
}

impl Default for Feed {
    fn default() -> Self {
        let shared = Shared {
            catalog: AtomicI64::new(0),
            documents: watch::Sender::new(0),
            heard: watch::Sender::new(None),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Feed {
    /// The revision to look cached values up under; `None` when none may be used.
    pub fn catalog_revision(&self) -> Option<i64> {
        let fresh = self.shared.heard.borrow().is_some_and(|heard| heard.elapsed() < STALE_AFTER);
        fresh.then(|| self.shared.catalog.load(Ordering::Acquire))
    }

    /// Wakes whenever documents were written, here or elsewhere.
    pub fn documents(&self) -> watch::Receiver<i64> {
        self.shared.documents.subscribe()
    }

    pub(super) fn advance_catalog(&self, revision: i64) {
        self.shared.catalog.fetch_max(revision, Ordering::AcqRel);
    }

    pub(super) fn advance_documents(&self, revision: i64) {
        self.shared.documents.send_if_modified(|known| {
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
    }

    /// What is known is as old as the question.
    fn heard(&self, asked: Instant) {
        self.shared.heard.send_replace(Some(asked));
    }
}

/// Counts a write, inside its transaction, and wakes the other replicas when it commits.
pub(super) async fn announce(
    txn: &DatabaseTransaction,
    backend: DbBackend,
    counter: i32,
) -> Result<i64, Error> {
    let count = "INSERT INTO change_counter (id, revision) VALUES ($1, 1) ON CONFLICT (id) \
                 DO UPDATE SET revision = change_counter.revision + 1 RETURNING revision";
    let row = txn.query_one_raw(Statement::from_sql_and_values(backend, count, [counter.into()])).await?;
    let row = row.ok_or_else(|| Error::internal("the change counter is missing"))?;
    if backend == DbBackend::Postgres {
        let wake = Statement::from_sql_and_values(backend, "SELECT pg_notify($1, '')", [CHANNEL.into()]);
        txn.query_one_raw(wake).await?;
    }
    Ok(row.try_get("", "revision")?)
}

/// Keeps the feed up to date until `shutdown`.
pub(super) async fn follow(store: &Store, shutdown: CancellationToken) {
    let mut listener = None;
    loop {
        if let Err(error) = read(store).await {
            tracing::warn!(cause = error.cause(), "cannot read the change feed");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = woken(store, &mut listener) => {}
        }
    }
}

async fn read(store: &Store) -> Result<(), Error> {
    let asked = Instant::now();
    let rows =
        store.reader().query_all_raw(store.statement("SELECT id, revision FROM change_counter", [])).await?;
    for row in rows {
        let (counter, revision): (i32, i64) = (row.try_get("", "id")?, row.try_get("", "revision")?);
        match counter {
            CATALOG => store.feed().advance_catalog(revision),
            _ => store.feed().advance_documents(revision),
        }
    }
    store.feed().heard(asked);
    Ok(())
}

/// Returns when something may have changed. A listener that breaks, or whose connections have been
/// replaced, is made anew; the poll covers for it meanwhile.
async fn woken(store: &Store, listener: &mut Option<PgListener>) {
    let interval = store.poll_interval();
    if store.backend() != DbBackend::Postgres {
        return tokio::time::sleep(interval).await;
    }
    let Some(listening) = listener else {
        tokio::time::sleep(interval).await;
        *listener = timeout(STALE_AFTER, listen(store)).await.ok().flatten();
        return;
    };
    if let Ok(Err(error)) = timeout(interval, listening.recv()).await {
        tracing::warn!(%error, "the change feed's listener broke");
        *listener = None;
    }
}

async fn listen(store: &Store) -> Option<PgListener> {
    let pool = store.inner.pools.current();
    let mut listener = PgListener::connect_with(pool.writer().get_postgres_connection_pool()).await.ok()?;
    listener.listen(CHANNEL).await.ok()?;
    Some(listener)
}
