//! S8: what runs at once is counted per query.

use std::{sync::Arc, time::Duration};

use syft_endpoints::{error::Error, pipeline::Config};

use crate::support::rig::{Rig, Tokens, call, plan};

#[tokio::test(start_paused = true)]
async fn one_query_too_many_is_refused_at_once() {
    let model = Tokens { count: 1_000, every: Duration::from_secs(1), ..Tokens::default() };
    let config = Config { max_running: 3, ..Config::default() };
    let rig = Rig::new(config, plan(Some(Arc::new(model)), vec![]));
    let mut running = [rig.ask(), rig.ask(), rig.ask()].map(Some);
    // They are under way, not only asked for.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let refused = rig.pipeline.run(call("x"));
    assert!(matches!(refused, Err(Error::Overloaded { retry_after }) if retry_after > Duration::ZERO));
    running[1] = None;
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.pipeline.run(call("x")).unwrap();
}
