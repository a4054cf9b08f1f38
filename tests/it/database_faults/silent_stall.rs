//! A server that falls silent without closing its sockets: sqlx's pool would never recover.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio::time::{Instant, timeout};

use super::load::{Load, no_write_is_left, nothing_is_lost, trouble_after};
use crate::support::{
    database::{Database, cluster::Cluster, endpoint, root, wire::Wire},
    eventually,
    space::Space,
};

const RECOVERY: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_recovers_while_its_backends_are_still_stopped() {
    let cluster = Cluster::start();
    let outside = cluster.outside().await;
    let space = Space::start(cluster.database().await).await;
    let load = Load::start(&space).await;

    let stopped = cluster.stop_backends(&outside).await;
    let stalled = Instant::now();
    load.succeeds_after(stalled).await;
    load.stop().await;
    no_write_is_left(&space).await;
    assert!(space.store.pool_rebuilds() >= 1);
    println!("{} backends stopped", stopped.len());
    drop(stopped);

    let calls = load.take();
    let trouble = trouble_after(&calls, stalled);
    assert!(trouble < RECOVERY, "{trouble:?}");
    nothing_is_lost(&space, &calls).await;
    let status = space.store.pool_status();
    assert!(status.used <= 16, "{status:?}");
    space.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_recovers_from_a_network_that_loses_everything() {
    let mut database = Database::postgres().await;
    let wire = Wire::to(&mut database).await;
    let space = Space::start(database).await;
    let load = Load::start(&space).await;
    for _ in 0..2 {
        // In the middle of transactions too: the server takes their locks away when it hears no more.
        wire.lose();
        let lost = Instant::now();
        load.succeeds_after(lost).await;
        let trouble = trouble_after(&load.take(), lost);
        assert!(trouble < RECOVERY, "{trouble:?}");
    }
    assert_eq!(space.store.pool_rebuilds(), 2);
    load.stop().await;
    no_write_is_left(&space).await;
    space.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_statement_is_not_taken_for_a_dead_one() {
    let database = Database::postgres().await;
    let store = database.store().await;
    let tenant = root(&store).await.id;
    let slow = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    PERFORM pg_sleep(6); RETURN NEW;
                END $$;
                CREATE TRIGGER dawdle BEFORE INSERT ON endpoints FOR EACH ROW EXECUTE FUNCTION dawdle();";
    database.raw().await.execute_unprepared(slow).await.unwrap();
    store.create_endpoint(tenant, endpoint("slow")).await.unwrap();
    assert_eq!(store.pool_rebuilds(), 0);
}

/// Nobody watches here: a store that does not follow has no watchdog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_nobody_waits_for_gives_its_place_back() {
    let mut database = Database::postgres().await;
    let wire = Wire::to(&mut database).await;
    let store = database.connect().await;
    let eight =
        || futures_util::future::join_all((0..8).map(|_| timeout(Duration::from_millis(200), store.ping())));
    eventually("there are eight connections", async || {
        eight().await;
        store.pool_status().idle == 8
    })
    .await;
    wire.lose();
    assert!(eight().await.iter().all(Result::is_err), "the wire has lost nothing");
    eventually("there is a place again", async || matches!(eight().await[0], Ok(Ok(())))).await;
}
