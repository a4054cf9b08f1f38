//! What tests share: databases, a running space, scripted upstreams, a pipeline without a database.

pub mod bank;
pub mod certificates;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod database;
pub mod embedder;
pub mod engines;
pub mod hub;
pub mod peer;
pub mod process;
pub mod raw_http;
pub mod rest;
pub mod rig;
pub mod space;
pub mod tenants;
pub mod upstream;

/// Runs an async test on SQLite and on Postgres.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($database:ident: $type:ident) $body:block)+) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn test($database: $type) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                test(crate::support::database::Database::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                test(crate::support::database::Database::postgres().await).await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// Waits for something that another task brings about; fails after ten seconds.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    eventually_within(std::time::Duration::from_secs(10), what, holds).await;
}

/// As [`eventually`], for what takes longer.
pub async fn eventually_within(limit: std::time::Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polled = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(limit, polled).await.is_ok(), "never: {what}");
}
