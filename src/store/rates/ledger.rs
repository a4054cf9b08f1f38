//! One batch of admissions inside one transaction, in a handful of statements however many callers are
//! counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Value};

use super::{Admission, Key, Slot, Window};
use crate::{
    error::Error,
    store::{Store, bulk::Bulk, clock},
};

/// The slots of one (policy, key), as far as this batch needs them. Both lists have the oldest last.
#[derive(Default)]
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
    save(txn, counters).await?;
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

/// How long until a window has room, without locking or taking anything; `None` when it has.
pub(super) async fn wait(store: &Store, window: &Window) -> Result<Option<Duration>, Error> {
    let clock = clock(store.backend());
    let sql = format!(
        "SELECT admitted_at, {clock} AS now FROM rate_slots WHERE policy_id = $1 AND key = $2 \
         ORDER BY admitted_at DESC LIMIT 1 OFFSET $3"
    );
    let skipped = i64::from(window.limit.saturating_sub(1));
    let values = [window.policy.0.into(), window.key.clone().into(), skipped.into()];
    let Some(row) = store.reader().query_one_raw(store.statement(&sql, values)).await? else {
        return Ok(None);
    };
    let (admitted_at, now): (i64, i64) = (row.try_get("", "admitted_at")?, row.try_get("", "now")?);
    let wait = u64::try_from(admitted_at.saturating_add(micros(window.length)) - now).unwrap_or(0);
    Ok((wait > 0).then(|| Duration::from_micros(wait)))
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
    let mut counters = lock_rows(txn, keys.collect()).await?;
    give_back(txn, returned).await?;
    counters.retain(|key, _| wanted.contains_key(key));
    let (mut crowded, mut shrunk) = (Vec::new(), Vec::new());
    for (key, (limit, requests)) in wanted {
        let Some(slots) = counters.get(&key).map(|counter| counter.slots) else { continue };
        if slots > limit {
            shrunk.push((key.clone(), requests, slots - limit));
        }
        if slots + requests > limit {
            crowded.push((key, requests, 0));
        }
    }
    for (key, slots) in oldest(txn, crowded).await? {
        let Some(counter) = counters.get_mut(&key) else { continue };
        (counter.gates, counter.victims) = slots.into_iter().unzip();
    }
    for (key, slots) in oldest(txn, shrunk).await? {
        let Some(counter) = counters.get_mut(&key) else { continue };
        counter.gates = slots.into_iter().map(|(admitted_at, _)| admitted_at).collect();
    }
    Ok(counters)
}

/// Makes the rows that are missing. An update that changes nothing locks the others. The clock is read
/// for each row when it is locked.
async fn lock_rows(txn: &DatabaseTransaction, keys: BTreeSet<Key>) -> Result<BTreeMap<Key, Counter>, Error> {
    const HEAD: &str = "INSERT INTO rate_counters (policy_id, key, slots, last_at) VALUES ";
    const ROW: &str = "(?, ?, 0, 0)";
    static POSTGRES: Bulk = Bulk::new(
        HEAD,
        ROW,
        concat!(
            " ON CONFLICT (policy_id, key) DO UPDATE SET slots = rate_counters.slots RETURNING policy_id, ",
            "key, slots, last_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now"
        ),
    );
    static SQLITE: Bulk = Bulk::new(
        HEAD,
        ROW,
        concat!(
            " ON CONFLICT (policy_id, key) DO UPDATE SET slots = rate_counters.slots RETURNING policy_id, ",
            "key, slots, last_at, CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER) AS now"
        ),
    );
    let bulk = if txn.get_database_backend() == DbBackend::Postgres { &POSTGRES } else { &SQLITE };
    let keys = keys.into_iter().map(|(policy, key)| [policy.into(), key.into()]).collect();
    let mut counters = BTreeMap::new();
    for row in bulk.ask(txn, keys).await? {
        let (now, last_at): (i64, i64) = (row.try_get("", "now")?, row.try_get("", "last_at")?);
        let counter =
            Counter { now: now.max(last_at), slots: row.try_get("", "slots")?, ..Counter::default() };
        counters.insert((row.try_get("", "policy_id")?, row.try_get("", "key")?), counter);
    }
    Ok(counters)
}

/// For each key so many admissions, oldest last, after so many that are older.
async fn oldest(
    txn: &DatabaseTransaction,
    wanted: Vec<(Key, i64, i64)>,
) -> Result<BTreeMap<Key, Vec<(i64, i64)>>, Error> {
    static BULK: Bulk = Bulk::new(
        "",
        "SELECT * FROM (SELECT policy_id, key, admitted_at, slot FROM rate_slots \
         WHERE policy_id = ? AND key = ? ORDER BY admitted_at, slot LIMIT ? OFFSET ?) AS one",
        "",
    )
    .between(" UNION ALL ");
    let wanted = wanted.into_iter();
    let wanted =
        wanted.map(|((policy, key), count, skip)| [policy.into(), key.into(), count.into(), skip.into()]);
    let mut found: BTreeMap<Key, Vec<(i64, i64)>> = BTreeMap::new();
    for row in BULK.ask(txn, wanted.collect()).await? {
        let key = (row.try_get("", "policy_id")?, row.try_get("", "key")?);
        found.entry(key).or_default().push((row.try_get("", "admitted_at")?, row.try_get("", "slot")?));
    }
    for slots in found.values_mut() {
        slots.sort_unstable_by(|a, b| b.cmp(a));
    }
    Ok(found)
}

async fn save(txn: &DatabaseTransaction, counters: BTreeMap<Key, Counter>) -> Result<(), Error> {
    static SLOTS: Bulk = Bulk::new(
        "INSERT INTO rate_slots (policy_id, key, slot, admitted_at) VALUES ",
        "(?, ?, ?, ?)",
        " ON CONFLICT (policy_id, key, slot) DO UPDATE SET admitted_at = excluded.admitted_at",
    );
    static COUNTERS: Bulk = Bulk::new(
        "INSERT INTO rate_counters (policy_id, key, slots, last_at) VALUES ",
        "(?, ?, ?, ?)",
        " ON CONFLICT (policy_id, key) DO UPDATE SET slots = excluded.slots, last_at = excluded.last_at",
    );
    let (mut slots, mut rows): (Vec<[Value; 4]>, Vec<[Value; 4]>) = (Vec::new(), Vec::new());
    for ((policy, key), counter) in counters {
        if counter.changed.is_empty() {
            continue;
        }
        let changed = counter.changed.into_iter();
        slots.extend(changed.map(|(slot, at)| [policy.into(), key.clone().into(), slot.into(), at.into()]));
        rows.push([policy.into(), key.into(), counter.slots.into(), counter.now.into()]);
    }
    SLOTS.tell(txn, slots).await?;
    COUNTERS.tell(txn, rows).await
}

/// A slot given back is as old as can be: the next admission takes it. A slot that has been taken again
/// since is left alone.
async fn give_back(txn: &DatabaseTransaction, slots: &[Slot]) -> Result<(), Error> {
    static BULK: Bulk = Bulk::new(
        "UPDATE rate_slots SET admitted_at = 0 WHERE (policy_id, key, slot, admitted_at) IN (VALUES ",
        "(?, ?, ?, ?)",
        ")",
    );
    let slots = slots.iter();
    let slots = slots.map(|s| [s.policy.0.into(), s.key.clone().into(), s.slot.into(), s.admitted_at.into()]);
    BULK.tell(txn, slots.collect()).await
}

fn key(window: &Window) -> Key {
    (window.policy.0, window.key.clone())
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
