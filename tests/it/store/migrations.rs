//! Migrations at start: any number of processes, one empty database.

use syft_endpoints::proto::ListTenantsRequest;

use crate::support::{database::Database, on_both, process::Process};

on_both! {
    async fn three_services_that_start_together_all_serve(database: Database) {
        let starting: Vec<_> = (0..3)
            .map(|replica| {
                let twin = Database { url: database.url.clone(), folder: tempfile::tempdir().unwrap() };
                tokio::task::spawn_blocking(move || (replica, Process::start(&twin, &[]), twin))
            })
            .collect();
        let mut tenants = std::collections::BTreeSet::new();
        for started in starting {
            let (_, process, _twin) = started.await.unwrap();
            let listed = process.admin().await.access.list_tenants(ListTenantsRequest::default()).await.unwrap();
            tenants.extend(listed.into_inner().tenants.into_iter().map(|tenant| tenant.id));
        }
        assert_eq!(tenants.len(), 1, "{tenants:?}");
    }

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
