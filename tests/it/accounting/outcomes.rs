//! What is charged for every way in which a query can end, in every stage of it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use syft_endpoints::{
    domain::{PolicyEntry, QueryEvent},
    error::{Ended, Error},
    pipeline::{Call, Config, Plan, QueryStream},
    policy::Phase,
};

use super::{PAYER, Shop, UNIT, an_hour_passes, asking};
use crate::support::{
    bank::Fault::DoneAndHeld,
    database::Database,
    eventually, on_both,
    rig::{Deed, OneDocument, Probe, Rig, Says, Tokens, plan},
};

pub(super) fn per_call() -> Value {
    json!({"price": 1.5})
}

/// A token read costs 0.1, one written 1.
pub(super) fn per_token(delivery: &str) -> Value {
    json!({"pricing_mode": "per_token", "input_price": 0.1, "output_price": 1, "delivery": delivery})
}

pub(super) fn slow(count: usize) -> Tokens {
    Tokens { count, every: Duration::from_millis(20), ..Tokens::default() }
}

/// Reads until this many pieces of text have come.
async fn deltas(events: &mut QueryStream, count: usize) -> usize {
    let mut seen = 0;
    while seen < count {
        if let QueryEvent::Delta(text) = events.next().await.unwrap().unwrap() {
            seen += text.matches("tok ").count();
        }
    }
    seen
}

fn statuses(entries: &[PolicyEntry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.status).collect()
}

on_both! {
    async fn an_answer_is_paid_for_and_says_so(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let mut rig = shop.rig(Says(&["hi"]), per_call());
        let answer = rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        let cost = answer.cost.unwrap();
        assert_eq!((cost.nano_units, cost.currency.as_str()), (3 * UNIT / 2, "USD"));
        assert_eq!(statuses(&answer.entries), ["charged"]);
        let (made, entry) = (shop.bank.transactions().remove(0), &answer.entries[0]);
        let said = entry.transaction.clone().unwrap();
        assert_eq!((said.rail, &said.id, &said.reference), ("accounting", &made.id, &made.app_name));
        assert!(made.app_name.starts_with("syft/") && made.slug == "x" && made.payer == PAYER, "{made:?}");
        assert_eq!(rig.records.recv().await.unwrap().cost_nano_units, Some(3 * UNIT / 2));
        shop.has_earned(3 * UNIT / 2).await;
        assert_eq!(shop.bank.calls("list"), 0, "the list is for what has gone wrong");
    }

    async fn who_goes_after_the_first_delivered_event_pays_for_the_call(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let mut earned = 0;
        // (pieces that were read, whether the client waits for all)
        for (read, price) in [(1, 3 * UNIT / 2), (3, 3 * UNIT / 2)] {
            let mut rig = shop.rig(slow(100_000), per_call());
            let mut events = rig.pipeline.run(shop.paying()).unwrap();
            deltas(&mut events, read).await;
            drop(events);
            rig.settled().await;
            assert_eq!(rig.outcome(), "client_gone");
            earned += price;
        }
        // Gone before anything came.
        let mut rig = shop.rig(Tokens { count: 1, every: Duration::from_secs(60), ..Tokens::default() }, per_call());
        let events = rig.pipeline.run(shop.paying()).unwrap();
        eventually("it is reserved", async || shop.bank.pending() == 1).await;
        drop(events);
        rig.settled().await;
        assert_eq!(rig.outcome(), "client_gone");
        // One who waits for the whole answer has had nothing of it.
        let mut rig = shop.rig(slow(100_000), per_call());
        let waiting = rig.pipeline.run(shop.paying()).unwrap().answer();
        assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
        rig.settled().await;
        assert_eq!(rig.outcome(), "client_gone");
        shop.has_earned(earned).await;
        assert_eq!(shop.bank.transactions().len(), 4);
    }

    async fn references_are_an_event_that_is_paid_for(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let never = Tokens { count: 1, every: Duration::from_secs(60), ..Tokens::default() };
        let plan = plan(Some(Arc::new(never)), Vec::new());
        let dataset = Some(Arc::new(OneDocument { yields: 1 }) as _);
        let plan = Plan { dataset, policies: shop.policies(&[per_call()]), ..plan };
        let rig = Rig::new(Config::default(), plan);
        let events = rig.pipeline.run(shop.paying()).unwrap().opened().await.unwrap();
        drop(events);
        rig.settled().await;
        shop.has_earned(3 * UNIT / 2).await;
    }

    async fn only_the_clients_own_deadline_is_paid_for(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        for (client, ours) in [(Some(600), 300_000), (None, 600), (Some(5_000), 600)] {
            let plan = plan(Some(Arc::new(slow(100_000))), Vec::new());
            let plan = Plan { policies: shop.policies(&[per_call()]), ..plan };
            let rig = Rig::new(Config { timeout_ms: ours, ..Config::default() }, plan);
            let mut call = shop.paying();
            call.timeout = client.map(Duration::from_millis);
            let mut events = rig.pipeline.run(call).unwrap();
            let failure = loop {
                if let Err(failure) = events.next().await.unwrap() {
                    break failure;
                }
            };
            assert!(matches!(failure.error, Error::Ended(Ended::DeadlineExceeded)), "{failure:?}");
        }
        shop.has_earned(3 * UNIT / 2).await;
    }

    async fn what_is_no_fault_of_the_callers_costs_nothing(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let models = [
            Tokens { fails: true, ..Tokens::default() },
            Tokens { count: 3, fails: true, ..Tokens::default() },
            Tokens { panics: true, ..Tokens::default() },
            Tokens { count: 3, panics: true, ..Tokens::default() },
        ];
        for (i, model) in models.into_iter().enumerate() {
            let rig = shop.rig(model, per_call());
            let events: Vec<_> = rig.pipeline.run(shop.paying()).unwrap().collect().await;
            let failure = events.into_iter().find_map(Result::err).unwrap();
            assert_eq!(statuses(&failure.entries), ["refunded"], "{i}");
            rig.settled().await;
        }
        let rig = shop.rig(slow(100_000), per_call());
        let mut events = rig.pipeline.run(shop.paying()).unwrap();
        deltas(&mut events, 1).await;
        rig.shutdown.cancel();
        rig.settled().await;
        shop.has_earned(0).await;
        assert_eq!(shop.bank.transactions().len(), 5);
    }

    async fn what_cannot_be_decided_fails_and_costs_nothing(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let raw = shop.database.raw().await;
        for delivery in [per_call(), per_token("streamed"), per_token("paid")] {
            let model = Tokens { count: 2, every: Duration::from_millis(700), ..Tokens::default() };
            let produced = Arc::clone(&model.produced);
            let rig = shop.rig(model, delivery);
            let events = rig.pipeline.run(shop.paying()).unwrap();
            eventually("the model is at it", async || produced.load(Ordering::SeqCst) == 1).await;
            raw.execute_unprepared("ALTER TABLE charges RENAME TO lost").await.unwrap();
            let failure = events.answer().await.unwrap_err();
            assert!(matches!(failure.error, Error::StoreUnavailable(_)), "{failure:?}");
            raw.execute_unprepared("ALTER TABLE lost RENAME TO charges").await.unwrap();
        }
        an_hour_passes(&shop.database).await;
        shop.has_earned(0).await;
        assert_eq!(shop.bank.transactions().len(), 1);
    }

    async fn what_is_paid_for_leaves_also_after_the_deadline(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let rig = shop.rig(Tokens { count: 3, ..Tokens::default() }, per_token("paid"));
        // Paying takes longer than the query had left.
        shop.bank.fault("create", DoneAndHeld);
        let call = Call { timeout: Some(Duration::from_secs(1)), ..shop.paying() };
        let answer = rig.pipeline.run(call).unwrap().answer().await.unwrap();
        let price = 7 * UNIT / 10 + 3 * UNIT;
        assert_eq!((answer.text.as_str(), answer.cost.unwrap().nano_units), ("tok tok tok ", price));
        shop.has_earned(price).await;
    }

    async fn nobody_pays_for_what_a_policy_refuses(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let log = Arc::default();
        let before = Probe { pre: Deed::Refuse, ..Probe::new("before", &log) };
        let after = Probe { post: Deed::Refuse, ..Probe::new("after", &log) };
        let panicking = Probe { post: Deed::Panic, ..Probe::new("panicking", &log) };
        let beside = Probe { pre: Deed::Refuse, phase: Phase::Payment, ..Probe::new("zz", &log) };
        for (probe, reserved) in [(before, 0), (after, 1), (panicking, 2), (beside, 3)] {
            let mut policies = shop.policies(&[per_call()]).policies().to_vec();
            policies.push(Arc::new(probe));
            let rig = Rig::new(Config::default(), plan(Some(Arc::new(Says(&["hi"]))), policies));
            rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
            rig.settled().await;
            assert_eq!(shop.bank.transactions().len(), reserved);
        }
        shop.has_earned(0).await;
    }

    async fn without_a_token_or_with_a_used_one_nothing_runs(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let model = Tokens { count: 1, ..Tokens::default() };
        let produced = Arc::clone(&model.produced);
        let rig = shop.rig(model, per_call());
        let token = shop.bank.token(PAYER);
        rig.pipeline.run(asking(Some(token.clone()))).unwrap().answer().await.unwrap();
        shop.bank.set_balance("poor@example.org", 1);
        let cases = [
            (None, "PAYMENT_REQUIRED"),
            (Some(String::new()), "PAYMENT_REQUIRED"),
            (Some(token), "PAYMENT_REQUIRED"),
            (Some("made up".to_owned()), "PAYMENT_REQUIRED"),
        ];
        for (token, code) in cases {
            let failure = rig.pipeline.run(asking(token)).unwrap().answer().await.unwrap_err();
            let Error::Refused(refusal) = &failure.error else { panic!("{failure:?}") };
            assert_eq!((refusal.kind, refusal.code), ("payment", code));
            assert_eq!(failure.entries.len(), 1, "{:?}", failure.entries);
            assert_eq!(refusal.details["amount"], "1.5");
        }
        shop.bank.set_balance(PAYER, 3 * UNIT / 2 - 1);
        let failure = rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
        assert_eq!(failure.entries[0].reason_code, Some("INSUFFICIENT_BALANCE"));
        assert_eq!(produced.load(Ordering::SeqCst), 1, "a model ran for nothing");
        shop.has_earned(3 * UNIT / 2).await;
    }

    async fn a_free_endpoint_asks_for_no_token_and_no_bank(database: Database) {
        let shop = Shop::open(database).await;
        for (pricing, entries) in [
            (json!({"price": 0}), vec!["free"]),
            (json!({"price": 0, "applied_to": ["eve@*"]}), vec![]),
            (json!({"price": 9, "applied_to": ["eve@*"]}), vec![]),
            (json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 0}), vec!["free"]),
        ] {
            let rig = shop.rig(Says(&["hi"]), pricing);
            let answer = rig.pipeline.run(asking(None)).unwrap().answer().await.unwrap();
            assert_eq!((answer.cost, statuses(&answer.entries)), (None, entries));
        }
        assert_eq!(shop.bank.calls("create"), 0);
    }

    async fn all_matching_policies_are_paid_with_one_token(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let prices = [json!({"price": 1}), json!({"price": 0.25}), json!({"price": 7, "applied_to": ["eve@*"]})];
        let plan = plan(Some(Arc::new(Says(&["hi"]))), Vec::new());
        let rig = Rig::new(Config::default(), Plan { policies: shop.policies(&prices), ..plan });
        rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        shop.has_earned(5 * UNIT / 4).await;
        assert_eq!(shop.bank.calls("create"), 1);
    }

    async fn tokens_are_paid_for_exactly(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        // Seven read, three written, says the model.
        let price = 7 * UNIT / 10 + 3 * UNIT;
        for (i, delivery) in ["paid", "streamed"].into_iter().enumerate() {
            let rig = shop.rig(Tokens { count: 3, ..Tokens::default() }, per_token(delivery));
            let answer = rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
            assert_eq!(answer.cost.unwrap().nano_units, price);
            let events: Vec<_> = rig.pipeline.run(shop.paying()).unwrap().collect().await;
            let QueryEvent::Completed(end) = events.last().unwrap().as_ref().unwrap() else { panic!() };
            assert_eq!(end.cost.as_ref().unwrap().nano_units, price);
            shop.has_earned((2 * price) * (i as i64 + 1)).await;
        }
        // A failure in mid-answer costs nothing, and nothing was asked of the bank.
        let made = shop.bank.calls("create");
        let rig = shop.rig(Tokens { count: 3, fails: true, ..Tokens::default() }, per_token("streamed"));
        let _: Vec<_> = rig.pipeline.run(shop.paying()).unwrap().collect().await;
        assert_eq!(shop.bank.calls("create"), made);
    }

    async fn only_who_pays_by_the_token_waits_for_the_text(database: Database) {
        let shop = Shop::open(database).await;
        let pricing = json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 1, "applied_to": ["eve@*"]});
        let rig = shop.rig(slow(100_000), pricing);
        let mut events = rig.pipeline.run(asking(None)).unwrap();
        let first = tokio::time::timeout(Duration::from_secs(5), deltas(&mut events, 1)).await;
        assert!(first.is_ok(), "it waits for a payment that is not asked for");
    }

    async fn who_goes_pays_for_the_tokens_that_were_handed_over(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let model = slow(100_000);
        let produced = Arc::clone(&model.produced);
        let plan = Plan { policies: shop.policies(&[per_token("streamed")]), ..plan(Some(Arc::new(model)), Vec::new()) };
        let mut rig = Rig::new(Config { buffered_events: 64, ..Config::default() }, plan);
        let mut events = rig.pipeline.run(shop.paying()).unwrap();
        let read = deltas(&mut events, 5).await;
        // What waits for a client that goes away has not been handed over.
        eventually("more is waiting", async || produced.load(Ordering::SeqCst) > read + 10).await;
        drop(events);
        rig.settled().await;
        let record = rig.records.recv().await.unwrap();
        assert!(record.usage.completion_tokens > read as i64 + 9, "{record:?}");
        let owed = record.usage.prompt_tokens * UNIT / 10 + read as i64 * UNIT;
        assert_eq!(record.cost_nano_units, Some(owed));
        shop.has_earned(owed).await;
        // Text that waits to be paid for has not been handed over.
        let rig = shop.rig(slow(100_000), per_token("paid"));
        let waiting = rig.pipeline.run(shop.paying()).unwrap().opened();
        assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
        rig.settled().await;
        shop.has_earned(owed).await;
    }

    async fn text_that_is_not_paid_for_does_not_leave(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        for delivery in ["paid", "streamed"] {
            let rig = shop.rig(Tokens { count: 3, ..Tokens::default() }, per_token(delivery));
            let token = shop.bank.token(PAYER);
            shop.bank.set_balance(PAYER, UNIT);
            let events: Vec<_> = rig.pipeline.run(asking(Some(token))).unwrap().collect().await;
            let text = events.iter().filter(|event| matches!(event, Ok(QueryEvent::Delta(_)))).count();
            assert_eq!(text > 0, delivery == "streamed");
            let failure = events.into_iter().find_map(Result::err).unwrap();
            assert_eq!(failure.entries[0].reason_code, Some("INSUFFICIENT_BALANCE"));
        }
        shop.has_earned(0).await;
        assert_eq!(shop.bank.transactions().len(), 0);
    }
}
