//! Many queries at once over two replicas, a fifth of them repeats, with trouble on the way: never a double charge,
//! and every answered question paid for once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::json;
use syft_endpoints::{
    pipeline::{Call, Config, Plan},
    store::Repeats,
};

use super::{PAYER, Shop, UNIT, asking};
use crate::support::{
    bank::Fault,
    database::Database,
    on_both,
    rig::{Rig, Says, plan},
};

/// Queries in all; `SYFT_TEST_CHARGES` asks for more.
const QUERIES: usize = 1_250;
const AT_ONCE: usize = 48;

/// What became of all queries.
#[derive(Default)]
struct Tally {
    asked: AtomicUsize,
    /// Questions that were answered.
    answered: AtomicI64,
    /// Answers to repeats.
    repeated: AtomicUsize,
}

/// Two replicas of one endpoint that costs 1 a call.
async fn replicas(shop: &Shop) -> Vec<Rig> {
    let policies = shop.policies(&[json!({"price": 1})]);
    let first = Plan { policies, ..plan(Some(Arc::new(Says(&["hi"]))), Vec::new()) };
    let second =
        Plan { policies: first.policies.clone(), model: first.model.clone(), ..plan(None, Vec::new()) };
    let second = Plan { endpoint: first.endpoint, ..second };
    let mut rigs = Vec::new();
    for plan in [first, second] {
        let mut rig = Rig::new(Config::default(), plan);
        rig.pipeline = rig.pipeline.knowing(Repeats::start(&shop.database.store().await));
        rigs.push(rig);
    }
    rigs
}

/// One in a hundred of each kind of trouble, somewhere.
fn trouble(shop: &Shop, n: usize) {
    match n % 300 {
        17 => shop.bank.fault("create", Fault::Lost),
        49 => shop.bank.fault("create", Fault::Failed(502)),
        101 => shop.bank.fault("create", Fault::Dropped),
        153 => shop.bank.fault("confirm", Fault::Lost),
        207 => shop.bank.fault("confirm", Fault::Failed(500)),
        251 => shop.bank.fault("confirm", Fault::Dropped),
        _ => {}
    }
}

/// One question. Every fourth is asked twice: at once with the same token, at once with another, or once more
/// afterwards.
async fn one(shop: &Shop, rigs: &[Rig], tally: &Tally, n: usize) {
    trouble(shop, n);
    let token = shop.bank.token(PAYER);
    let call = |token: &str| Call {
        correlation_id: Some(format!("c{n}")),
        caller: asking(None).caller,
        ..asking(Some(token.to_owned()))
    };
    let first = call(&token);
    let again = match n % 12 {
        0 => Some(token.clone()),
        4 | 8 => Some(shop.bank.token(PAYER)),
        _ => None,
    };
    let again = again.map(|token| Call { caller: first.caller.clone(), ..call(&token) });
    let ask = async |replica: usize, call: Call| {
        rigs[replica % 2].pipeline.run(call).unwrap().answer().await.is_ok()
    };
    let (first, second) = match again {
        None => (ask(n, first).await, None),
        Some(again) if n % 12 == 8 => (ask(n, first).await, Some(ask(n + 1, again).await)),
        Some(again) => {
            let (first, second) = tokio::join!(ask(n, first), ask(n + 1, again));
            (first, Some(second))
        }
    };
    tally.asked.fetch_add(if second.is_some() { 2 } else { 1 }, Ordering::Relaxed);
    tally.answered.fetch_add(i64::from(first || second == Some(true)), Ordering::Relaxed);
    tally.repeated.fetch_add(usize::from(first && second == Some(true)), Ordering::Relaxed);
}

on_both! {
    async fn repeats_under_load_are_charged_once(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let mut rigs = replicas(&shop).await;
        let mut records: Vec<_> = rigs.iter_mut().map(|rig| std::mem::replace(&mut rig.records, tokio::sync::mpsc::channel(1).1)).collect();
        let queries = std::env::var("SYFT_TEST_CHARGES").map_or(QUERIES, |n| n.parse().unwrap());
        let tally = Tally::default();
        let asking = stream::iter(0..queries * 4 / 5).map(|n| one(&shop, &rigs, &tally, n));
        let drained = futures_util::future::join_all(records.iter_mut().map(|records| async {
            while records.recv().await.is_some() {}
        }));
        tokio::select! {
            () = asking.buffer_unordered(AT_ONCE).collect::<()>() => {}
            _ = drained => unreachable!("the pipelines still record"),
        }
        let (asked, answered) = (tally.asked.into_inner(), tally.answered.into_inner());
        let repeated = tally.repeated.into_inner();
        println!("{asked} queries, {answered} questions answered and paid, {repeated} repeats answered");
        assert_eq!(asked, queries);
        assert!(answered as usize > asked / 2, "hardly anything was answered: {answered} of {asked}");
        assert!(repeated > asked / 10, "hardly a repeat was answered: {repeated} of {asked}");
        // Some have been put off, each for twice as long as before.
        let limit = Duration::from_secs(10) + Duration::from_millis(3) * u32::try_from(queries).unwrap();
        shop.has_earned_within(limit, answered * UNIT).await;
    }
}
