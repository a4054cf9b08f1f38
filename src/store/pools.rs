//! The connections, and how those that have died are replaced.
//!
//! A server can fall silent without closing its sockets: a network that swallows packets, a backend
//! that is stopped. Every connection then waits for an answer, and sqlx's pool counts them as in use
//! for ever. So what runs here is watched; [`Pools::rebuild`] puts new connections in the place of dead
//! ones. A read that waits at that moment is asked again on the new ones.

use std::{
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Config, LIMIT, connect};
use crate::error::Error;

/// How long a commit on dead connections is waited for. Nobody knows then whether it happened.
const COMMIT_GRACE: Duration = Duration::from_secs(5);
/// How long the end of connections is waited for. What still hangs then ends with its socket.
const CLOSING: Duration = Duration::from_secs(10);

/// The connections in use now. Reads go through it; a write takes them from [`Pools::current`].
pub(super) struct Pools {
    current: RwLock<Arc<Pool>>,
    rebuilds: AtomicU64,
    config: Config,
}

/// Connections that live and die together.
pub(super) struct Pool {
    read: DatabaseConnection,
    /// On SQLite a pool of one: writers queue here instead of failing on the file's lock. `None` when
    /// there is one pool for everything.
    write: Option<DatabaseConnection>,
    /// Others have taken their place.
    replaced: CancellationToken,
    signs: Signs,
}

/// What tells dead connections from busy ones.
struct Signs {
    /// How long an answer may take before its absence is a sign: longer than the wait for a connection.
    patience: Duration,
    begun: Instant,
    /// When something was answered last, in milliseconds after `begun`.
    answered: AtomicU64,
    /// When a wait for a connection was given up last; 0 for never.
    gave_up: AtomicU64,
    /// Those who have waited beyond patience.
    silent: TaskTracker,
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    pub idle: usize,
    pub used: usize,
}

impl Pools {
    pub(super) fn new(config: Config, pool: Pool) -> Self {
        Self { current: RwLock::new(Arc::new(pool)), rebuilds: AtomicU64::new(0), config }
    }

    pub(super) fn current(&self) -> Arc<Pool> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// Connects anew and lets everybody use the new connections. Returns the old ones, to be closed.
    ///
    /// # Errors
    /// `StoreUnavailable`: the database itself is down. Nothing is replaced then.
    pub(super) async fn rebuild(&self) -> Result<Arc<Pool>, Error> {
        let mut new = Arc::new(connect::connect(&self.config).await?.0);
        std::mem::swap(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), &mut new);
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        new.retire();
        Ok(new)
    }

    /// Asks the database what may be asked twice.
    async fn ask<T, F>(&self, ask: impl Fn(Arc<Pool>) -> F + Send) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>> + Send,
    {
        let answered = async {
            loop {
                let pool = self.current();
                tokio::select! {
                    answer = pool.watch(ask(Arc::clone(&pool))) => {
                        pool.hear(&answer);
                        if answer.is_ok() || !pool.replaced.is_cancelled() {
                            return answer;
                        }
                    }
                    () = pool.replaced() => {}
                }
            }
        };
        let silence = |_| Err(DbErr::Custom("the database does not answer".to_owned()));
        timeout(LIMIT, answered).await.unwrap_or_else(silence)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Pools {
    fn get_database_backend(&self) -> DbBackend {
        self.current().read.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.ask(|pool| {
            let statement = statement.clone();
            async move { pool.read.execute_raw(statement).await }
        })
        .await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.ask(|pool| async move { pool.read.execute_unprepared(sql).await }).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.ask(|pool| {
            let statement = statement.clone();
            async move { pool.read.query_one_raw(statement).await }
        })
        .await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(|pool| {
            let statement = statement.clone();
            async move { pool.read.query_all_raw(statement).await }
        })
        .await
    }
}

impl Pool {
    pub(super) fn new(config: &Config, read: DatabaseConnection, write: Option<DatabaseConnection>) -> Self {
        let signs = Signs {
            patience: Duration::from_millis(config.acquire_timeout_ms) + Duration::from_secs(2),
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            silent: TaskTracker::new(),
        };
        Self { read, write, replaced: CancellationToken::new(), signs }
    }

    pub(super) fn writer(&self) -> &DatabaseConnection {
        self.write.as_ref().unwrap_or(&self.read)
    }

    /// Lets `run` run, and counts it as silent once it has taken too long.
    pub(super) async fn watch<T>(&self, run: impl Future<Output = T>) -> T {
        let mut run = pin!(run);
        if let Ok(done) = timeout(self.signs.patience, &mut run).await {
            return done;
        }
        let _counted = self.signs.silent.token();
        run.await
    }

    /// Takes an answer, or a wait for a connection that was given up, as a sign.
    pub(super) fn hear<T>(&self, answer: &Result<T, DbErr>) {
        let sign = match answer {
            Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) => &self.signs.gave_up,
            _ => &self.signs.answered,
        };
        sign.store(self.signs.now(), Ordering::Relaxed);
    }

    /// Whether these connections are dead rather than busy: two signs of three. One sign alone is what
    /// a slow statement, a crowd of callers or nobody at all look like.
    pub(super) fn is_dead(&self) -> bool {
        let (now, patience) = (self.signs.now(), millis(self.signs.patience));
        let since = |moment: &AtomicU64| now.saturating_sub(moment.load(Ordering::Relaxed));
        let signs = [
            !self.signs.silent.is_empty(),
            self.signs.gave_up.load(Ordering::Relaxed) > 0 && since(&self.signs.gave_up) < patience,
            since(&self.signs.answered) >= patience,
        ];
        signs.into_iter().filter(|sign| *sign).count() >= 2
    }

    /// Returns when others have taken the place of these connections.
    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// Returns when not even a commit on these connections is waited for any longer.
    pub(super) async fn given_up(&self) {
        self.replaced.cancelled().await;
        tokio::time::sleep(COMMIT_GRACE).await;
    }

    /// What comes back from now on is closed. Only then is it dropped in the middle of a transaction: a
    /// connection that was kept could be inside that transaction still.
    fn retire(&self) {
        for pool in self.pools() {
            let _marked = pool.close_by_ref().now_or_never();
        }
        self.replaced.cancel();
    }

    /// Closes the connections that are idle, and the others as they come back.
    pub(super) async fn close(&self) {
        for pool in self.pools() {
            if timeout(CLOSING, pool.close_by_ref()).await.is_err() {
                tracing::warn!("a database connection does not close");
            }
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let sizes = self.pools().map(|pool| match pool.get_database_backend() {
            DbBackend::Postgres => {
                let pool = pool.get_postgres_connection_pool();
                (pool.size() as usize, pool.num_idle())
            }
            _ => {
                let pool = pool.get_sqlite_connection_pool();
                (pool.size() as usize, pool.num_idle())
            }
        });
        let (all, idle) = sizes.fold((0, 0), |(all, idle), (a, i)| (all + a, idle + i));
        PoolStatus { idle, used: all.saturating_sub(idle) }
    }

    fn pools(&self) -> impl Iterator<Item = &DatabaseConnection> {
        std::iter::once(&self.read).chain(&self.write)
    }
}

impl Signs {
    fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
