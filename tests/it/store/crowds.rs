//! However many write, the queue is bounded and the refusal immediate.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use syft_endpoints::error::Error;
use tokio::time::Instant;

use crate::support::{
    database::{Database, endpoint, root},
    eventually, on_both,
};

on_both! {
    async fn a_write_too_many_is_refused_at_once(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let raw = database.raw().await;
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let lock = raw.begin_with_options(options).await.unwrap();
        if lock.get_database_backend() == DbBackend::Postgres {
            lock.execute_unprepared("LOCK TABLE endpoints IN EXCLUSIVE MODE").await.unwrap();
        }
        let writing = (0..300).map(|n| {
            let store = store.clone();
            async move {
                let asked = Instant::now();
                (store.create_endpoint(tenant, endpoint(&format!("crowd-{n}"))).await, asked.elapsed())
            }
        });
        let ended = futures_util::future::join_all(writing).await;
        let failed = ended.iter().filter(|(end, _)| matches!(end, Err(Error::StoreUnavailable(_)))).count();
        assert_eq!(failed, 300);
        let refused = ended.iter().filter(|(_, waited)| *waited < Duration::from_secs(1)).count();
        assert!((44..100).contains(&refused), "{refused}");
        lock.rollback().await.unwrap();
        eventually("every write has ended", async || store.writes_in_flight() == 0).await;
        store.create_endpoint(tenant, endpoint("after")).await.unwrap();
    }
}
