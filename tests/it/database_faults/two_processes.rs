//! Two processes on one SQLite file, one of which writes for long.

use std::time::Duration;

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use syft_endpoints::proto::{CreateEndpointRequest, Endpoint, ListEndpointsRequest};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::support::{
    database::{Database, endpoint, root},
    eventually,
    process::Process,
    space::{Clients, Space, reason},
    upstream::Upstream,
};

/// SQLite itself waits for 5 s.
const LONG: Duration = Duration::from_millis(6500);

/// The file's one lock for writing.
async fn lock(raw: &DatabaseConnection) -> DatabaseTransaction {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    raw.begin_with_options(immediate).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_outlasts_sqlites_own_patience() {
    let database = Database::sqlite();
    let store = database.store().await;
    let tenant = root(&store).await.id;
    eventually("upkeep is done", async || store.writes_in_flight() == 0).await;
    let lock = lock(&database.raw().await).await;
    let releasing = async {
        sleep(LONG).await;
        lock.rollback().await.unwrap();
    };
    let (created, ()) = tokio::join!(store.create_endpoint(tenant, endpoint("a")), releasing);
    created.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_wait_for_a_long_writer_and_go_on_reading() {
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::sqlite().await;
    let process = Process::start(&space.database, &[]);
    let mut services = [space.admin().await, process.admin().await];
    let model = services[0].asks("ask", upstream.address).await.model_id.unwrap();
    let raw = space.database.raw().await;

    let lock = lock(&raw).await;
    let writing = services.clone().map(|clients| create(clients, model.clone(), Instant::now() + 2 * LONG));
    let writing = futures_util::future::join_all(writing);
    let reading = async {
        let locked = Instant::now();
        while locked.elapsed() < LONG {
            for clients in &mut services {
                clients.query("ask").await.unwrap();
                clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
            }
        }
        lock.rollback().await.unwrap();
        Instant::now()
    };
    let (created, released) = tokio::join!(writing, reading);
    for at in created {
        assert!(at > released && at - released < Duration::from_secs(5), "{:?}", at - released);
    }
    process.kill();
    space.stop().await;
}

/// Tries until it is created, and says when that was. Nothing but UNAVAILABLE is in the way.
async fn create(mut clients: Clients, model: String, until: Instant) -> Instant {
    loop {
        let slug = format!("e-{}", uuid::Uuid::now_v7());
        let endpoint =
            Endpoint { slug: slug.clone(), name: slug, model_id: Some(model.clone()), ..Endpoint::default() };
        let created: Result<_, Status> =
            clients.endpoints.create_endpoint(CreateEndpointRequest { endpoint: Some(endpoint) }).await;
        let Err(failed) = created else { return Instant::now() };
        assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
        assert!(Instant::now() < until, "it is never created");
    }
}
