//! The database: SQLite or Postgres, chosen by URL. There is no other state on disk that is not
//! derived from it.
//!
//! No transaction is ever awaited in a future that a client can drop: on Postgres, sqlx returns a
//! connection whose `BEGIN` was dropped to the pool inside an open transaction, and the next
//! borrower's acknowledged write is rolled back with it. Every write therefore runs on a tracked task
//! of its own, which [`Store::write`] and [`Store::change`] start and await.

mod api_keys;
mod attachments;
mod bulk;
mod charges;
mod connect;
mod documents;
mod embeddings;
mod endpoints;
mod entities;
mod fault;
mod feed;
mod ingestions;
mod leases;
mod listings;
mod marketplaces;
mod plans;
mod policies;
mod pools;
mod rates;
mod records;
mod repeats;
mod seal;
mod tenants;
mod tokens;
mod upkeep;
mod usage;
mod watchdog;
mod write;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use charges::{Decision, NewCharge, OpenCharge, Settled};
pub use documents::{NewDocument, VersionedDocument};
pub use embeddings::{Embedding, LateEmbedding};
pub use feed::Feed;
pub use ingestions::{FilePlace, INGESTION_TERM, IngestionRun, NewIngestion, StoredFile};
pub use leases::Lease;
pub use listings::{CLAIM, Told};
pub use plans::StoredPlan;
pub use policies::Beside;
pub use pools::PoolStatus;
pub use rates::{Admission, RateCounters, Slot, Window};
pub use records::{Config as RecordsConfig, Recorder};
pub use repeats::{Claim, Ending, RepeatKey, Repeats};
pub use seal::{BadKey, SecretBox};
pub use tokens::{Allowance, Amount, Cap, Frame, Grant, Hold, Period, Shortage, TokenCounters, Unit};
pub use usage::RecordKey;

use crate::error::Error;

/// Where the database is and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `sqlite:///path/to/file`, `sqlite::memory:` or `postgres://…`. Empty: `syft.db` in the data folder.
    pub url: String,
    /// Connections to Postgres, or readers of SQLite.
    pub max_connections: u32,
    /// How long a query waits for a connection, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// How often other replicas' changes are looked for, in milliseconds.
    pub poll_interval_ms: u64,
    /// How long closed charges are kept, in days. 0 keeps them for ever.
    pub charges_kept_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            max_connections: 16,
            acquire_timeout_ms: 2_000,
            poll_interval_ms: 500,
            charges_kept_days: 400,
        }
    }
}

/// The fields of a configuration that are sealed.
type Secrets = &'static [&'static str];

/// How long the database is waited for.
const LIMIT: Duration = Duration::from_secs(15);

/// The database. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pools: pools::Pools,
    secrets: SecretBox,
    feed: Feed,
    tasks: TaskTracker,
    /// One for each write that runs or waits.
    places: Arc<Semaphore>,
    /// One for each that running queries make for themselves.
    turns: Semaphore,
    records_lost: Arc<AtomicU64>,
    charges_lost: AtomicU64,
    /// One for each sum over records that is being made.
    summaries: Arc<Semaphore>,
    /// A listing may have become due.
    outbox: Notify,
    /// A job that reads files may have been started or stopped.
    ingestions: Notify,
    /// Ends the writers that serve a queue, once their queues are empty.
    closing: CancellationToken,
    config: Config,
    /// Serialises migrations of processes that share a SQLite file.
    lock_file: Option<PathBuf>,
}

impl Store {
    /// Connects, without migrating. Nothing is read yet.
    ///
    /// # Errors
    /// `StoreUnavailable` when the database cannot be reached or the URL is neither SQLite's nor
    /// Postgres'.
    pub async fn connect(config: Config, secrets: SecretBox) -> Result<Self, Error> {
        let (pool, lock_file) = connect::connect(&config).await?;
        let inner = Inner {
            pools: pools::Pools::new(config.clone(), pool),
            secrets,
            feed: Feed::default(),
            tasks: TaskTracker::new(),
            places: Arc::new(Semaphore::new(write::PLACES)),
            turns: Semaphore::new(write::TURNS),
            records_lost: Arc::default(),
            charges_lost: AtomicU64::default(),
            summaries: Arc::new(Semaphore::new(usage::SUMMARIES)),
            outbox: Notify::new(),
            ingestions: Notify::new(),
            closing: CancellationToken::new(),
            config,
            lock_file,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Brings the schema up to date. Safe when any number of processes do so at once.
    ///
    /// # Errors
    /// `StoreUnavailable`, with the migration's own error as the cause.
    pub async fn migrate(&self) -> Result<(), Error> {
        connect::migrate(self.inner.pools.current().writer(), self.inner.lock_file.as_deref()).await
    }

    /// Follows what other replicas change, keeps the tables swept and replaces dead connections, until
    /// `shutdown`. Started once, after the migrations.
    pub fn follow(&self, records: RecordsConfig, shutdown: CancellationToken) {
        let (store, token) = (self.clone(), shutdown.clone());
        self.inner.tasks.spawn(async move { feed::follow(&store, token).await });
        let (store, token) = (self.clone(), shutdown.clone());
        self.inner.tasks.spawn(async move { watchdog::run(&store, token).await });
        let store = self.clone();
        self.inner.tasks.spawn(async move { upkeep::run(&store, &records, shutdown).await });
    }

    /// What has changed, for caches.
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn ping(&self) -> Result<(), Error> {
        self.reader().execute_raw(self.statement("SELECT 1", [])).await?;
        Ok(())
    }

    /// Takes no more records and counts, waits for every write that has begun, then closes the
    /// connections.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.pools.current().close().await;
    }

    /// Connections that exist now.
    pub fn pool_status(&self) -> PoolStatus {
        self.inner.pools.current().status()
    }

    /// How often dead connections have been replaced.
    pub fn pool_rebuilds(&self) -> u64 {
        self.inner.pools.rebuilds()
    }

    /// Writes that run or wait for a connection.
    pub fn writes_in_flight(&self) -> usize {
        write::PLACES - self.inner.places.available_permits()
    }

    /// How many query records could not be kept.
    pub fn records_lost(&self) -> u64 {
        self.inner.records_lost.load(Ordering::Relaxed)
    }

    fn reader(&self) -> &impl ConnectionTrait {
        &self.inner.pools
    }

    fn backend(&self) -> DbBackend {
        self.inner.pools.get_database_backend()
    }

    /// Seals a text that a client carries for us, such as the token of a page.
    ///
    /// # Errors
    /// `Internal` when the cipher fails.
    pub fn seal_token(&self, context: &str, text: &str) -> Result<String, Error> {
        self.secrets().seal_text(context, text)
    }

    /// Opens what [`Store::seal_token`] sealed for the same context; `None` for anything else.
    pub fn open_token(&self, context: &str, sealed: &str) -> Option<String> {
        self.secrets().open_text(context, sealed)
    }

    /// Takes what has queued up, `limit` at most; nothing only once the store is closing and the queue
    /// is empty.
    async fn next_batch<T>(&self, inbox: &mut mpsc::Receiver<T>, limit: usize) -> Vec<T> {
        let mut batch = Vec::with_capacity(limit);
        let waited = self.inner.closing.run_until_cancelled(inbox.recv_many(&mut batch, limit)).await;
        if waited.is_none() && batch.is_empty() {
            inbox.close();
            inbox.recv_many(&mut batch, limit).await;
        }
        batch
    }

    fn secrets(&self) -> &SecretBox {
        &self.inner.secrets
    }

    fn statement<const N: usize>(&self, sql: &str, values: [sea_orm::Value; N]) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.inner.config.poll_interval_ms)
    }
}

/// Now, as both databases can keep it: SQLite would keep nanoseconds, Postgres drops them.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
}

/// Microseconds since 1970 on the database's clock, which all replicas share.
async fn database_micros(txn: &impl ConnectionTrait) -> Result<i64, Error> {
    let backend = txn.get_database_backend();
    let sql = format!("SELECT {} AS micros", clock(backend));
    let row = txn.query_one_raw(Statement::from_string(backend, sql)).await?;
    let row = row.ok_or_else(|| Error::internal("the database has no clock"))?;
    Ok(row.try_get("", "micros")?)
}

/// The same inside a statement.
fn clock(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        _ => "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)",
    }
}
