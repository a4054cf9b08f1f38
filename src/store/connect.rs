//! Opening the database and bringing its schema up to date.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, TransactionTrait,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};

use super::Config;
use crate::error::Error;

/// Any number that no other program of ours uses: it names the lock around migrations.
const MIGRATION_LOCK: i64 = 0x5379_6674_4d69_6772;

pub(super) struct Connected {
    pub(super) read: DatabaseConnection,
    pub(super) write: DatabaseConnection,
    pub(super) lock_file: Option<PathBuf>,
}

pub(super) async fn connect(config: &Config) -> Result<Connected, Error> {
    if config.url.starts_with("sqlite:") {
        return connect_sqlite(config).await;
    }
    if !config.url.starts_with("postgres:") && !config.url.starts_with("postgresql:") {
        let refused = "the database URL must begin with sqlite: or postgres:";
        return Err(Error::StoreUnavailable(refused.into()));
    }
    let mut options = options(config, config.max_connections);
    options.statement_timeout(Duration::from_secs(30));
    options.map_sqlx_postgres_opts(|options| {
        options.options([("idle_in_transaction_session_timeout", "10s")]).application_name("syft-endpoints")
    });
    let pool = Database::connect(options).await?;
    Ok(Connected { read: pool.clone(), write: pool, lock_file: None })
}

async fn connect_sqlite(config: &Config) -> Result<Connected, Error> {
    let path = config.url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split('?').next().unwrap_or_default().to_owned();
    if path == ":memory:" {
        // Every connection to `:memory:` is a database of its own: one serves for everything.
        let only = Database::connect(sqlite_options(config, 1, true)).await?;
        return Ok(Connected { read: only.clone(), write: only, lock_file: None });
    }
    let lock_file = PathBuf::from(format!("{path}.lock"));
    // The switch to WAL does not wait for other processes, whatever the busy timeout says.
    let alone = lock(lock_file.clone()).await?;
    let write = Database::connect(sqlite_options(config, 1, false)).await?;
    let read = Database::connect(sqlite_options(config, config.max_connections.min(8), false)).await?;
    drop(alone);
    Ok(Connected { read, write, lock_file: Some(lock_file) })
}

fn sqlite_options(config: &Config, connections: u32, in_memory: bool) -> ConnectOptions {
    let mut options = options(config, connections);
    options.min_connections(1);
    options.map_sqlx_sqlite_opts(move |options| {
        let options = options
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // What was acknowledged survives a power cut, not only a crash.
            .synchronous(SqliteSynchronous::Full);
        if in_memory { options } else { options.journal_mode(SqliteJournalMode::Wal) }
    });
    if in_memory {
        options.idle_timeout(None).max_lifetime(None);
    }
    options
}

fn options(config: &Config, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(&config.url);
    options
        .max_connections(connections.max(1))
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .test_before_acquire_if_idle_for(Duration::from_secs(30))
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
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
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
