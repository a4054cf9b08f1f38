//! S1: a query that fails before its first event fails before any header.

use std::sync::Arc;

use syft_endpoints::{error::Error, pipeline::Config};

use crate::support::rig::{Rig, Tokens, plan};

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_first_event_is_the_calls_own() {
    let model = Tokens { fails: true, ..Tokens::default() };
    let mut rig = Rig::new(Config::default(), plan(Some(Arc::new(model)), vec![]));
    let Err(failure) = rig.ask().opened().await else { panic!("opened without an event") };
    assert!(matches!(failure.error, Error::Upstream { .. }), "{failure:?}");
    rig.settled().await;
    assert_eq!(rig.outcome(), "failed");
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_it_ends_the_stream() {
    let model = Tokens { count: 1, fails: true, ..Tokens::default() };
    let rig = Rig::new(Config::default(), plan(Some(Arc::new(model)), vec![]));
    let events = rig.ask().opened().await.unwrap();
    let events: Vec<_> = futures_util::StreamExt::collect(events).await;
    assert!(events[0].is_ok() && events[1].is_err() && events.len() == 2, "{events:?}");
}
