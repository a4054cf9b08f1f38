//! A server that falls silent without closing its sockets: sqlx's pool would never recover.

use std::time::Duration;

use tokio::time::Instant;

use super::load::{Load,  no_write_is_left, nothing_is_lost, trouble_after};
use crate::support::{database::cluster::Cluster, space::Space};

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
    no_write_is_left(&space).await;
    assert!(space.store.pool_rebuilds() >= 1);
    println!("{} backends stopped", stopped.len());
    drop(stopped);

    load.succeeds_after(Instant::now()).await;
    load.stop().await;
    let calls = load.take();
    let trouble = trouble_after(&calls, stalled);
    assert!(trouble < RECOVERY, "{trouble:?}");
    nothing_is_lost(&space, &calls).await;
    let status = space.store.pool_status();
    assert!(status.used <= 16, "{status:?}");
    space.stop().await;
}
