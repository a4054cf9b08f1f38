//! A query that comes again is paid for once, whoever runs it, and whatever became of who ran it first.

use std::sync::Arc;

use futures_util::StreamExt;
use sea_orm::ConnectionTrait;
use serde_json::json;
use syft_endpoints::{
    model::Model,
    pipeline::{Call, Config, Plan},
    store::Repeats,
};

use super::{Shop, UNIT, asking, outcomes::slow};
use crate::support::{
    bank::Fault::DoneAndHeld,
    database::Database,
    eventually, on_both,
    rig::{OneDocument, Rig, Says, Tokens, plan},
};

impl Shop {
    /// An endpoint that knows repeats, at 1 a call.
    async fn knowing(&self, model: impl Model + 'static, pricing: serde_json::Value) -> Rig {
        let plan = Plan { policies: self.policies(&[pricing]), ..plan(Some(Arc::new(model)), Vec::new()) };
        let mut rig = Rig::new(Config { buffered_events: 1, ..Config::default() }, plan);
        rig.pipeline = rig.pipeline.knowing(Repeats::start(&self.database.store().await));
        rig
    }

    /// A question with a new token, always under one name.
    fn repeating(&self, first: &Call) -> Call {
        let again = self.paying();
        Call { caller: first.caller.clone(), correlation_id: Some("c1".to_owned()), ..again }
    }
}

async fn lapse(database: &Database) {
    let raw = database.raw().await;
    raw.execute_unprepared("UPDATE repeats SET until = until - 3600000000").await.unwrap();
    raw.close().await.unwrap();
}

on_both! {
    async fn a_repeat_costs_nothing(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let per_token = json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 1, "delivery": "paid"});
        for (pricing, price) in [(json!({"price": 1}), UNIT), (per_token, 3 * UNIT)] {
            let (rig, who) = (shop.knowing(Says(&["hi"]), pricing).await, asking(None));
            let before = shop.bank.earned();
            let first = rig.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap();
            assert_eq!(first.cost.unwrap().nano_units, price);
            for _ in 0..2 {
                let again = rig.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap();
                assert_eq!((again.text.as_str(), again.cost), ("hi", None));
            }
            shop.has_earned(before + price).await;
        }
    }

    async fn a_failed_query_is_paid_for_by_the_repeat_that_is_answered(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let failing = shop.knowing(Tokens { count: 1, fails: true, ..Tokens::default() }, json!({"price": 1})).await;
        let who = asking(None);
        failing.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap_err();
        // A text that has begun to come is a failure too.
        let failed = failing.pipeline.run(shop.repeating(&who)).unwrap().map(|e| e.is_err()).collect::<Vec<_>>();
        assert_eq!(failed.await.last(), Some(&true));
        shop.has_earned(0).await;
        let good = shop.knowing(Says(&["hi"]), json!({"price": 1})).await;
        good.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap();
        shop.has_earned(UNIT).await;
    }

    async fn who_went_away_and_paid_may_come_again(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let (rig, who) = (shop.knowing(slow(20), json!({"price": 1})).await, asking(None));
        let mut events = rig.pipeline.run(shop.repeating(&who)).unwrap();
        events.next().await.unwrap().unwrap();
        drop(events);
        let again = rig.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap();
        assert_eq!(again.cost, None, "it waited until the first was settled");
        shop.has_earned(UNIT).await;
    }

    async fn a_repeat_that_takes_over_pays_instead(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let (rig, who) = (shop.knowing(slow(100), json!({"price": 1})).await, asking(None));
        let mut first = rig.pipeline.run(shop.repeating(&who)).unwrap();
        first.next().await.unwrap().unwrap();
        lapse(&shop.database).await;
        let second = rig.pipeline.run(shop.repeating(&who)).unwrap().answer();
        let (first, second) = tokio::join!(first.answer(), second);
        // Only one of them can have been charged, and it is the one that has the name.
        assert_eq!(first.unwrap().cost, None);
        assert_eq!(second.unwrap().cost.unwrap().nano_units, UNIT);
        shop.has_earned(UNIT).await;
    }

    async fn what_was_decided_is_not_paid_for_again(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let (rig, who) = (shop.knowing(Says(&["hi"]), json!({"price": 1})).await, asking(None));
        shop.bank.fault("confirm", DoneAndHeld);
        let first = rig.pipeline.run(shop.repeating(&who)).unwrap();
        shop.bank.holds().await;
        lapse(&shop.database).await;
        let again = rig.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap();
        assert_eq!(again.cost, None);
        assert_eq!(first.answer().await.unwrap().cost.unwrap().nano_units, UNIT);
        eventually("the bank has it", async || shop.bank.earned() == UNIT).await;
        shop.has_earned(UNIT).await;
    }

    async fn who_took_a_part_pays_for_the_whole(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let per_token = |delivery: &str| {
            json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 1, "delivery": delivery})
        };
        for delivery in ["paid", "streamed"] {
            let dataset = Some(Arc::new(OneDocument { yields: 0 }) as _);
            let policies = shop.policies(&[per_token(delivery)]);
            let plan = Plan { dataset, policies, ..plan(Some(Arc::new(slow(20))), Vec::new()) };
            let mut rig = Rig::new(Config { buffered_events: 1, ..Config::default() }, plan);
            rig.pipeline = rig.pipeline.knowing(Repeats::start(&shop.database.store().await));
            let who = asking(None);
            let mut events = rig.pipeline.run(shop.repeating(&who)).unwrap();
            // The references, and nothing else.
            events.next().await.unwrap().unwrap();
            drop(events);
            let again = rig.pipeline.run(shop.repeating(&who)).unwrap().answer().await.unwrap();
            assert!(again.cost.is_some(), "{delivery}: what was never paid for is free");
        }
    }

    async fn a_repeat_that_takes_over_pays_instead_by_the_token_too(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        for delivery in ["paid", "streamed"] {
            let before = shop.bank.earned();
            let per_token = json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 1, "delivery": delivery});
            let model = slow(50);
            let produced = Arc::clone(&model.produced);
            let (rig, who) = (shop.knowing(model, per_token).await, asking(None));
            let first = rig.pipeline.run(shop.repeating(&who)).unwrap();
            eventually("the model is at it", async || produced.load(std::sync::atomic::Ordering::SeqCst) > 1).await;
            lapse(&shop.database).await;
            let second = rig.pipeline.run(shop.repeating(&who)).unwrap().answer();
            let (_, second) = tokio::join!(first.answer(), second);
            let price = second.unwrap().cost.unwrap().nano_units;
            shop.has_earned(before + price).await;
        }
    }
}
