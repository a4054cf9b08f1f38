//! Many queries at once, a fifth of them repeats with a token that has been sent before, with trouble on the way:
//! never a double charge, and every answer paid for.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use serde_json::json;
use syft_endpoints::{
    pipeline::{Config, Plan},
    policy::PolicySet,
};

use super::{PAYER, Shop, UNIT, asking};
use crate::support::{
    bank::Fault,
    database::Database,
    on_both,
    rig::{Rig, Says, plan},
};

/// Callers, of whom a quarter asks twice.
const CALLERS: usize = 1_000;
const AT_ONCE: usize = 48;

on_both! {
    async fn repeats_under_load_are_charged_once(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let policies: PolicySet = shop.policies(&[json!({"price": 1})]);
        let plan = Plan { policies, ..plan(Some(Arc::new(Says(&["hi"]))), Vec::new()) };
        let mut rig = Rig::new(Config::default(), plan);
        let (asked, answered) = (AtomicUsize::new(0), AtomicI64::new(0));
        let pipeline = rig.pipeline.clone();
        let one = |n: usize| {
            let (shop, pipeline, asked, answered) = (&shop, pipeline.clone(), &asked, &answered);
            async move {
                let token = shop.bank.token(PAYER);
                // One in a hundred of each kind of trouble, somewhere.
                match n % 300 {
                    17 => shop.bank.fault("create", Fault::Lost),
                    49 => shop.bank.fault("create", Fault::Failed(502)),
                    101 => shop.bank.fault("create", Fault::Dropped),
                    153 => shop.bank.fault("confirm", Fault::Lost),
                    207 => shop.bank.fault("confirm", Fault::Failed(500)),
                    251 => shop.bank.fault("confirm", Fault::Dropped),
                    _ => {}
                }
                // A fifth of all that is asked repeats, at the same time.
                let times = if n.is_multiple_of(4) { 2 } else { 1 };
                let repeats = (0..times).map(|_| pipeline.run(asking(Some(token.clone()))).unwrap().answer());
                let done = futures_util::future::join_all(repeats).await;
                let good = done.iter().filter(|answer| answer.is_ok()).count();
                assert!(good <= 1, "one token has paid for {good} answers");
                asked.fetch_add(times, Ordering::Relaxed);
                answered.fetch_add(good as i64, Ordering::Relaxed);
            }
        };
        let drained = async {
            let mut ids = HashSet::new();
            while let Some(record) = rig.records.recv().await {
                ids.insert(record.id);
            }
            ids
        };
        let all = stream::iter(0..CALLERS);
        tokio::select! {
            () = all.map(one).buffer_unordered(AT_ONCE).collect::<()>() => {}
            _ = drained => unreachable!("the pipeline still records"),
        }
        let (asked, answered) = (asked.into_inner(), answered.into_inner());
        println!("{asked} queries, {answered} answered and paid");
        assert_eq!(asked, CALLERS * 5 / 4);
        assert!(answered as usize > asked / 2, "hardly anything was answered: {answered} of {asked}");
        shop.has_earned(answered * UNIT).await;
    }
}
