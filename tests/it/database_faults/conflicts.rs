//! A transaction that lost a race with another is repeated, a few times.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use syft_endpoints::{domain::EndpointChange, error::Error};
use tonic::Code;

use crate::support::{
    database::{Database, endpoint, root},
    eventually,
    space::{Space, reason},
    upstream::Upstream,
};

/// Inserts of endpoints lose a race, the first `times` of them.
async fn lose_races(raw: &DatabaseConnection, times: u32) {
    let sql = format!(
        "CREATE SEQUENCE attempts;
         CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('attempts') <= {times} THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER lose BEFORE INSERT ON endpoints FOR EACH ROW EXECUTE FUNCTION lose();"
    );
    raw.execute_unprepared(&sql).await.unwrap();
}

async fn number(raw: &DatabaseConnection, sql: &str) -> i64 {
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "n").unwrap()
}

async fn attempts(raw: &DatabaseConnection) -> i64 {
    number(raw, "SELECT last_value AS n FROM attempts").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serialization_failure_is_repeated() {
    let database = Database::postgres().await;
    let store = database.store().await;
    let tenant = root(&store).await.id;
    let raw = database.raw().await;
    lose_races(&raw, 3).await;
    store.create_endpoint(tenant, endpoint("a")).await.unwrap();
    assert_eq!(attempts(&raw).await, 4);
    assert_eq!(store.endpoints(tenant, None, 10).await.unwrap().len(), 1);
    // What is no race is not repeated.
    let taken = store.create_endpoint(tenant, endpoint("a")).await.unwrap_err();
    assert!(matches!(taken, Error::AlreadyExists(..)), "{taken:?}");
    assert_eq!(attempts(&raw).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_that_is_lost_every_time_is_unavailable() {
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::start(Database::postgres().await).await;
    let mut clients = space.admin().await;
    let model = clients.asks("ask", upstream.address).await.model_id;
    let raw = space.database.raw().await;
    lose_races(&raw, 1_000_000).await;
    let endpoint = syft_endpoints::proto::Endpoint {
        slug: "another".to_owned(),
        name: "another".to_owned(),
        model_id: model,
        ..Default::default()
    };
    let request = syft_endpoints::proto::CreateEndpointRequest { endpoint: Some(endpoint) };
    let failed = clients.endpoints.create_endpoint(request).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    assert_eq!(attempts(&raw).await, 4);
    clients.query("ask").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_repeated() {
    let database = Database::postgres().await;
    let store = database.store().await;
    let tenant = root(&store).await.id;
    store.create_endpoint(tenant, endpoint("a")).await.unwrap();
    let raw = database.raw().await;
    // The store looks for deadlocks after a second, this one never: the store is the victim.
    let other = raw.begin().await.unwrap();
    other.execute_unprepared("SET LOCAL deadlock_timeout = '1h'").await.unwrap();
    other.execute_unprepared("UPDATE change_counter SET revision = revision").await.unwrap();
    let change = EndpointChange { name: Some("changed".to_owned()), ..EndpointChange::default() };
    let crossing = async {
        eventually("the store waits", async || {
            let waiting = "SELECT count(*) AS n FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            number(&raw, waiting).await == 1
        })
        .await;
        other.execute_unprepared("UPDATE endpoints SET summary = 'mine'").await.unwrap();
        other.commit().await.unwrap();
    };
    let (changed, ()) = tokio::join!(store.update_endpoint(tenant, "a", change), crossing);
    let changed = changed.unwrap();
    assert_eq!((changed.name.as_str(), changed.summary.as_str()), ("changed", "mine"));
    eventually("Postgres has counted it", async || {
        let deadlocks = "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()";
        number(&raw, deadlocks).await == 1
    })
    .await;
}
