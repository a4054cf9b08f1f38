//! S2: a slow client slows the model, and memory per stream stays bounded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use syft_endpoints::pipeline::Config;

use crate::support::rig::{Rig, Tokens, plan};

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_model() {
    let model = Tokens { count: 100_000, ..Tokens::default() };
    let produced = Arc::clone(&model.produced);
    let config = Config { buffered_events: 16, ..Config::default() };
    let rig = Rig::new(config, plan(Some(Arc::new(model)), vec![]));
    let mut events = rig.ask();
    // Paused time passes only when nothing else can happen.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let ahead = produced.load(Ordering::SeqCst);
    assert!(ahead <= 17, "{ahead} tokens wait for a client that reads none");
    events.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(produced.load(Ordering::SeqCst) > ahead, "reading did not set the model going again");
    assert!(produced.load(Ordering::SeqCst) <= 2 * 17, "more went ahead than was read");
}
