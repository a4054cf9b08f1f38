//! A database that stands still just when a charge is decided: paid if, and only if, answered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use tokio::time::sleep;

use super::{
    Shop, UNIT, an_hour_passes,
    outcomes::{per_call, per_token},
};
use crate::support::{bank::Fault::DoneAndHeld, database::Database, eventually, on_both, rig::Tokens};

/// A query of a fixed price that is decided while nothing can be written for so long.
async fn stalls_in_an_answer(shop: &Shop, stall: Duration) {
    let model = Tokens { count: 2, every: Duration::from_millis(700), ..Tokens::default() };
    let produced = Arc::clone(&model.produced);
    let rig = shop.rig(model, per_call());
    let events = rig.pipeline.run(shop.paying()).unwrap();
    eventually("the model is at it", async || produced.load(Ordering::SeqCst) == 1).await;
    let lock = no_writes(&shop.database.raw().await).await;
    let stalled = async {
        sleep(stall).await;
        lock.rollback().await.unwrap();
    };
    let (answered, ()) = tokio::join!(events.answer(), stalled);
    rig.settled().await;
    shop.recover();
    shop.agrees(answered.is_ok(), 3 * UNIT / 2).await;
}

impl Shop {
    async fn agrees(&self, answered: bool, price: i64) {
        an_hour_passes(&self.database).await;
        self.has_earned(if answered { price } else { 0 }).await;
    }
}

on_both! {
    async fn for_less_than_a_hook_may_take(database: Database) {
        // Longer than one write may take.
        stalls_in_an_answer(&Shop::open(database).await, Duration::from_millis(4_500)).await;
    }

    async fn for_longer_than_a_hook_may_take(database: Database) {
        stalls_in_an_answer(&Shop::open(database).await, Duration::from_millis(11_500)).await;
    }

    async fn for_longer_than_a_write_is_tried(database: Database) {
        stalls_in_an_answer(&Shop::open(database).await, Duration::from_secs(18)).await;
    }

    async fn while_a_price_per_token_is_paid(database: Database) {
        let shop = Shop::open(database).await;
        let rig = shop.rig(Tokens { count: 3, ..Tokens::default() }, per_token("paid"));
        shop.bank.fault("create", DoneAndHeld);
        let events = rig.pipeline.run(shop.paying()).unwrap();
        let stalled = async {
            shop.bank.holds().await;
            let lock = no_writes(&shop.database.raw().await).await;
            sleep(Duration::from_secs(12)).await;
            lock.rollback().await.unwrap();
        };
        let (answered, ()) = tokio::join!(events.answer(), stalled);
        rig.settled().await;
        shop.recover();
        shop.agrees(answered.is_ok(), 7 * UNIT / 10 + 3 * UNIT).await;
    }

    async fn while_another_cancels(database: Database) {
        let shop = Shop::open(database).await;
        let model = Tokens { count: 2, every: Duration::from_millis(700), ..Tokens::default() };
        let produced = Arc::clone(&model.produced);
        let rig = shop.rig(model, per_call());
        let events = rig.pipeline.run(shop.paying()).unwrap();
        eventually("the model is at it", async || produced.load(Ordering::SeqCst) == 1).await;
        let lock = no_writes(&shop.database.raw().await).await;
        let cancelled = async {
            // As who takes the query over does.
            lock.execute_unprepared("UPDATE charges SET decision = 'cancel'").await.unwrap();
            sleep(Duration::from_secs(4)).await;
            lock.commit().await.unwrap();
        };
        let (answered, ()) = tokio::join!(events.answer(), cancelled);
        rig.settled().await;
        shop.recover();
        assert!(answered.ok().and_then(|answer| answer.cost).is_none(), "it was not charged");
        shop.agrees(false, 0).await;
    }
}

/// Lets nobody else write until it is rolled back.
async fn no_writes(raw: &DatabaseConnection) -> DatabaseTransaction {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let lock = raw.begin_with_options(immediate).await.unwrap();
    if raw.get_database_backend() == DbBackend::Postgres {
        lock.execute_unprepared("LOCK TABLE charges IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
    }
    lock
}
