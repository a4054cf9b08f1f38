//! The connections, and how those that have died are replaced.
//!
//! A server can fall silent without closing its sockets: a network that swallows packets, a backend
//! that is stopped. Every connection then waits for an answer, and sqlx's pool counts them as in use
//! for ever. So what runs here is watched, and [`Pools::replace_dead`] puts new connections in the place
//! of dead ones. A read that waits at that moment is asked again on the new ones.

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
const COMMIT_GRACE: Duration = Duration::from_secs(3);
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
    /// What the server calls them.
    name: String,
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

    /// Connects anew if something looks dead, and if it is lets everybody use the new connections.
    /// Returns the old ones then, to be closed.
    ///
    /// # Errors
    /// `StoreUnavailable`: the database itself is down. Nothing is replaced then.
    pub(super) async fn replace_dead(&self) -> Result<Option<Arc<Pool>>, Error> {
        let old = self.current();
        if !old.looks_dead() {
            return Ok(None);
        }
        let new = Arc::new(connect::connect(&self.config).await?.0);
        if !old.is_dead(new.works_on(&old.name).await?) {
            new.close().await;
            return Ok(None);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        old.retire();
        Ok(Some(old))
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
    /// `patience` is longer than the wait for a connection.
    pub(super) fn new(name: String, patience: Duration, read: DatabaseConnection) -> Self {
        let signs = Signs {
            patience,
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            silent: TaskTracker::new(),
        };
        Self { name, read, write: None, replaced: CancellationToken::new(), signs }
    }

    pub(super) fn with_writer(self, write: DatabaseConnection) -> Self {
        Self { write: Some(write), ..self }
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

    /// Whether somebody waits for longer than should be. A crowd that waits for connections while others
    /// are answered is only a crowd.
    fn looks_dead(&self) -> bool {
        let gave_up = self.signs.gave_up.load(Ordering::Relaxed);
        let recently = gave_up > 0 && self.signs.since(gave_up) < self.signs.patience;
        !self.signs.silent.is_empty() || (recently && self.signs.unheard() >= self.signs.patience)
    }

    /// Whether some of these connections are dead rather than slow, given how many the server works on.
    /// A process that was stopped in the middle of a statement seems to work for ever; so when nobody at
    /// all is answered, that does not count in the end.
    fn is_dead(&self, worked_on: usize) -> bool {
        worked_on < self.signs.silent.len().max(1) || self.signs.unheard() >= 2 * self.signs.patience
    }

    /// On how many of the connections with that name the server has been working for some time.
    async fn works_on(&self, name: &str) -> Result<usize, DbErr> {
        let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = $1 \
                   AND xact_start < clock_timestamp() - interval '1.5 s' \
                   AND (state = 'active' OR state_change > clock_timestamp() - interval '1 s')";
        let ask = Statement::from_sql_and_values(DbBackend::Postgres, sql, [name.into()]);
        let row = self.read.query_one_raw(ask).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
        Ok(usize::try_from(count).unwrap_or(0))
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
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, moment: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(moment))
    }

    /// How long nothing has been answered.
    fn unheard(&self) -> Duration {
        self.since(self.answered.load(Ordering::Relaxed))
    }
}
