//! Whatever the accounting service does with a call, it is paid once, or not at all and nothing was answered.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Shop, UNIT, an_hour_passes, count, hours_pass};
use crate::support::{
    bank::Fault::{self, DoneAndHeld, Dropped, Failed, Held, Late, Lost, Refused, Twice},
    database::Database,
    eventually, on_both,
    rig::{Says, Tokens},
};

const SOON: Duration = Duration::from_millis(50);

/// Both eras' paths.
fn apis() -> [Value; 2] {
    [json!({"price": 1, "api": "transaction"}), json!({"price": 1, "api": "transactions"})]
}

/// Others pay often, before and after.
async fn among_very_many(shop: &Shop) {
    let rig = shop.rig(Says(&["hi"]), json!({"price": 1}));
    shop.bank.be_busy(15_000);
    shop.bank.fault("create", Lost);
    shop.bank.fault("list", Failed(500));
    rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
    shop.bank.be_busy(15_000);
    an_hour_passes(&shop.database).await;
    shop.recover();
    shop.has_earned(0).await;
}

on_both! {
    async fn a_reservation_is_found_again_or_given_up(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let mut earned = 0;
        // (what happens to the reservation, and whether the query is answered)
        let cases: [(Fault, bool); 10] = [
            (Lost, true),
            (Failed(500), true),
            (Failed(503), true),
            (DoneAndHeld, true),
            (Dropped, false),
            (Refused(400), false),
            (Refused(401), false),
            (Refused(500), false),
            (Late(SOON), false),
            // The second time, the token has been used: it says no, and has reserved.
            (Twice, false),
        ];
        for pricing in apis() {
            let rig = shop.rig(Says(&["hi"]), pricing);
            for (fault, is_answered) in cases {
                shop.bank.fault("create", fault);
                if matches!(fault, Late(_)) {
                    // Else it may be found at once.
                    shop.bank.fault("list", Failed(500));
                }
                let answered = rig.pipeline.run(shop.paying()).unwrap().answer().await;
                assert_eq!(answered.is_ok(), is_answered, "{fault:?}: {answered:?}");
                earned += if is_answered { UNIT } else { 0 };
                if let Err(failure) = answered {
                    let words = failure.error.to_string();
                    assert!(!words.contains("canary") && !words.contains("bank"), "{words}");
                }
            }
        }
        shop.has_earned(earned).await;
    }

    async fn an_answer_does_not_wait_for_its_payment_to_be_confirmed(database: Database) {
        let shop = Shop::open(database).await;
        // As many as there are replicas.
        for _ in 0..3 {
            shop.recover();
        }
        let mut earned = 0;
        for pricing in apis() {
            let rig = shop.rig(Says(&["hi"]), pricing);
            for fault in [Lost, Dropped, Failed(500), Refused(401), Refused(500), Refused(429), Twice, Late(SOON), Held] {
                shop.bank.fault("confirm", fault);
                let answer = rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
                assert_eq!(answer.cost.unwrap().nano_units, UNIT, "{fault:?}");
                earned += UNIT;
            }
        }
        shop.has_earned(earned).await;
    }

    async fn what_cannot_be_cancelled_at_once_is_cancelled_later(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        for pricing in apis() {
            let rig = shop.rig(Tokens { count: 1, fails: true, ..Tokens::default() }, pricing);
            for fault in [Lost, Dropped, Failed(500), Refused(401), Twice, Late(SOON), DoneAndHeld] {
                shop.bank.fault("cancel", fault);
                rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
            }
        }
        shop.has_earned(0).await;
        assert_eq!(shop.bank.transactions().len(), 14);
    }

    async fn a_price_per_token_survives_the_same(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let pricing = json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 1});
        let rig = shop.rig(Tokens { count: 3, ..Tokens::default() }, pricing);
        let mut earned = 0;
        for (call, fault, is_answered) in [
            ("create", Lost, true),
            ("create", Failed(500), true),
            ("create", Dropped, false),
            ("create", Refused(400), false),
            ("confirm", Lost, true),
            ("confirm", Dropped, true),
            ("confirm", Failed(500), true),
        ] {
            shop.bank.fault(call, fault);
            let answered = rig.pipeline.run(shop.paying()).unwrap().answer().await;
            assert_eq!(answered.is_ok(), is_answered, "{call} {fault:?}: {answered:?}");
            earned += if is_answered { 3 * UNIT } else { 0 };
        }
        shop.has_earned(earned).await;
    }

    async fn a_silent_service_is_asked_again_until_it_speaks(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let rig = shop.rig(Says(&["hi"]), json!({"price": 1}));
        for call in ["confirm", "list"] {
            for _ in 0..3 {
                shop.bank.fault(call, Refused(503));
            }
        }
        rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        eventually("it is put off", async || count(&shop.database, "attempts >= 2").await == 1).await;
        // Its patience grows; here an hour is nothing.
        for _ in 0..4 {
            an_hour_passes(&shop.database).await;
        }
        shop.has_earned(UNIT).await;
    }

    async fn of_a_service_that_fails_no_more_is_asked_in_one_round(database: Database) {
        let shop = Shop::open(database).await;
        let rig = shop.rig(Says(&["hi"]), json!({"price": 1}));
        for _ in 0..5 {
            shop.bank.fault("confirm", Refused(503));
            rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        }
        an_hour_passes(&shop.database).await;
        shop.bank.fault("confirm", Refused(503));
        shop.recover();
        eventually("all are put off", async || count(&shop.database, "attempts >= 2").await == 5).await;
        shop.has_earned(5 * UNIT).await;
    }

    async fn what_the_service_has_lost_is_not_asked_for_for_ever(database: Database) {
        let shop = Shop::open(database).await;
        for pricing in apis() {
            let rig = shop.rig(Says(&["hi"]), pricing);
            shop.bank.fault("confirm", Refused(503));
            rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        }
        shop.bank.lose_everything();
        an_hour_passes(&shop.database).await;
        shop.recover();
        eventually("both were asked for", async || count(&shop.database, "attempts >= 3").await == 2).await;
        assert_eq!(count(&shop.database, "state = 'open'").await, 2, "an hour is no reason");
        hours_pass(&shop.database, 25).await;
        eventually("both are given up", async || count(&shop.database, "state = 'lost'").await == 2).await;
        assert_eq!(count(&shop.database, "due_at IS NOT NULL").await, 0);
        assert_eq!(shop.store.charges_lost(), 2);
    }

    async fn a_service_that_is_gone_is_not_asked_for_ever(database: Database) {
        let shop = Shop::open(database).await;
        let rig = shop.rig(Says(&["hi"]), json!({"price": 1}));
        shop.bank.fault("create", DoneAndHeld);
        shop.bank.fault("list", Refused(503));
        rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
        shop.bank.fault("list", Refused(503));
        hours_pass(&shop.database, 31 * 24).await;
        shop.recover();
        eventually("it is given up", async || count(&shop.database, "state = 'lost'").await == 1).await;
    }

    async fn what_others_pay_meanwhile_hides_nothing(database: Database) {
        let shop = Shop::open(database).await;
        for pricing in apis() {
            let rig = shop.rig(Says(&["hi"]), pricing);
            // It is reserved, and nobody knows.
            shop.bank.fault("create", Lost);
            shop.bank.fault("list", Failed(500));
            rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
        }
        shop.bank.be_busy(150);
        // The second page is the first again.
        shop.bank.be_busy_after_a_page(100);
        an_hour_passes(&shop.database).await;
        shop.recover();
        shop.has_earned(0).await;
    }

    async fn a_reservation_is_found_among_very_many(database: Database) {
        among_very_many(&Shop::open(database).await).await;
    }

    async fn also_when_they_are_listed_oldest_first(database: Database) {
        let shop = Shop::open(database).await;
        shop.bank.list_oldest_first();
        among_very_many(&shop).await;
    }

    async fn a_short_list_may_be_the_newest_only(database: Database) {
        let shop = Shop::open(database).await;
        let rig = shop.rig(Says(&["hi"]), json!({"price": 1}));
        shop.bank.fault("create", Lost);
        shop.bank.fault("list", Failed(500));
        rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap_err();
        shop.bank.be_busy(10);
        an_hour_passes(&shop.database).await;
        shop.recover();
        shop.has_earned(0).await;
    }

    async fn a_long_list_is_read_to_its_end(database: Database) {
        let shop = Shop::open(database).await;
        shop.recover();
        let rig = shop.rig(Says(&["hi"]), json!({"price": 1, "api": "transactions"}));
        for _ in 0..250 {
            rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        }
        shop.bank.fault("create", Lost);
        rig.pipeline.run(shop.paying()).unwrap().answer().await.unwrap();
        shop.has_earned(251 * UNIT).await;
    }
}
