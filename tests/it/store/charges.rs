//! Charges: who decides, what may be taken back, and what is kept of those that are closed.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Statement, Value};
use syft_endpoints::{
    domain::{ChargeId, EndpointId, PolicyId, QueryId, TenantId},
    store::{Decision, NewCharge, RecordsConfig, Settled, Store},
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::support::{
    database::{Database, root},
    eventually, on_both,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn intend(store: &Store, tenant: TenantId) -> ChargeId {
    let new = NewCharge {
        id: ChargeId::new(),
        tenant,
        endpoint: EndpointId::new(),
        policy: PolicyId::new(),
        query: QueryId::new(),
        caller: "bob@example.org".to_owned(),
        nano_units: 1,
        currency: "USD".to_owned(),
        account: "an account".to_owned(),
        decision: None,
        name: None,
    };
    let id = new.id;
    store.intend_charge(new, HOUR).await.unwrap();
    id
}

async fn row(database: &Database, id: ChargeId) -> Option<(String, String, String)> {
    let raw = database.raw().await;
    let sql = "SELECT state, decision, account FROM charges WHERE id = $1";
    let statement = Statement::from_sql_and_values(raw.get_database_backend(), sql, [Value::from(id.0)]);
    let row = raw.query_one_raw(statement).await.unwrap();
    let text = |row: &sea_orm::QueryResult, name| row.try_get::<String>("", name).unwrap();
    let row = row.map(|row| (text(&row, "state"), text(&row, "decision"), text(&row, "account")));
    raw.close().await.unwrap();
    row
}

async fn age(database: &Database, id: ChargeId, days: i64) {
    let raw = database.raw().await;
    let then = OffsetDateTime::now_utc() - time::Duration::days(days);
    let sql = "UPDATE charges SET created_at = $1 WHERE id = $2";
    let values = [Value::from(then), Value::from(id.0)];
    raw.execute_raw(Statement::from_sql_and_values(raw.get_database_backend(), sql, values)).await.unwrap();
    raw.close().await.unwrap();
}

on_both! {
    async fn a_confirmation_can_be_taken_back_until_it_is_carried_out(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let decision = async |id| row(&database, id).await.unwrap().1;
        // Written before it is taken back, and after.
        let early = intend(&store, tenant).await;
        assert!(store.decide_charge(early, Decision::Confirm, HOUR).await.unwrap());
        store.withdraw_charge(early, HOUR).await.unwrap();
        assert_eq!(decision(early).await, "cancel");
        assert!(!store.claim_charge(early, HOUR).await.unwrap(), "there is nothing to be carried out");
        let late = intend(&store, tenant).await;
        store.withdraw_charge(late, HOUR).await.unwrap();
        assert_eq!(decision(late).await, "cancel");
        assert!(!store.decide_charge(late, Decision::Confirm, HOUR).await.unwrap());
        // What is being carried out stays, and so does what has ended.
        let begun = intend(&store, tenant).await;
        assert!(store.decide_charge(begun, Decision::Confirm, HOUR).await.unwrap());
        store.postpone_charge(begun, HOUR).await.unwrap();
        assert!(store.claim_charge(begun, HOUR).await.unwrap());
        let closed = intend(&store, tenant).await;
        assert!(store.decide_charge(closed, Decision::Confirm, HOUR).await.unwrap());
        store.close_charge(closed, Settled::Confirmed).await.unwrap();
        for id in [begun, closed] {
            store.withdraw_charge(id, HOUR).await.unwrap();
        }
        assert_eq!((decision(begun).await, decision(closed).await), ("confirm".to_owned(), "confirm".to_owned()));
    }

    async fn a_closed_charge_holds_no_account_and_is_not_kept_for_ever(database: Database) {
        let store = database.connect().await;
        store.migrate().await.unwrap();
        let tenant = root(&store).await.id;
        let mut ids = Vec::new();
        for settled in [Settled::Confirmed, Settled::Cancelled, Settled::Void, Settled::Lost] {
            let id = intend(&store, tenant).await;
            assert_ne!(row(&database, id).await.unwrap().2, "");
            store.close_charge(id, settled).await.unwrap();
            assert_eq!(row(&database, id).await.unwrap().2, "");
            age(&database, id, 401).await;
            ids.push(id);
        }
        let (open, young) = (intend(&store, tenant).await, intend(&store, tenant).await);
        age(&database, open, 4_000).await;
        store.close_charge(young, Settled::Confirmed).await.unwrap();
        age(&database, young, 399).await;
        assert_eq!(store.forget_charges(400 * DAY, 3).await.unwrap(), 3, "a batch is bounded");
        // The rest is upkeep's.
        let shutdown = CancellationToken::new();
        store.follow(RecordsConfig::default(), shutdown.clone());
        for id in ids {
            eventually("it is forgotten", async || row(&database, id).await.is_none()).await;
        }
        assert!(row(&database, open).await.is_some() && row(&database, young).await.is_some());
        shutdown.cancel();
    }
}
