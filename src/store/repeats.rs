//! Repeats: clients ask again when an answer was lost, and must not pay or count for that.
//!
//! A query that may come again holds a row while it runs, and leaves in it how it ended. The row is held on the
//! database's clock, and its replica renews it; one that is not renewed belonged to a replica that is dead, or as
//! good as dead, and whoever comes next takes it over. A charge that the dead one had not decided is cancelled
//! in the same transaction, so that one of the two pays, never both.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, Value};
use tokio::{sync::oneshot, time::sleep};
use uuid::Uuid;

use super::{Store, bulk::Bulk, clock, database_micros};
use crate::{
    domain::{QueryId, TenantId},
    error::Error,
};

/// How long a row is held that is not renewed.
const TERM: Duration = Duration::from_secs(15);
/// How long it is known how a query ended.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
/// How often an ended query may come again at no cost.
const MAX_REPEATS: i64 = 2;

/// What makes two queries the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepeatKey {
    pub tenant: TenantId,
    /// Who asks what under which name, hashed.
    pub key: String,
    /// The question, hashed.
    pub body: String,
}

/// What came of claiming a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It has not been asked, or too often. It is held now.
    First,
    /// It was asked and counted, but not answered. It is held now.
    Counted,
    /// It was answered. Nothing is held.
    Answered,
    /// It runs.
    Running,
    /// Another question has its name.
    Differs,
}

/// What is left of a query that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Answered,
    /// Limits have counted it.
    Counted,
    /// As if it had never been asked.
    Void,
}

/// Claims queries for this process. Clones share what is held.
#[derive(Clone)]
pub struct Repeats {
    store: Store,
    held: Arc<Mutex<HashSet<(RepeatKey, QueryId)>>>,
}

/// A row as it was found.
struct Found {
    query: Uuid,
    body: String,
    state: String,
    repeats: i64,
    lapsed: bool,
}

impl Repeats {
    /// Starts to renew what is held. It ends when the store closes.
    pub fn start(store: &Store) -> Self {
        let repeats = Self { store: store.clone(), held: Arc::default() };
        store.inner.tasks.spawn(repeats.clone().renew());
        repeats
    }

    /// Claims a query. What is held must be given to [`Repeats::finish`]; if that never happens, it counts as
    /// running for 15 s more. What is claimed for who has gone away is given back. One transaction of one or two
    /// statements.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn claim(&self, key: &RepeatKey, query: QueryId) -> Result<Claim, Error> {
        let (reply, answer) = oneshot::channel();
        let (repeats, key) = (self.clone(), key.clone());
        self.store.inner.tasks.spawn(async move {
            let untaken = match reply.send(repeats.hold(&key, query).await) {
                Err(Ok(Claim::First)) => Ending::Void,
                Err(Ok(Claim::Counted)) => Ending::Counted,
                _ => return,
            };
            if let Err(error) = repeats.finish(&key, query, untaken).await {
                tracing::warn!(cause = error.cause(), "a claim was not given back");
            }
        });
        answer.await.map_err(Error::internal)?
    }

    async fn hold(&self, key: &RepeatKey, query: QueryId) -> Result<Claim, Error> {
        let wanted = key.clone();
        let claimed = self
            .store
            .write_in_turn(move |txn| Box::pin(async move { claim(txn, &wanted, query.0).await }))
            .await?;
        if matches!(claimed, Claim::First | Claim::Counted) {
            self.held().insert((key.clone(), query));
        }
        Ok(claimed)
    }

    /// Whether a query runs that is the same. Locks nothing.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn is_running(&self, key: &RepeatKey) -> Result<bool, Error> {
        let sql = format!(
            "SELECT 1 FROM repeats WHERE tenant_id = $1 AND key = $2 AND body = $3 AND state = 'running' \
             AND until > {}",
            clock(self.store.backend())
        );
        let values: [Value; 3] = [key.tenant.0.into(), key.key.clone().into(), key.body.clone().into()];
        Ok(self.store.reader().query_one_raw(self.store.statement(&sql, values)).await?.is_some())
    }

    /// Says how a query ended that is held. One that was taken over meanwhile is left alone.
    ///
    /// # Errors
    /// `StoreUnavailable`: then it counts as running for 15 s more at most.
    pub async fn finish(&self, key: &RepeatKey, query: QueryId, ending: Ending) -> Result<(), Error> {
        self.let_go(key, query);
        let mine = "tenant_id = $1 AND key = $2 AND query_id = $3 AND state = 'running'";
        let until = format!("until = {} + $4", clock(self.store.backend()));
        let sql = match ending {
            Ending::Answered => {
                format!("UPDATE repeats SET state = 'answered', repeats = 0, {until} WHERE {mine}")
            }
            Ending::Counted => format!("UPDATE repeats SET state = 'counted', {until} WHERE {mine}"),
            Ending::Void => format!("DELETE FROM repeats WHERE {mine}"),
        };
        let mut values: Vec<Value> = vec![key.tenant.0.into(), key.key.clone().into(), query.0.into()];
        if ending != Ending::Void {
            values.push(micros(KNOWN).into());
        }
        let statement = Statement::from_sql_and_values(self.store.backend(), sql, values);
        let written = self.store.write_in_turn(move |txn| {
            Box::pin(async move { Ok(txn.execute_raw(statement).await.map(|_| ())?) })
        });
        written.await
    }

    /// Renews a query no longer.
    pub fn let_go(&self, key: &RepeatKey, query: QueryId) {
        self.held().remove(&(key.clone(), query));
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<(RepeatKey, QueryId)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn renew(self) {
        let closing = self.store.inner.closing.clone();
        while closing.run_until_cancelled(sleep(TERM / 3)).await.is_some() {
            let held: Vec<_> = self.held().iter().cloned().collect();
            if held.is_empty() {
                continue;
            }
            let renewed = self.store.write(move |txn| Box::pin(async move { renew(txn, &held).await })).await;
            if let Err(error) = renewed {
                tracing::warn!(cause = error.cause(), "running queries were not renewed");
            }
        }
    }
}

impl Store {
    /// Deletes what is left of queries that would be new if they came again, `limit` rows at most. Says how many.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_stale_repeats(&self, limit: u64) -> Result<u64, Error> {
        let backend = self.backend();
        // Asked of the rows that are deleted too: one may be claimed after it was found.
        let stale = "until < $1 AND (state <> 'running' OR until < $2)";
        let sql = format!(
            "DELETE FROM repeats WHERE (tenant_id, key) IN (SELECT tenant_id, key FROM repeats \
             WHERE {stale} LIMIT {limit}) AND {stale}"
        );
        let deleted = self.write(move |txn| {
            Box::pin(async move {
                let now = database_micros(txn).await?;
                // Who takes over a dead query must find whether it was paid for.
                let values = [now.into(), (now - micros(KNOWN)).into()];
                let statement = Statement::from_sql_and_values(backend, sql, values);
                Ok(txn.execute_raw(statement).await?.rows_affected())
            })
        });
        deleted.await
    }
}

/// Renews a query that is about to take money, so that nobody takes it over before that is written. Says whether
/// it is still held.
pub(super) async fn keep(txn: &DatabaseTransaction, key: &RepeatKey, query: QueryId) -> Result<bool, Error> {
    let backend = txn.get_database_backend();
    let sql = format!(
        "UPDATE repeats SET until = {} + $4 WHERE tenant_id = $1 AND key = $2 AND query_id = $3 \
         AND state = 'running'",
        clock(backend)
    );
    let values: [Value; 4] =
        [key.tenant.0.into(), key.key.clone().into(), query.0.into(), micros(TERM).into()];
    let kept = txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(kept.rows_affected() > 0)
}

async fn claim(txn: &DatabaseTransaction, key: &RepeatKey, query: Uuid) -> Result<Claim, Error> {
    let found = insert_or_lock(txn, key, query).await?;
    if found.query == query {
        return Ok(Claim::First);
    }
    let is_running = found.state == "running";
    if found.body != key.body && (is_running || !found.lapsed) {
        return Ok(Claim::Differs);
    }
    if is_running && !found.lapsed {
        return Ok(Claim::Running);
    }
    let may_repeat = !found.lapsed && found.repeats < MAX_REPEATS;
    match found.state.as_str() {
        "answered" if may_repeat => repeat(txn, key).await.map(|()| Claim::Answered),
        "counted" if may_repeat => hold(txn, key, query, found.repeats + 1).await.map(|()| Claim::Counted),
        "running" if was_charged(txn, key, found.query).await? => {
            answered(txn, key).await.map(|()| Claim::Answered)
        }
        _ => hold(txn, key, query, 0).await.map(|()| Claim::First),
    }
}

async fn insert_or_lock(txn: &DatabaseTransaction, key: &RepeatKey, query: Uuid) -> Result<Found, Error> {
    let clock = clock(txn.get_database_backend());
    let sql = format!(
        "INSERT INTO repeats (tenant_id, key, body, query_id, state, repeats, until) \
         VALUES ($1, $2, $3, $4, 'running', 0, {clock} + $5) \
         ON CONFLICT (tenant_id, key) DO UPDATE SET key = repeats.key \
         RETURNING query_id, body, state, repeats, until, {clock} AS now"
    );
    let values: [Value; 5] = [
        key.tenant.0.into(),
        key.key.clone().into(),
        key.body.clone().into(),
        query.into(),
        micros(TERM).into(),
    ];
    let statement = Statement::from_sql_and_values(txn.get_database_backend(), sql, values);
    let row = txn.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| Error::StoreUnavailable("a claim was not answered".into()))?;
    Found::read(&row)
}

/// Whether a query that has died was paid for. If that was still open, it is not paid for.
async fn was_charged(txn: &DatabaseTransaction, key: &RepeatKey, query: Uuid) -> Result<bool, Error> {
    let backend = txn.get_database_backend();
    let cancel = format!(
        "UPDATE charges SET decision = 'cancel', due_at = {} WHERE tenant_id = $1 AND query_id = $2 \
         AND state = 'open' AND decision = ''",
        clock(backend)
    );
    let values: [Value; 2] = [key.tenant.0.into(), query.into()];
    // What counts as paid for can no longer be taken back.
    let claim = "UPDATE charges SET attempts = 2 WHERE tenant_id = $1 AND query_id = $2 AND state = 'open' \
                 AND decision = 'confirm' AND attempts < 2";
    for sql in [cancel.as_str(), claim] {
        txn.execute_raw(Statement::from_sql_and_values(backend, sql, values.clone())).await?;
    }
    let charged = "SELECT 1 FROM charges WHERE tenant_id = $1 AND query_id = $2 AND decision = 'confirm'";
    Ok(txn.query_one_raw(Statement::from_sql_and_values(backend, charged, values)).await?.is_some())
}

/// Makes a row this query's.
async fn hold(txn: &DatabaseTransaction, key: &RepeatKey, query: Uuid, repeats: i64) -> Result<(), Error> {
    let backend = txn.get_database_backend();
    let sql = format!(
        "UPDATE repeats SET body = $3, query_id = $4, state = 'running', repeats = $5, until = {} + $6 \
         WHERE tenant_id = $1 AND key = $2",
        clock(backend)
    );
    let values: [Value; 6] = [
        key.tenant.0.into(),
        key.key.clone().into(),
        key.body.clone().into(),
        query.into(),
        repeats.into(),
        micros(TERM).into(),
    ];
    txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

async fn repeat(txn: &DatabaseTransaction, key: &RepeatKey) -> Result<(), Error> {
    let sql = "UPDATE repeats SET repeats = repeats + 1 WHERE tenant_id = $1 AND key = $2";
    let values: [Value; 2] = [key.tenant.0.into(), key.key.clone().into()];
    txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values)).await?;
    Ok(())
}

/// Says for a query that has died that it was answered; this is its first repeat.
async fn answered(txn: &DatabaseTransaction, key: &RepeatKey) -> Result<(), Error> {
    let backend = txn.get_database_backend();
    let sql = format!(
        "UPDATE repeats SET state = 'answered', repeats = 1, until = {} + $3 WHERE tenant_id = $1 AND key = $2",
        clock(backend)
    );
    let values: [Value; 3] = [key.tenant.0.into(), key.key.clone().into(), micros(KNOWN).into()];
    txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

async fn renew(txn: &DatabaseTransaction, held: &[(RepeatKey, QueryId)]) -> Result<(), Error> {
    const ROW: &str = "(?, ?, ?)";
    // By `TERM`.
    static POSTGRES: Bulk = Bulk::new(
        "UPDATE repeats SET until = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 15000000 \
         WHERE state = 'running' AND (tenant_id, key, query_id) IN (VALUES ",
        ROW,
        ")",
    );
    static SQLITE: Bulk = Bulk::new(
        "UPDATE repeats SET until = CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER) + 15000000 \
         WHERE state = 'running' AND (tenant_id, key, query_id) IN (VALUES ",
        ROW,
        ")",
    );
    let bulk = if txn.get_database_backend() == DbBackend::Postgres { &POSTGRES } else { &SQLITE };
    let rows = held.iter().map(|(key, query)| [key.tenant.0.into(), key.key.clone().into(), query.0.into()]);
    bulk.tell(txn, rows.collect()).await
}

impl Found {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        let (until, now): (i64, i64) = (row.try_get("", "until")?, row.try_get("", "now")?);
        Ok(Self {
            query: row.try_get("", "query_id")?,
            body: row.try_get("", "body")?,
            state: row.try_get("", "state")?,
            repeats: row.try_get("", "repeats")?,
            lapsed: until <= now,
        })
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
