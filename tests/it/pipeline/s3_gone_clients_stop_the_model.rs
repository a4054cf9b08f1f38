//! S3: when the client goes, the upstream call is abandoned at once and the hooks still run. That the
//! abandoned call closes its connection is shown over sockets in `openai`.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use syft_endpoints::pipeline::Config;
use tokio::time::Instant;

use crate::support::rig::{Probe, Rig, Tokens, plan};

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_abandons_the_model_and_settles() {
    let model = Tokens { count: 1_000, every: Duration::from_millis(10), ..Tokens::default() };
    let abandoned = Arc::clone(&model.abandoned);
    let log = Arc::new(Mutex::default());
    let policies = vec![Arc::new(Probe::new("a", &log)) as Arc<_>];
    let mut rig = Rig::new(Config::default(), plan(Some(Arc::new(model)), policies));
    let mut events = rig.ask();
    events.next().await.unwrap().unwrap();
    let gone = Instant::now();
    drop(events);
    rig.settled().await;
    assert!(gone.elapsed() < Duration::from_millis(10), "it waited for another token");
    assert!(abandoned.load(Ordering::SeqCst));
    assert_eq!(*log.lock().unwrap(), ["pre a", "post a client_gone"]);
    assert_eq!(rig.outcome(), "client_gone");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_unary_call_does_the_same() {
    let model = Tokens { count: 1_000, every: Duration::from_millis(10), ..Tokens::default() };
    let abandoned = Arc::clone(&model.abandoned);
    let mut rig = Rig::new(Config::default(), plan(Some(Arc::new(model)), vec![]));
    let answer = tokio::time::timeout(Duration::from_millis(55), rig.ask().answer()).await;
    assert!(answer.is_err());
    rig.settled().await;
    assert!(abandoned.load(Ordering::SeqCst));
    assert_eq!(rig.outcome(), "client_gone");
}
