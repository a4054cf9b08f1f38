//! Watches the connections to a Postgres server and replaces those that have died. SQLite has nobody
//! at the other end who could fall silent.

use std::time::Duration;

use sea_orm::DbBackend;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Store;

const INTERVAL: Duration = Duration::from_millis(500);
/// How long a look takes at most.
const LOOK: Duration = Duration::from_secs(3);

/// Watches until `shutdown`.
pub(super) async fn run(store: &Store, shutdown: CancellationToken) {
    if store.backend() != DbBackend::Postgres {
        return;
    }
    while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        shutdown.run_until_cancelled(look(store)).await;
    }
}

async fn look(store: &Store) {
    match timeout(LOOK, store.inner.pools.replace_dead()).await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(dead))) => {
            tracing::warn!("connections to the database have fallen silent; there are new ones");
            let closing = store.inner.closing.clone();
            store.inner.tasks.spawn(async move { closing.run_until_cancelled(dead.close()).await });
        }
        // Whoever asks the database meets the same error and says so.
        Ok(Err(error)) => tracing::debug!(cause = error.cause(), "the database cannot be reached"),
        Err(_) => tracing::debug!("the database does not answer a new connection"),
    }
}
