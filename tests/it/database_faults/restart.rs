//! A server that restarts without ceremony.

use std::time::Duration;

use tokio::time::Instant;

use super::load::{Load, nothing_is_lost, trouble_after};
use crate::support::{database::cluster::Cluster, space::Space};

const RECOVERY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_recovers_and_has_lost_nothing() {
    let cluster = Cluster::start();
    let space = Space::start(cluster.database().await).await;
    let load = Load::start(&space).await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        tokio::task::block_in_place(|| cluster.restart());
        let restarted = Instant::now();
        load.succeeds_after(restarted + RECOVERY).await;
        let seen = load.take();
        let trouble = trouble_after(&seen, restarted);
        assert!(trouble < RECOVERY, "{trouble:?}");
        calls.extend(seen);
    }
    load.stop().await;
    calls.extend(load.take());
    nothing_is_lost(&space, &calls).await;
    space.stop().await;
}
