//! What counts of a query, however it ends.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use sea_orm::DatabaseConnection;
use serde_json::json;
use syft_endpoints::{
    domain::{self, EndpointId, PolicyId, QueryEvent},
    error::{Ended, Error},
    model::Model,
    pipeline::{Call, Config, Plan, QueryStream},
    policy::{Phase, Policies, Policy, PolicySet},
    upstream,
};

use super::{counted, rows};
use crate::support::{
    database::Database,
    eventually, on_both,
    rig::{Deed, OneDocument, Probe, Rig, Says, Tokens, call, plan},
};

/// A day's limits that one query at a time fits into.
fn limit() -> serde_json::Value {
    json!({"period": "day", "input_tokens": 200, "output_tokens": 150, "requests": 100})
}

struct Desk {
    policies: Policies,
    raw: DatabaseConnection,
}

impl Desk {
    async fn open(database: &Database) -> Self {
        let store = database.store().await;
        let policies = Policies::new(&store, &upstream::Config::default(), Duration::from_secs(300)).unwrap();
        Self { policies, raw: database.raw().await }
    }

    /// A new limit, and another policy.
    fn policies(&self, other: Option<Probe>) -> PolicySet {
        let stored = domain::Policy {
            id: PolicyId::new(),
            endpoint_id: EndpointId::new(),
            endpoint_slug: "x".to_owned(),
            name: "limit".to_owned(),
            policy_type: "token_limit".to_owned(),
            configuration: limit().as_object().unwrap().clone(),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            updated_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        let limited = self.policies.build(&[stored]).unwrap();
        let other = other.map(|probe| Arc::new(probe) as Arc<dyn Policy>);
        PolicySet::new(limited.policies().iter().cloned().chain(other).collect())
    }

    /// A pipeline whose endpoint asks this model under them.
    fn rig(&self, model: impl Model + 'static, other: Option<Probe>, timeout_ms: u64) -> Rig {
        let plan = Plan { policies: self.policies(other), ..plan(Some(Arc::new(model)), Vec::new()) };
        Rig::new(Config { buffered_events: 1, timeout_ms, ..Config::default() }, plan)
    }

    /// Nothing is held any more, and this was used since it was `before`.
    async fn used(&self, before: [i64; 6], expected: [i64; 3], what: &str) -> [i64; 6] {
        eventually(what, async || rows(&self.raw, "token_holds").await == 0).await;
        let after = counted(&self.raw).await;
        assert_eq!([3, 4, 5].map(|i| after[i]), [0; 3], "{what}: something is held");
        assert_eq!([0, 1, 2].map(|i| after[i] - before[i]), expected, "{what}");
        after
    }
}

fn probe(phase: Phase, pre: Deed, post: Deed) -> Option<Probe> {
    let log = Arc::new(Mutex::default());
    Some(Probe { phase, pre, post, ..Probe::new("other", &log) })
}

fn slow() -> Tokens {
    Tokens { count: 100_000, every: Duration::from_millis(5), ..Tokens::default() }
}

async fn end(rig: &Rig, call: Call) -> Option<Error> {
    let events: Vec<_> = rig.pipeline.run(call).unwrap().collect().await;
    rig.settled().await;
    events.into_iter().find_map(Result::err).map(|failure| failure.error)
}

async fn first_delta(events: &mut QueryStream) {
    assert!(matches!(events.next().await, Some(Ok(QueryEvent::Delta(_)))));
}

on_both! {
    async fn what_a_query_used_counts_by_how_it_ended(database: Database) {
        let desk = Desk::open(&database).await;
        let forever = 20_000;
        let (mut seen, none) = ([0; 6], Tokens::default);
        let rig = desk.rig(Says(&["a", "b"]), None, forever);
        assert!(end(&rig, call("x")).await.is_none());
        seen = desk.used(seen, [1, 7, 3], "completed").await;
        let nothing_used = [
            ("refused later", desk.rig(Says(&["a"]), probe(Phase::Content, Deed::Refuse, Deed::Nothing), forever), 0),
            ("a later policy failed", desk.rig(Says(&["a"]), probe(Phase::Content, Deed::Panic, Deed::Nothing), forever), 1),
            ("the answer refused", desk.rig(Says(&["a"]), probe(Phase::Content, Deed::Nothing, Deed::Refuse), forever), 1),
            ("failed before the first delta", desk.rig(Tokens { fails: true, ..none() }, None, forever), 1),
            ("failed after it", desk.rig(Tokens { count: 3, fails: true, ..none() }, None, forever), 1),
            ("panicked", desk.rig(Tokens { count: 3, panics: true, ..none() }, None, forever), 1),
            ("our deadline", desk.rig(slow(), None, 100), 1),
        ];
        for (what, rig, requests) in nothing_used {
            assert!(end(&rig, call("x")).await.is_some(), "{what}");
            seen = desk.used(seen, [requests, 0, 0], what).await;
        }
    }

    async fn who_goes_away_has_used_what_was_delivered(database: Database) {
        let desk = Desk::open(&database).await;
        // Before anything.
        let silent = Tokens { count: 1, every: Duration::from_secs(60), ..Tokens::default() };
        let rig = desk.rig(silent, None, 20_000);
        let events = rig.pipeline.run(call("x")).unwrap();
        eventually("it is held", async || rows(&desk.raw, "token_holds").await == 1).await;
        drop(events);
        rig.settled().await;
        let seen = desk.used([0; 6], [1, 0, 0], "gone before").await;
        // After the first delta: the model stands still behind a full channel, so three tokens were made at most.
        let rig = desk.rig(slow(), None, 20_000);
        let mut events = rig.pipeline.run(call("x")).unwrap();
        first_delta(&mut events).await;
        drop(events);
        rig.settled().await;
        eventually("it is settled", async || rows(&desk.raw, "token_holds").await == 0).await;
        let after = counted(&desk.raw).await;
        let used = [0, 1, 2].map(|i| after[i] - seen[i]);
        // `what?` is two tokens by our estimate, and `tok ` is one.
        assert_eq!((used[0], used[1]), (1, 2));
        assert!((1..=4).contains(&used[2]), "{used:?}");
        // Its own deadline.
        let rig = desk.rig(slow(), None, 20_000);
        let mut limited = call("x");
        limited.timeout = Some(Duration::from_millis(400));
        let ended = end(&rig, limited).await;
        assert!(matches!(ended, Some(Error::Ended(Ended::DeadlineExceeded))), "{ended:?}");
        eventually("it is settled", async || rows(&desk.raw, "token_holds").await == 0).await;
        let last = counted(&desk.raw).await;
        assert!(last[2] > after[2] && last[2] - after[2] <= 100, "{last:?} after {after:?}");
    }

    async fn a_shutdown_returns_all_but_the_request(database: Database) {
        let desk = Desk::open(&database).await;
        let rig = desk.rig(slow(), None, 20_000);
        let mut events = rig.pipeline.run(call("x")).unwrap();
        first_delta(&mut events).await;
        rig.shutdown.cancel();
        rig.settled().await;
        desk.used([0; 6], [1, 0, 0], "shut down").await;
    }

    async fn a_running_query_holds_what_it_may_use(database: Database) {
        let desk = Desk::open(&database).await;
        let rig = desk.rig(slow(), None, 20_000);
        let mut events = rig.pipeline.run(call("x")).unwrap();
        first_delta(&mut events).await;
        let held = counted(&desk.raw).await;
        // `what?`, a message's overhead, two more of it, and the template's; the default of max_tokens.
        assert_eq!(held, [0, 0, 0, 1, 5 + 8 + 16 + 64, 100]);
        // A second one beside it does not fit, a third after it does.
        let Err(failure) = rig.ask().answer().await else { panic!("admitted") };
        let Error::Refused(refusal) = failure.error else { panic!("{:?}", failure.error) };
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
        let told = |name: &str| refusal.details[name].clone();
        assert_eq!(told("unit"), "output_tokens");
        assert_eq!([told("limit"), told("used"), told("reserved"), told("needed"), told("remaining")], [150, 0, 100, 100, 50]);
        drop(events);
        eventually("it fits", async || {
            let mut events = rig.ask();
            matches!(events.next().await, Some(Ok(_)))
        }).await;
        rig.settled().await;
    }

    async fn references_and_raw_answers_are_bounded_too(database: Database) {
        let desk = Desk::open(&database).await;
        for (model, expected) in [(Some(Arc::new(slow()) as Arc<dyn Model>), None), (None, Some([1, 0, 0]))] {
            let dataset = Some(Arc::new(OneDocument { yields: 0 }) as _);
            let plan = Plan { dataset, policies: desk.policies(None), ..plan(model, Vec::new()) };
            let rig = Rig::new(Config { context_bytes: 500, ..Config::default() }, plan);
            let ended = end(&rig, call("x")).await;
            match expected {
                // The budget for references alone is more than the limit: it can never be asked.
                None => {
                    let Some(Error::Refused(refusal)) = ended else { panic!("{ended:?}") };
                    assert_eq!((refusal.retry_after, refusal.details["needed"].clone()), (None, json!(593)));
                }
                Some(used) => {
                    assert!(ended.is_none(), "{ended:?}");
                    desk.used([0; 6], used, "nothing is asked").await;
                }
            }
        }
    }
}
