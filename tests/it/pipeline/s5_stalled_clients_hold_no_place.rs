//! S5: a client that has stopped reading cannot hold a place past the deadline.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use syft_endpoints::{
    error::{Ended, Error},
    pipeline::Config,
};

use crate::support::rig::{Rig, Tokens, call, plan};

#[tokio::test(start_paused = true)]
async fn the_place_is_free_at_the_deadline() {
    let model = Tokens { count: 100_000, ..Tokens::default() };
    let config = Config { max_running: 1, timeout_ms: 5_000, ..Config::default() };
    let mut rig = Rig::new(config, plan(Some(Arc::new(model)), vec![]));
    let mut stalled = rig.ask();
    tokio::time::sleep(Duration::from_millis(4_999)).await;
    assert!(matches!(rig.pipeline.run(call("x")), Err(Error::Overloaded { .. })));
    tokio::time::sleep(Duration::from_millis(2)).await;
    rig.pipeline.run(call("x")).unwrap();
    assert_eq!(rig.outcome(), "deadline_exceeded");
    // What it finds, should it read on: what was buffered, and then the truth.
    let last = loop {
        if let Err(failure) = stalled.next().await.expect("a clean end") {
            break failure.error;
        }
    };
    assert!(matches!(last, Error::Ended(Ended::DeadlineExceeded)));
}
