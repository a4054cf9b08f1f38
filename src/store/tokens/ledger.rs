//! One batch of holds and settlements inside one transaction, in a handful of statements however many
//! callers are counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement, Value};
use uuid::Uuid;

use super::{
    Allowance, Amount, Ask, Frame, Grant, Hold, Settlement, Shortage,
    window::{self, Bucket, Place},
};
use crate::{
    domain::PolicyId,
    error::Error,
    store::{Store, bulk::Bulk, database_micros},
};

/// Holds of dead processes that one sweep gives back at most.
const SWEPT: i64 = 1_000;

type Key = (Uuid, String);

/// What is known of one (policy, key), as far as this batch needs it.
struct Counter {
    /// Never decreasing, over all replicas.
    now: i64,
    buckets: Vec<Bucket>,
}

/// What a batch does to the buckets, and the holds it makes.
#[derive(Default)]
struct Changes {
    buckets: BTreeMap<(Key, Place), Change>,
    holds: Vec<Hold>,
}

/// What is added to a bucket.
#[derive(Default)]
struct Change {
    used: Amount,
    held: Amount,
    stale_at: i64,
}

/// Settles first, then decides in the order in which it was asked.
pub(super) async fn decide(
    txn: &DatabaseTransaction,
    asked: &[Ask],
    settled: &[Settlement],
    lease: Duration,
) -> Result<Vec<Grant>, Error> {
    let allowances = || asked.iter().flat_map(|ask| &ask.allowances);
    let keys = settled.iter().map(|settlement| (settlement.hold.policy.0, settlement.hold.key.clone()));
    let mut counters = lock(txn, keys.chain(allowances().map(key)).collect()).await?;
    let mut changes = Changes::default();
    let mut there = release(txn, settled).await?;
    for Settlement { hold, used } in settled {
        if there.remove(&hold.id) {
            changes.add(hold, *used, Amount::default() - hold.amount);
        }
    }
    load(txn, allowances(), &mut counters).await?;
    for ((key, place), change) in &changes.buckets {
        let Some(counter) = counters.get_mut(key) else { continue };
        counter.add(*place, change.used, change.held);
    }
    let grants = asked.iter().map(|ask| grant(&mut counters, &mut changes, ask)).collect();
    changes.save(txn, &counters, lease).await?;
    Ok(grants)
}

fn grant(counters: &mut BTreeMap<Key, Counter>, changes: &mut Changes, ask: &Ask) -> Grant {
    for (i, allowance) in ask.allowances.iter().enumerate() {
        let Some(counter) = counters.get(&key(allowance)) else { continue };
        let limits = (allowance.frame, allowance.caps.as_slice());
        if let Some(shortage) = window::shortage(limits, counter.now, &counter.buckets, ask.need) {
            return Grant::Refused { allowance: i, shortage };
        }
    }
    let mut holds = Vec::with_capacity(ask.allowances.len());
    for allowance in &ask.allowances {
        let Some(counter) = counters.get_mut(&key(allowance)) else { continue };
        let place = allowance.frame.place(counter.now);
        counter.add(place, Amount::default(), ask.need);
        holds.push(Hold {
            id: Uuid::now_v7(),
            policy: allowance.policy,
            key: allowance.key.clone(),
            place,
            frame: allowance.frame,
            amount: ask.need,
        });
    }
    for hold in &holds {
        changes.add(hold, Amount::default(), hold.amount);
    }
    changes.holds.extend(holds.iter().cloned());
    Grant::Held(holds)
}

/// Why there is no room, without locking or taking anything; `None` when there is.
pub(super) async fn shortage(
    store: &Store,
    allowance: &Allowance,
    need: Amount,
) -> Result<Option<Shortage>, Error> {
    let now = database_micros(store.reader()).await?;
    let sql = "SELECT * FROM token_buckets WHERE policy_id = $1 AND key = $2 AND ends_at > $3";
    let values = [allowance.policy.0.into(), allowance.key.clone().into(), allowance.frame.since(now).into()];
    let rows = store.reader().query_all_raw(store.statement(sql, values)).await?;
    let buckets: Vec<Bucket> = rows.iter().map(bucket).collect::<Result<_, _>>()?;
    Ok(window::shortage((allowance.frame, &allowance.caps), now, &buckets, need))
}

/// Gives back what is held too long. The requests count.
pub(super) async fn give_back(txn: &DatabaseTransaction) -> Result<(), Error> {
    let (backend, now) = (txn.get_database_backend(), database_micros(txn).await?);
    let sql = "SELECT id, policy_id, key, ends_at, grain, requests, input_tokens, output_tokens FROM token_holds \
               WHERE due_at < $1 ORDER BY due_at LIMIT $2";
    let due = Statement::from_sql_and_values(backend, sql, [now.into(), SWEPT.into()]);
    let due = txn.query_all_raw(due).await?;
    let due: Vec<Settlement> = due.iter().map(forfeit).collect::<Result<_, _>>()?;
    if !due.is_empty() {
        tracing::warn!(count = due.len(), "tokens were held for queries whose process has died");
        decide(txn, &[], &due, Duration::ZERO).await?;
    }
    Ok(())
}

/// Deletes what counts no more.
pub(super) async fn forget(txn: &DatabaseTransaction) -> Result<(), Error> {
    let (backend, now) = (txn.get_database_backend(), database_micros(txn).await?);
    for sql in [
        // Locks the counters as an admission does: one that comes meanwhile waits, and counts anew.
        "UPDATE token_counters SET last_at = last_at WHERE NOT EXISTS (SELECT 1 FROM token_buckets b WHERE \
         b.stale_at >= $1 AND b.policy_id = token_counters.policy_id AND b.key = token_counters.key)",
        "DELETE FROM token_buckets WHERE stale_at < $1",
        "DELETE FROM token_counters WHERE last_at < $1 AND NOT EXISTS (SELECT 1 FROM token_buckets b WHERE \
         b.policy_id = token_counters.policy_id AND b.key = token_counters.key)",
    ] {
        txn.execute_raw(Statement::from_sql_and_values(backend, sql, [now.into()])).await?;
    }
    Ok(())
}

impl Counter {
    fn add(&mut self, place: Place, used: Amount, held: Amount) {
        match self.buckets.iter_mut().find(|bucket| bucket.place == place) {
            Some(bucket) => {
                bucket.used = bucket.used + used;
                bucket.held = bucket.held + held;
            }
            None => self.buckets.push(Bucket { place, used, held }),
        }
    }
}

impl Changes {
    fn add(&mut self, hold: &Hold, used: Amount, held: Amount) {
        let change = self.buckets.entry(((hold.policy.0, hold.key.clone()), hold.place)).or_default();
        change.used = change.used + used;
        change.held = change.held + held;
        change.stale_at = change.stale_at.max(hold.frame.stale_at(hold.place));
    }

    async fn save(
        self,
        txn: &DatabaseTransaction,
        counters: &BTreeMap<Key, Counter>,
        lease: Duration,
    ) -> Result<(), Error> {
        static BUCKETS: Bulk = Bulk::new(
            "INSERT INTO token_buckets (policy_id, key, ends_at, grain, requests, input_tokens, output_tokens, \
             held_requests, held_input, held_output, stale_at) VALUES ",
            "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            concat!(
                " ON CONFLICT (policy_id, key, ends_at, grain) DO UPDATE SET ",
                "requests = token_buckets.requests + excluded.requests, ",
                "input_tokens = token_buckets.input_tokens + excluded.input_tokens, ",
                "output_tokens = token_buckets.output_tokens + excluded.output_tokens, ",
                "held_requests = token_buckets.held_requests + excluded.held_requests, ",
                "held_input = token_buckets.held_input + excluded.held_input, ",
                "held_output = token_buckets.held_output + excluded.held_output"
            ),
        );
        static HOLDS: Bulk = Bulk::new(
            "INSERT INTO token_holds (id, policy_id, key, ends_at, grain, requests, input_tokens, \
             output_tokens, due_at) VALUES ",
            "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            "",
        );
        let rows =
            self.buckets.into_iter().map(|(((policy, key), place), change)| change.row(policy, key, place));
        BUCKETS.tell(txn, rows.collect()).await?;
        let lease = i64::try_from(lease.as_micros()).map_err(Error::internal)?;
        let rows = self.holds.into_iter().map(|hold| {
            let counter = counters.get(&(hold.policy.0, hold.key.clone()));
            let now = counter.map_or(0, |counter| counter.now);
            hold.row(now.saturating_add(lease))
        });
        HOLDS.tell(txn, rows.collect()).await
    }
}

impl Hold {
    /// In the order of the columns.
    fn row(self, due_at: i64) -> [Value; 9] {
        let Self { id, policy, key, place, amount, .. } = self;
        [
            id.into(),
            policy.0.into(),
            key.into(),
            place.ends_at.into(),
            place.grain.into(),
            amount.requests.into(),
            amount.input_tokens.into(),
            amount.output_tokens.into(),
            due_at.into(),
        ]
    }
}

impl Change {
    /// In the order of the columns.
    fn row(self, policy: Uuid, key: String, place: Place) -> [Value; 11] {
        let Self { used, held, stale_at } = self;
        [
            policy.into(),
            key.into(),
            place.ends_at.into(),
            place.grain.into(),
            used.requests.into(),
            used.input_tokens.into(),
            used.output_tokens.into(),
            held.requests.into(),
            held.input_tokens.into(),
            held.output_tokens.into(),
            stale_at.into(),
        ]
    }
}

/// Locks every counter of the batch, in one order for all replicas, and makes those that are missing. The
/// clock of each is read when it is locked.
async fn lock(txn: &DatabaseTransaction, keys: BTreeSet<Key>) -> Result<BTreeMap<Key, Counter>, Error> {
    const HEAD: &str = "INSERT INTO token_counters (policy_id, key, last_at) VALUES ";
    static POSTGRES: Bulk = Bulk::new(
        HEAD,
        "(?, ?, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)",
        concat!(
            " ON CONFLICT (policy_id, key) DO UPDATE SET last_at = greatest(token_counters.last_at, ",
            "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint) RETURNING policy_id, key, last_at"
        ),
    );
    static SQLITE: Bulk = Bulk::new(
        HEAD,
        "(?, ?, CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER))",
        concat!(
            " ON CONFLICT (policy_id, key) DO UPDATE SET last_at = max(token_counters.last_at, ",
            "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)) RETURNING policy_id, key, last_at"
        ),
    );
    let bulk = if txn.get_database_backend() == DbBackend::Postgres { &POSTGRES } else { &SQLITE };
    let keys = keys.into_iter().map(|(policy, key)| [policy.into(), key.into()]).collect();
    let mut counters = BTreeMap::new();
    for row in bulk.ask(txn, keys).await? {
        let counter = Counter { now: row.try_get("", "last_at")?, buckets: Vec::new() };
        counters.insert((row.try_get("", "policy_id")?, row.try_get("", "key")?), counter);
    }
    Ok(counters)
}

/// Ends these holds, and returns those that were there.
async fn release(txn: &DatabaseTransaction, settled: &[Settlement]) -> Result<HashSet<Uuid>, Error> {
    static BULK: Bulk = Bulk::new("DELETE FROM token_holds WHERE id IN (", "?", ") RETURNING id");
    let ids = settled.iter().map(|settlement| [settlement.hold.id.into()]).collect();
    let rows = BULK.ask(txn, ids).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Loads the buckets that count.
async fn load(
    txn: &DatabaseTransaction,
    allowances: impl Iterator<Item = &Allowance>,
    counters: &mut BTreeMap<Key, Counter>,
) -> Result<(), Error> {
    static BULK: Bulk = Bulk::new(
        "",
        "SELECT policy_id, key, ends_at, grain, requests, input_tokens, output_tokens, held_requests, \
         held_input, held_output FROM token_buckets WHERE policy_id = ? AND key = ? AND ends_at > ?",
        "",
    )
    .between(" UNION ALL ");
    let mut wanted: BTreeMap<Key, i64> = BTreeMap::new();
    for allowance in allowances {
        let Some(counter) = counters.get(&key(allowance)) else { continue };
        let since = allowance.frame.since(counter.now);
        let earliest = wanted.entry(key(allowance)).or_insert(since);
        *earliest = since.min(*earliest);
    }
    let wanted = wanted.into_iter().map(|((policy, key), since)| [policy.into(), key.into(), since.into()]);
    for row in BULK.ask(txn, wanted.collect()).await? {
        let key = (row.try_get("", "policy_id")?, row.try_get("", "key")?);
        let Some(counter) = counters.get_mut(&key) else { continue };
        counter.buckets.push(bucket(&row)?);
    }
    Ok(())
}

fn bucket(row: &QueryResult) -> Result<Bucket, DbErr> {
    Ok(Bucket {
        place: place(row)?,
        used: amount(row, ["requests", "input_tokens", "output_tokens"])?,
        held: amount(row, ["held_requests", "held_input", "held_output"])?,
    })
}

/// A hold that is given back, as a settlement.
fn forfeit(row: &QueryResult) -> Result<Settlement, DbErr> {
    let amount = amount(row, ["requests", "input_tokens", "output_tokens"])?;
    let hold = Hold {
        id: row.try_get("", "id")?,
        policy: PolicyId(row.try_get("", "policy_id")?),
        key: row.try_get("", "key")?,
        place: place(row)?,
        // Its bucket is there, and knows until when it counts.
        frame: Frame::Rolling(window::Period::Minute),
        amount,
    };
    Ok(Settlement { hold, used: Amount { requests: amount.requests, ..Amount::default() } })
}

fn amount(row: &QueryResult, [requests, input, output]: [&str; 3]) -> Result<Amount, DbErr> {
    Ok(Amount {
        requests: row.try_get("", requests)?,
        input_tokens: row.try_get("", input)?,
        output_tokens: row.try_get("", output)?,
    })
}

fn place(row: &QueryResult) -> Result<Place, DbErr> {
    Ok(Place { ends_at: row.try_get("", "ends_at")?, grain: row.try_get("", "grain")? })
}

fn key(allowance: &Allowance) -> Key {
    (allowance.policy.0, allowance.key.clone())
}
