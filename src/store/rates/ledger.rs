//! One batch of admissions inside one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};

use super::{Admission, Key, Slot, Window};
use crate::{error::Error, store::database_micros};

/// The slots of one (policy, key), as far as this batch needs them. Both lists have the oldest last.
struct Counter {
    /// Never decreasing, over all replicas.
    now: i64,
    /// How many slots exist.
    slots: i64,
    /// When the N newest admissions were made, beginning with the N-th: each must have left the window
    /// before the next admission.
    gates: Vec<i64>,
    /// The slots that hold the oldest admissions of all. After a limit was lowered these lie before the
    /// gates, and are overwritten first; history is kept in case it is raised again.
    victims: Vec<i64>,
    changed: BTreeMap<i64, i64>,
}

/// Decides a batch in the order it was asked.
pub(super) async fn decide(
    txn: &DatabaseTransaction,
    asked: &[Vec<Window>],
    returned: &[Slot],
) -> Result<Vec<Admission>, Error> {
    let mut counters = lock(txn, asked, returned).await?;
    let admissions = asked.iter().map(|windows| admit(&mut counters, windows)).collect();
    for (key, counter) in &counters {
        save(txn, key, counter).await?;
    }
    Ok(admissions)
}

fn admit(counters: &mut BTreeMap<Key, Counter>, windows: &[Window]) -> Admission {
    for (i, window) in windows.iter().enumerate() {
        let Some(counter) = counters.get(&key(window)) else { continue };
        if let Some(wait) = counter.wait(window) {
            return Admission::Refused { window: i, retry_after: wait };
        }
    }
    let taken = windows.iter().filter_map(|window| Some(counters.get_mut(&key(window))?.take(window)));
    Admission::Granted(taken.collect())
}

impl Counter {
    /// How long until the window has room; `None` when it has.
    fn wait(&self, window: &Window) -> Option<Duration> {
        if self.slots < i64::from(window.limit) {
            return None;
        }
        let free_at = self.gates.last()?.saturating_add(micros(window.length));
        let wait = u64::try_from(free_at - self.now).unwrap_or(0);
        (wait > 0).then(|| Duration::from_micros(wait))
    }

    fn take(&mut self, window: &Window) -> Slot {
        let slot = if self.slots < i64::from(window.limit) {
            self.slots += 1;
            self.slots - 1
        } else {
            self.gates.pop();
            self.victims.pop().unwrap_or_default()
        };
        self.changed.insert(slot, self.now);
        // Nothing here is younger than `now`: it goes to the far end.
        self.gates.insert(0, self.now);
        self.victims.insert(0, slot);
        Slot { policy: window.policy, key: window.key.clone(), slot, admitted_at: self.now }
    }
}

/// Locks every counter of the batch, in one order for all replicas, gives slots back, and loads what the
/// batch needs.
async fn lock(
    txn: &DatabaseTransaction,
    asked: &[Vec<Window>],
    returned: &[Slot],
) -> Result<BTreeMap<Key, Counter>, Error> {
    let mut wanted: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    for window in asked.iter().flatten() {
        let limit = i64::from(window.limit);
        let (least, requests) = wanted.entry(key(window)).or_insert((limit, 0));
        *least = limit.min(*least);
        *requests += 1;
    }
    let keys = returned.iter().map(|slot| (slot.policy.0, slot.key.clone())).chain(wanted.keys().cloned());
    let mut rows = BTreeMap::new();
    for key in keys.collect::<BTreeSet<Key>>() {
        let row = lock_row(txn, &key).await?;
        rows.insert(key, row);
    }
    give_back(txn, returned).await?;
    let mut counters = BTreeMap::new();
    for (key, (limit, requests)) in wanted {
        let (slots, last_at) = rows.get(&key).copied().unwrap_or_default();
        let now = database_micros(txn).await?.max(last_at);
        let mut counter =
            Counter { now, slots, gates: Vec::new(), victims: Vec::new(), changed: BTreeMap::new() };
        if slots + requests > limit {
            let first = oldest(txn, &key, 0, requests).await?;
            let gates = if slots <= limit {
                first.clone()
            } else {
                oldest(txn, &key, slots - limit, requests).await?
            };
            counter.victims = first.into_iter().map(|(_, slot)| slot).collect();
            counter.gates = gates.into_iter().map(|(admitted_at, _)| admitted_at).collect();
        }
        counters.insert(key, counter);
    }
    Ok(counters)
}

/// Makes the row if there is none. An update that changes nothing locks it either way.
async fn lock_row(txn: &DatabaseTransaction, key: &Key) -> Result<(i64, i64), Error> {
    let sql = "INSERT INTO rate_counters (policy_id, key, slots, last_at) VALUES ($1, $2, 0, 0) \
               ON CONFLICT (policy_id, key) DO UPDATE SET slots = rate_counters.slots RETURNING slots, last_at";
    let row = txn.query_one_raw(statement(txn, sql, [key.0.into(), key.1.clone().into()])).await?;
    let row = row.ok_or_else(|| Error::internal("a rate counter is missing"))?;
    Ok((row.try_get("", "slots")?, row.try_get("", "last_at")?))
}

/// `count` admissions, oldest last, after the oldest `skip`.
async fn oldest(
    txn: &DatabaseTransaction,
    key: &Key,
    skip: i64,
    count: i64,
) -> Result<Vec<(i64, i64)>, Error> {
    let sql = "SELECT admitted_at, slot FROM rate_slots WHERE policy_id = $1 AND key = $2 \
               ORDER BY admitted_at, slot LIMIT $3 OFFSET $4";
    let values = [key.0.into(), key.1.clone().into(), count.into(), skip.into()];
    let rows = txn.query_all_raw(statement(txn, sql, values)).await?;
    let read = rows.iter().rev().map(|row| Ok((row.try_get("", "admitted_at")?, row.try_get("", "slot")?)));
    read.collect()
}

async fn save(txn: &DatabaseTransaction, key: &Key, counter: &Counter) -> Result<(), Error> {
    if counter.changed.is_empty() {
        return Ok(());
    }
    for (slot, admitted_at) in &counter.changed {
        put(txn, key, *slot, *admitted_at).await?;
    }
    let sql = "UPDATE rate_counters SET slots = $3, last_at = $4 WHERE policy_id = $1 AND key = $2";
    let values = [key.0.into(), key.1.clone().into(), counter.slots.into(), counter.now.into()];
    txn.execute_raw(statement(txn, sql, values)).await?;
    Ok(())
}

async fn put(txn: &DatabaseTransaction, key: &Key, slot: i64, admitted_at: i64) -> Result<(), Error> {
    let sql = "INSERT INTO rate_slots (policy_id, key, slot, admitted_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (policy_id, key, slot) DO UPDATE SET admitted_at = excluded.admitted_at";
    let values = [key.0.into(), key.1.clone().into(), slot.into(), admitted_at.into()];
    txn.execute_raw(statement(txn, sql, values)).await?;
    Ok(())
}

/// A slot given back is as old as can be: the next admission takes it. A slot that has been taken again
/// since is left alone.
async fn give_back(txn: &DatabaseTransaction, slots: &[Slot]) -> Result<(), Error> {
    for slot in slots {
        let sql = "UPDATE rate_slots SET admitted_at = 0 \
                   WHERE policy_id = $1 AND key = $2 AND slot = $3 AND admitted_at = $4";
        let values =
            [slot.policy.0.into(), slot.key.clone().into(), slot.slot.into(), slot.admitted_at.into()];
        txn.execute_raw(statement(txn, sql, values)).await?;
    }
    Ok(())
}

fn statement<const N: usize>(txn: &DatabaseTransaction, sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(txn.get_database_backend(), sql, values)
}

fn key(window: &Window) -> Key {
    (window.policy.0, window.key.clone())
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
