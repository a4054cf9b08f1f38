//! Money is exact: what was answered is paid for once, what was not is not, and nothing stays reserved, whatever
//! fails on the way.

mod beside;
mod crashes;
mod faults;
mod load;
mod marketplace;
mod outcomes;
mod prices;
mod repeats;
mod stages;
mod stalls;
mod wire;

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, Statement, Value as Column};
use serde_json::Value;
use syft_endpoints::{
    domain::{self, EndpointId, PolicyId, Query, QueryDraft},
    model::Model,
    pipeline::{Call, Config, Plan},
    policy::{Policies, PolicySet},
    store::Store,
    upstream,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{
    bank::Bank,
    database::Database,
    eventually_within,
    rig::{Rig, call, plan},
};

/// Who pays.
const PAYER: &str = "bob@example.org";
const UNIT: i64 = 1_000_000_000;
const SOON: Duration = Duration::from_secs(10);

/// A bank, a database, and what charges between them.
struct Shop {
    bank: Bank,
    policies: Policies,
    store: Store,
    database: Database,
    recovering: CancellationToken,
    /// What has been started.
    tasks: TaskTracker,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.recovering.cancel();
    }
}

impl Shop {
    async fn open(database: Database) -> Self {
        let (bank, store) = (Bank::start().await, database.store().await);
        let policies = Policies::new(&store, &upstream::Config::default(), Duration::from_secs(300)).unwrap();
        let (recovering, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { bank, policies, store, database, recovering, tasks }
    }

    /// Starts the recovery job.
    fn recover(&self) {
        self.tasks.spawn(self.policies.clone().recover_charges(self.recovering.clone()));
    }

    fn policies(&self, pricings: &[Value]) -> PolicySet {
        let endpoint_id = EndpointId::new();
        let stored = pricings.iter().map(|pricing| domain::Policy {
            id: PolicyId::new(),
            endpoint_id,
            endpoint_slug: "x".to_owned(),
            name: "price".to_owned(),
            policy_type: "accounting".to_owned(),
            configuration: self.bank.charging(pricing.clone()).as_object().unwrap().clone(),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            updated_at: time::OffsetDateTime::UNIX_EPOCH,
        });
        self.policies.build(&stored.collect::<Vec<_>>()).unwrap()
    }

    /// A pipeline whose endpoint asks this model at this price.
    fn rig(&self, model: impl Model + 'static, pricing: Value) -> Rig {
        let plan = Plan { policies: self.policies(&[pricing]), ..plan(Some(Arc::new(model)), Vec::new()) };
        Rig::new(Config { buffered_events: 1, ..Config::default() }, plan)
    }

    /// A question with a new token.
    fn paying(&self) -> Call {
        asking(Some(self.bank.token(PAYER)))
    }

    /// Waits until nothing is reserved and nothing is open; then the bank must have got `nano_units` and nobody
    /// have paid twice.
    async fn has_earned(&self, nano_units: i64) {
        self.has_earned_within(SOON, nano_units).await;
    }

    async fn has_earned_within(&self, limit: Duration, nano_units: i64) {
        settled_within(limit, &self.bank, &self.database).await;
        assert_eq!(self.bank.earned(), nano_units);
        assert_eq!(confirmed(&self.database).await, nano_units, "the charges say something else");
    }
}

fn asking(token: Option<String>) -> Call {
    let draft = QueryDraft {
        messages: vec![("user".to_owned(), "what?".to_owned())],
        transaction_token: token,
        ..QueryDraft::default()
    };
    Call { query: Query::parse(draft).unwrap(), ..call("x") }
}

async fn settled(bank: &Bank, database: &Database) {
    settled_within(SOON, bank, database).await;
}

async fn settled_within(limit: Duration, bank: &Bank, database: &Database) {
    // A charge that the service has never heard of is kept for a while.
    let never_made = "state = 'open' AND (decision <> 'cancel' OR transaction_id IS NOT NULL)";
    let is_free = async || bank.pending() == 0 && count(database, never_made).await == 0;
    eventually_within(limit, "nothing is reserved", is_free).await;
    an_hour_passes(database).await;
    let is_over = async || count(database, "state = 'open'").await == 0;
    eventually_within(limit, "nothing is open", is_over).await;
    bank.audit();
}

/// Makes every charge older, and due, and who holds the job's lease lose it.
async fn an_hour_passes(database: &Database) {
    hours_pass(database, 1).await;
}

async fn hours_pass(database: &Database, hours: i64) {
    let raw = database.raw().await;
    let sql = "UPDATE charges SET created_at = $1, due_at = due_at - 3600000000 WHERE state = 'open'";
    let then = time::OffsetDateTime::now_utc() - time::Duration::hours(hours);
    let statement = Statement::from_sql_and_values(raw.get_database_backend(), sql, [Column::from(then)]);
    raw.execute_raw(statement).await.unwrap();
    raw.execute_unprepared("UPDATE leases SET expires_at = expires_at - 3600000000").await.unwrap();
    raw.close().await.unwrap();
}

async fn count(database: &Database, which: &str) -> i64 {
    number(database, &format!("SELECT count(*) AS n FROM charges WHERE {which}")).await
}

async fn confirmed(database: &Database) -> i64 {
    let sum = "CAST(coalesce(sum(nano_units), 0) AS bigint)";
    number(database, &format!("SELECT {sum} AS n FROM charges WHERE state = 'confirmed'")).await
}

async fn number(database: &Database, sql: &str) -> i64 {
    let raw = database.raw().await;
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    let number = row.unwrap().try_get("", "n").unwrap();
    raw.close().await.unwrap();
    number
}
