//! Opening the database and bringing its schema up to date.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, TransactionTrait,
    sqlx::{
        Connection, PgConnection, SqliteConnection,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Config, pools::Pool};
use crate::error::Error;

/// Any number that no other program of ours uses: it names the lock around migrations.
const MIGRATION_LOCK: i64 = 0x5379_6674_4d69_6772;

/// The connections, and the file that serialises the migrations of processes that share a SQLite file.
pub(super) async fn connect(config: &Config) -> Result<(Pool, Option<PathBuf>), Error> {
    if config.url.starts_with("sqlite:") {
        return connect_sqlite(config).await;
    }
    if !config.url.starts_with("postgres:") && !config.url.starts_with("postgresql:") {
        let refused = "the database URL must begin with sqlite: or postgres:";
        return Err(Error::StoreUnavailable(refused.into()));
    }
    let name = format!("syft-endpoints {}", Uuid::now_v7().simple());
    let pool = Database::connect(postgres_options(config, name.clone())).await?;
    Ok((Pool::new(name, patience(config), pool), None))
}

/// How long an answer may take before its absence is a sign: longer than the wait for a connection.
fn patience(config: &Config) -> Duration {
    Duration::from_millis(config.acquire_timeout_ms) + Duration::from_secs(2)
}

fn postgres_options(config: &Config, name: String) -> ConnectOptions {
    let mut options = options(config, config.max_connections);
    options.statement_timeout(Duration::from_secs(30));
    // After a restart of the server every idle connection is dead.
    options.test_before_acquire_if_idle_for(Duration::from_secs(1));
    options.map_sqlx_postgres_opts(move |options| {
        // A transaction whose client has gone silent ends, and with it its locks; those who wait for
        // them stop waiting before their own callers do.
        let limits = [("idle_in_transaction_session_timeout", "5s"), ("lock_timeout", "4s")];
        options.options(limits).application_name(&name)
    });
    options.map_sqlx_postgres_pool_opts(|options| {
        options.after_release(|connection, _| Box::pin(async move { Ok(is_quiet(connection).await) }))
    });
    options
}

/// Whether a connection has nothing to say any more, after a moment's patience. One that was dropped in
/// the middle of a statement has, and may never say it: sqlx would wait for ever before it lets anybody
/// have it, or its place. Costs nothing for the others: no word is sent.
async fn is_quiet(connection: &mut PgConnection) -> bool {
    matches!(timeout(Duration::from_secs(2), connection.flush()).await, Ok(Ok(())))
}

async fn connect_sqlite(config: &Config) -> Result<(Pool, Option<PathBuf>), Error> {
    let path = config.url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split('?').next().unwrap_or_default().to_owned();
    if path == ":memory:" {
        // Every connection to `:memory:` is a database of its own: one serves for everything.
        let only = Database::connect(sqlite_options(config, 1, true)).await?;
        return Ok((Pool::new(path, patience(config), only), None));
    }
    let lock_file = PathBuf::from(format!("{path}.lock"));
    // The switch to WAL does not wait for other processes, whatever the busy timeout says.
    let alone = lock(lock_file.clone()).await?;
    let write = Database::connect(sqlite_options(config, 1, false)).await?;
    let read = Database::connect(sqlite_options(config, config.max_connections.min(8), false)).await?;
    drop(alone);
    Ok((Pool::new(path, patience(config), read).with_writer(write), Some(lock_file)))
}

fn sqlite_options(config: &Config, connections: u32, in_memory: bool) -> ConnectOptions {
    let mut options = options(config, connections);
    options.min_connections(1);
    options.test_before_acquire_if_idle_for(Duration::from_secs(30));
    options.map_sqlx_sqlite_opts(move |options| {
        let options = options
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // What was acknowledged survives a power cut, not only a crash.
            .synchronous(SqliteSynchronous::Full);
        if in_memory { options } else { options.journal_mode(SqliteJournalMode::Wal) }
    });
    // Nothing is gained by closing a file, and what is in memory would be lost. Nor does sqlx then look for idle
    // connections: its count of them can be below zero for a moment, and whoever reads it then counts for ever.
    options.idle_timeout(None).max_lifetime(None);
    if !in_memory {
        options.map_sqlx_sqlite_pool_opts(|options| {
            options.after_release(|connection, _| Box::pin(async move { Ok(!is_astray(connection).await) }))
        });
    }
    options
}

/// Whether a connection takes itself to be in a transaction that nobody has any more. SQLite ends a
/// transaction by itself when the disk is full; sqlx goes on counting it, and would take the commit of
/// the next for the release of a savepoint, which commits nothing.
async fn is_astray(connection: &mut SqliteConnection) -> bool {
    // A rollback may be on its way; the ping arrives behind it.
    connection.is_in_transaction() && (connection.ping().await.is_err() || connection.is_in_transaction())
}

fn options(config: &Config, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(&config.url);
    options
        .max_connections(connections.max(1))
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .sqlx_logging(false);
    options
}

/// Runs the migrations under a lock that every process of the space takes: sea-orm has none, and
/// processes that start together on an empty database would fail on each other's tables.
pub(super) async fn migrate(write: &DatabaseConnection, lock_file: Option<&Path>) -> Result<(), Error> {
    if write.get_database_backend() == DbBackend::Postgres {
        // The lock belongs to this transaction's connection; the migrations run on others.
        let holder = write.begin().await?;
        let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
        holder
            .execute_unprepared(
                "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                 SET LOCAL idle_in_transaction_session_timeout = 0",
            )
            .await?;
        holder.execute_unprepared(&lock).await?;
        Migrator::up(write, None).await?;
        holder.commit().await?;
        return Ok(());
    }
    let lock = match lock_file {
        Some(path) => Some(lock(path.to_owned()).await?),
        None => None,
    };
    Migrator::up(write, None).await?;
    drop(lock);
    Ok(())
}

/// The operating system releases the lock with the file, however the process ends.
async fn lock(path: PathBuf) -> Result<File, Error> {
    let lock = tokio::task::spawn_blocking(move || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    });
    let locked = lock.await.map_err(Error::internal)?;
    locked.map_err(|error| Error::StoreUnavailable(error.into()))
}
