//! S7: the deadline is the client's or the service's, whichever is earlier, and covers the answer. The
//! clocks of upstreams are shown in `openai`.

use std::{sync::Arc, time::Duration};

use syft_endpoints::{
    error::{Ended, Error},
    pipeline::Config,
};
use tokio::time::Instant;

use crate::support::rig::{Rig, Tokens, call, plan};

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_counts_and_covers_the_body() {
    for (client, service, expected) in
        [(Some(700), 5_000, 700), (Some(9_000), 5_000, 5_000), (None, 5_000, 5_000)]
    {
        let model = Tokens { count: 100_000, every: Duration::from_millis(10), ..Tokens::default() };
        let config = Config { timeout_ms: service, ..Config::default() };
        let mut rig = Rig::new(config, plan(Some(Arc::new(model)), vec![]));
        let mut call = call("x");
        call.timeout = client.map(Duration::from_millis);
        let asked = Instant::now();
        let failure = rig.pipeline.run(call).unwrap().answer().await.unwrap_err();
        assert!(matches!(failure.error, Error::Ended(Ended::DeadlineExceeded)), "{failure:?}");
        assert_eq!(asked.elapsed().as_millis(), expected);
        assert_eq!(rig.outcome(), "deadline_exceeded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_what_runs() {
    let model = Tokens { count: 100_000, every: Duration::from_millis(10), ..Tokens::default() };
    let mut rig = Rig::new(Config::default(), plan(Some(Arc::new(model)), vec![]));
    let events = rig.ask().opened().await.unwrap();
    rig.shutdown.cancel();
    let failure = events.answer().await.unwrap_err();
    assert!(matches!(failure.error, Error::Ended(Ended::ShuttingDown)), "{failure:?}");
    assert_eq!(rig.outcome(), "shutting_down");
}
