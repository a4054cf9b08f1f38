//! S4: hooks run once per entered policy, wherever the query is dropped.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::StreamExt;
use syft_endpoints::{
    pipeline::{Config, Plan},
    policy::Policy,
};

use crate::support::rig::{Deed, Log, OneDocument, Probe, Rig, Tokens, plan};

/// A query with awaits in every part of it.
fn slow_plan(log: &Log, passed: &Arc<AtomicUsize>) -> Plan {
    let probe = |name| {
        Arc::new(Probe { yields: 3, passed: Arc::clone(passed), ..Probe::new(name, log) }) as Arc<dyn Policy>
    };
    let model = Tokens { count: 8, ..Tokens::default() };
    let plan = plan(Some(Arc::new(model)), vec![probe("a"), probe("b"), probe("c")]);
    Plan { dataset: Some(Arc::new(OneDocument { yields: 3 })), ..plan }
}

/// Each entered policy has one post after its pre, in reverse order.
fn assert_settled(log: &Log, dropped_after: usize) {
    let log = log.lock().unwrap();
    let pres: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("pre ")).collect();
    let posts: Vec<&str> = log
        .iter()
        .filter_map(|line| line.strip_prefix("post "))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let reversed: Vec<&str> = pres.iter().rev().copied().collect();
    assert_eq!(posts, reversed, "dropped after {dropped_after} steps: {log:?}");
}

/// Steps of a whole query, counted on the same single thread on which it is then dropped.
async fn steps() -> usize {
    let (log, passed) = (Arc::new(Mutex::default()), Arc::default());
    let rig = Rig::new(Config { buffered_events: 1, ..Config::default() }, slow_plan(&log, &passed));
    let mut events = rig.ask();
    for step in 0.. {
        tokio::task::yield_now().await;
        if let std::task::Poll::Ready(None) = futures_util::poll!(events.next()) {
            return step;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn dropping_a_query_at_every_await_settles_what_was_entered() {
    let steps = steps().await;
    assert!(steps > 20, "the query has hardly any awaits: {steps}");
    let mut partly_entered = 0;
    for drop_after in 0..=steps {
        let (log, passed) = (Arc::new(Mutex::default()), Arc::default());
        let mut rig = Rig::new(Config { buffered_events: 1, ..Config::default() }, slow_plan(&log, &passed));
        let mut events = rig.ask();
        for _ in 0..drop_after {
            tokio::task::yield_now().await;
            let _ = futures_util::poll!(events.next());
        }
        drop(events);
        rig.settled().await;
        assert_settled(&log, drop_after);
        let outcome = rig.outcome();
        assert!(["client_gone", "completed"].contains(&outcome), "{outcome}");
        // The client's going ends the admission between two hooks, never inside one.
        let entered = log.lock().unwrap().iter().filter(|line| line.starts_with("pre")).count();
        assert_eq!(passed.load(Ordering::SeqCst), entered, "dropped after {drop_after} steps, inside a hook");
        partly_entered += usize::from(entered == 1);
    }
    assert!(partly_entered > 0, "no drop fell into the admission");
}

#[tokio::test]
async fn a_policy_that_refuses_fails_or_panics_is_settled_too() {
    for deed in [Deed::Refuse, Deed::Panic] {
        let log = Arc::new(Mutex::default());
        let policies = vec![
            Arc::new(Probe::new("a", &log)) as Arc<dyn Policy>,
            Arc::new(Probe { pre: deed, ..Probe::new("b", &log) }),
            Arc::new(Probe::new("c", &log)),
        ];
        let rig = Rig::new(Config::default(), plan(None, policies));
        rig.ask().answer().await.unwrap_err();
        rig.settled().await;
        let log = log.lock().unwrap();
        let outcome = if deed == Deed::Refuse { "refused" } else { "panicked" };
        assert_eq!(*log, ["pre a", "pre b", &format!("post b {outcome}"), &format!("post a {outcome}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_or_hangs_skips_no_other() {
    for deed in [Deed::Panic, Deed::Hang] {
        let log = Arc::new(Mutex::default());
        let policies = vec![
            Arc::new(Probe::new("a", &log)) as Arc<dyn Policy>,
            Arc::new(Probe { post: deed, ..Probe::new("b", &log) }),
        ];
        let mut rig = Rig::new(Config::default(), plan(None, policies));
        rig.ask().answer().await.unwrap_err();
        rig.settled().await;
        assert_eq!(*log.lock().unwrap(), ["pre a", "pre b", "post b completed", "post a panicked"]);
        assert_eq!(rig.outcome(), "panicked");
    }
}
