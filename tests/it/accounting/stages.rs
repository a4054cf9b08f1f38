//! Whatever ends a query, in whatever stage: every hook runs once, and what is paid follows from what was delivered.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::json;
use syft_endpoints::{
    dataset::{Dataset, SearchRequest},
    domain::{Health, References},
    error::UpstreamError,
    model::{ChatEvent, ChatRequest, ChatStream, Model},
    pipeline::{Config, Plan},
    policy::{Phase, PolicySet},
};
use tokio::sync::watch;

use super::{Shop, UNIT};
use crate::support::{
    bank::Fault::DoneAndHeld,
    database::Database,
    on_both,
    rig::{Log, OneDocument, Probe, Rig, completion, plan},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Searching,
    /// References have left.
    Asking,
    /// Text has left.
    Answering,
    /// The decision is written.
    Settling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ClientGone,
    ClientsDeadline,
    OurDeadline,
    Shutdown,
    Panic,
}

/// A backend that stops in one stage, and says so.
#[derive(Clone)]
struct Stops {
    stage: Stage,
    panics: bool,
    reached: watch::Sender<bool>,
}

impl Stops {
    async fn pass(&self, stage: Stage) {
        if self.stage == stage {
            self.reached.send_replace(true);
            assert!(!self.panics, "a planned panic");
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Dataset for Stops {
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        self.pass(Stage::Searching).await;
        OneDocument { yields: 0 }.search(request).await
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}

#[async_trait]
impl Model for Stops {
    async fn chat(&self, _request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        self.pass(Stage::Asking).await;
        let stops = self.clone();
        let first = stream::iter([Ok(ChatEvent::Delta("hi".to_owned()))]);
        let rest = stream::once(async move {
            stops.pass(Stage::Answering).await;
            Ok(ChatEvent::Finished(completion()))
        });
        Ok(first.chain(rest).boxed())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}

/// What a query pays that ends like this.
fn price(stage: Stage, end: End) -> i64 {
    let delivered = stage > Stage::Searching;
    let pays = match end {
        End::ClientGone | End::ClientsDeadline => delivered,
        End::OurDeadline | End::Shutdown | End::Panic => stage == Stage::Settling,
    };
    if pays { UNIT } else { 0 }
}

/// Lets a query end, and returns how often each hook ran.
async fn ended(shop: &Shop, stage: Stage, end: End) -> Vec<String> {
    let log: Log = Arc::new(Mutex::default());
    let (reached, mut at) = watch::channel(false);
    let stops = Stops { stage, panics: end == End::Panic, reached };
    let probe = |name, phase| Arc::new(Probe { phase, ..Probe::new(name, &log) }) as _;
    let mut policies = vec![probe("early", Phase::Access), probe("late", Phase::Content)];
    policies.extend(shop.policies(&[json!({"price": 1})]).policies().iter().cloned());
    let plan = Plan {
        dataset: Some(Arc::new(stops.clone())),
        policies: PolicySet::new(policies),
        ..plan(Some(Arc::new(stops)), Vec::new())
    };
    let timeout_ms = if end == End::OurDeadline { 400 } else { 60_000 };
    let rig = Rig::new(Config { timeout_ms, ..Config::default() }, plan);
    let mut call = shop.paying();
    call.timeout = (end == End::ClientsDeadline).then(|| Duration::from_millis(400));
    if stage == Stage::Settling {
        shop.bank.fault("confirm", DoneAndHeld);
    }
    let mut events = rig.pipeline.run(call).unwrap();
    let (shutdown, wanted) = (rig.shutdown.clone(), stage.min(Stage::Answering) as usize);
    for _ in 0..wanted {
        events.next().await.unwrap().unwrap();
    }
    match stage {
        Stage::Settling => shop.bank.holds().await,
        _ => drop(at.wait_for(|reached| *reached).await.unwrap()),
    }
    let still_there = match end {
        End::ClientGone => {
            drop(events);
            None
        }
        End::Shutdown => {
            shutdown.cancel();
            Some(events)
        }
        End::ClientsDeadline | End::OurDeadline | End::Panic => Some(events),
    };
    rig.settled().await;
    drop(still_there);
    let log = log.lock().unwrap();
    log.iter().map(|hook| hook.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

on_both! {
    async fn a_query_that_ends_in_any_stage_settles_once_and_pays_what_it_must(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let mut earned = 0;
        for stage in [Stage::Searching, Stage::Asking, Stage::Answering, Stage::Settling] {
            for end in [End::ClientGone, End::ClientsDeadline, End::OurDeadline, End::Shutdown, End::Panic] {
                if (stage, end) == (Stage::Settling, End::Panic) {
                    // No backend is left that could; hooks that panic are tested with the pipeline.
                    continue;
                }
                let hooks = ended(&shop, stage, end).await;
                assert_eq!(hooks, ["pre early", "pre late", "post late", "post early"], "{stage:?} {end:?}");
                earned += price(stage, end);
                assert_eq!(shop.bank.pending(), 0, "{stage:?} {end:?}");
                assert_eq!(shop.bank.earned(), earned, "{stage:?} {end:?}");
            }
        }
        shop.has_earned(earned).await;
    }
}
