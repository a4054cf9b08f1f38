//! Migrations at start: any number of processes, one empty database.

use crate::support::{database::Database, on_both};

on_both! {
    async fn processes_that_start_together_all_start(database: Database) {
        for round in 0..2 {
            let starting = (0..3).map(|_| async {
                let store = database.connect().await;
                store.migrate().await.map_err(|error| error.cause())?;
                store.ensure_tenant("root").await.map_err(|error| error.cause())
            });
            let started = futures_util::future::join_all(starting).await;
            let ids: Vec<_> = started.iter().map(|tenant| tenant.as_ref().map(|tenant| tenant.id)).collect();
            assert!(ids.iter().all(|id| id.is_ok() && *id == ids[0]), "round {round}: {ids:?}");
        }
    }
}
