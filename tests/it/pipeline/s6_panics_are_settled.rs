//! S6: a panic in a backend is an `INTERNAL` status with a settled outcome.

use std::sync::{Arc, Mutex};

use syft_endpoints::{error::Error, pipeline::Config};

use crate::support::rig::{Probe, Rig, Tokens, plan};

#[tokio::test(start_paused = true)]
async fn a_filter_that_cannot_be_made_is_an_error_too() {
    let log = Arc::new(Mutex::default());
    let policy = Probe { filter: Some(|| panic!("a planned panic")), ..Probe::new("a", &log) };
    let mut rig = Rig::new(Config::default(), plan(None, vec![Arc::new(policy)]));
    let failure = rig.ask().answer().await.unwrap_err();
    assert!(matches!(failure.error, Error::Internal(_)), "{failure:?}");
    assert_eq!(rig.outcome(), "panicked");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_and_frees_the_place() {
    let log = Arc::new(Mutex::default());
    let model = Tokens { count: 2, panics: true, ..Tokens::default() };
    let policies = vec![Arc::new(Probe::new("a", &log)) as Arc<_>];
    let config = Config { max_running: 1, ..Config::default() };
    let mut rig = Rig::new(config, plan(Some(Arc::new(model)), policies));
    for _ in 0..3 {
        let failure = rig.ask().answer().await.unwrap_err();
        assert!(matches!(failure.error, Error::Internal(_)), "{failure:?}");
        assert_eq!(rig.outcome(), "panicked");
    }
    assert_eq!(log.lock().unwrap()[..2], ["pre a", "post a panicked"]);
}
