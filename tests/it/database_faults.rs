//! Trouble with the database is UNAVAILABLE, never the caller's fault and never INTERNAL, and it passes.

mod conflicts;
mod disk_full;
mod load;
mod restart;
mod silent_stall;
mod two_processes;

use sea_orm::{ConnectionTrait, Database as SeaOrm};
use tonic::Code;

use crate::support::{
    database::Database,
    eventually,
    space::{Space, reason},
    upstream::Upstream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_and_comes_back() {
    let database = Database::postgres().await;
    let (server, name) = database.url.rsplit_once('/').unwrap();
    let outside = SeaOrm::connect(format!("{server}/postgres")).await.unwrap();
    let name = name.to_owned();
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::start(database).await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    clients.policy("ask", "rate_limit", serde_json::json!({"limit": "1000/h"})).await;
    clients.query("ask").await.unwrap();
    clients.asks("free", upstream.address).await;
    clients.query("free").await.unwrap();

    outside.execute_unprepared(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    outside.execute_unprepared(&end).await.unwrap();
    // A warm query touches the database only for what policies count.
    clients.query("free").await.unwrap();
    for _ in 0..5 {
        let failed = clients.query("ask").await.unwrap_err();
        assert_eq!(
            (failed.code(), reason(&failed).as_str()),
            (Code::Unavailable, "STORE_UNAVAILABLE"),
            "{failed:?}"
        );
        let failed =
            clients.endpoints.list_endpoints(syft_endpoints::proto::ListEndpointsRequest::default()).await;
        assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    }
    // Nothing cached is used for longer than a revocation may take.
    eventually("what is cached is too old", async || {
        clients.clone().query("free").await.is_err_and(|status| reason(&status) == "STORE_UNAVAILABLE")
    })
    .await;
    outside.execute_unprepared(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
    eventually("it answers again", async || clients.clone().query("ask").await.is_ok()).await;
}
