//! Watches the connections to a Postgres server and replaces those that have died. SQLite has nobody
//! at the other end who could fall silent.

use std::time::Duration;

use sea_orm::DbBackend;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Store;

const INTERVAL: Duration = Duration::from_millis(500);
/// How long new connections are tried for at a time.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Watches until `shutdown`.
pub(super) async fn run(store: &Store, shutdown: CancellationToken) {
    if store.backend() != DbBackend::Postgres {
        return;
    }
    while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        if store.inner.pools.current().is_dead() {
            shutdown.run_until_cancelled(replace(store)).await;
        }
    }
}

async fn replace(store: &Store) {
    match timeout(ATTEMPT, store.inner.pools.rebuild()).await {
        Ok(Ok(dead)) => {
            tracing::warn!("the connections to the database had fallen silent; there are new ones");
            let closing = store.inner.closing.clone();
            store.inner.tasks.spawn(async move { closing.run_until_cancelled(dead.close()).await });
        }
        // Whoever asks the database meets the same error and says so.
        Ok(Err(error)) => tracing::debug!(cause = error.cause(), "the database cannot be reached"),
        Err(_) => tracing::debug!("the database does not answer a new connection"),
    }
}
