//! Charges: every reservation of money, from before the accounting service hears of it until it has been
//! confirmed or cancelled there. Each step is one statement that asks for the state it starts from, so of two
//! who settle one charge at once, only one decides.

use std::{sync::atomic::Ordering, time::Duration};

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use tokio::{task::JoinHandle, time::sleep};
use uuid::Uuid;

use super::{RepeatKey, Store, clock, now, repeats, seal::Owner};
use crate::{
    domain::{ChargeId, EndpointId, PolicyId, QueryId, TenantId},
    error::Error,
};

/// How often a withdrawal is tried: for a quarter of an hour at least.
const WITHDRAWALS: u32 = 4_000;
const BETWEEN: Duration = Duration::from_millis(250);
/// The attempt from which on recovery carries a confirmation out. Before it, whoever decided may withdraw.
const CLAIMED: u32 = 2;

/// A reservation that is about to be made.
#[derive(Debug, Clone)]
pub struct NewCharge {
    pub id: ChargeId,
    pub tenant: TenantId,
    pub endpoint: EndpointId,
    pub policy: PolicyId,
    pub query: QueryId,
    /// The caller's e-mail address.
    pub caller: String,
    pub nano_units: i64,
    pub currency: String,
    /// Whose account is paid into, and what enters it: sealed here.
    pub account: String,
    /// What is to become of it, where that is known before.
    pub decision: Option<Decision>,
    /// The query's name, if it has one.
    pub name: Option<RepeatKey>,
}

/// What is to become of a reservation. Made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Confirm,
    Cancel,
    /// The service says that it has none: to be cancelled if it has one nevertheless.
    Forget,
}

/// How a charge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Paid.
    Confirmed,
    /// Given back.
    Cancelled,
    /// The service never had it.
    Void,
    /// The service had it and knows it no more.
    Lost,
}

/// A charge that somebody must see to.
#[derive(Clone)]
pub struct OpenCharge {
    pub id: ChargeId,
    pub tenant: TenantId,
    pub policy: PolicyId,
    /// As it was at the reservation. Holds secrets.
    pub account: String,
    pub decision: Option<Decision>,
    /// `None` until the service has said.
    pub transaction: Option<String>,
    pub attempts: u32,
    pub age: Duration,
}

impl Store {
    /// Writes an intent down. Left alone, it is due after `undecided`.
    ///
    /// # Errors
    /// `StoreUnavailable`: the intent may be there nevertheless. Also when another has taken the query over, and
    /// pays instead.
    pub async fn intend_charge(&self, new: NewCharge, undecided: Duration) -> Result<(), Error> {
        let account = self.secrets().seal_text(&binding(new.tenant, new.id), &new.account)?;
        let sql = format!(
            "INSERT INTO charges (id, tenant_id, endpoint_id, policy_id, query_id, caller, nano_units, currency, \
             account, state, decision, attempts, due_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', $10, 0, {} + $11, $12)",
            clock(self.backend())
        );
        let decision = new.decision.map_or("", Decision::name);
        let values: [Value; 12] = [
            new.id.0.into(),
            new.tenant.0.into(),
            new.endpoint.0.into(),
            new.policy.0.into(),
            new.query.0.into(),
            new.caller.into(),
            new.nano_units.into(),
            new.currency.into(),
            account.into(),
            decision.into(),
            micros(undecided).into(),
            now().into(),
        ];
        let (insert, query, name) = (self.statement(&sql, values), new.query, new.name);
        let written = self.write_in_turn(move |txn| {
            Box::pin(async move {
                // Locks it, so that who takes the query over finds the charge, or this finds it taken over.
                if let Some(name) = &name
                    && !repeats::keep(txn, name, query).await?
                {
                    return Err(Error::StoreUnavailable("the query was taken over".into()));
                }
                Ok(txn.execute_raw(insert).await.map(|_| ())?)
            })
        });
        written.await
    }

    /// Keeps what the service calls a reservation.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn name_charge(&self, id: ChargeId, transaction: &str) -> Result<(), Error> {
        let sql = "UPDATE charges SET transaction_id = $2 WHERE id = $1 AND state = 'open'";
        self.alter(self.statement(sql, [id.0.into(), transaction.into()])).await?;
        Ok(())
    }

    /// Decides what becomes of a reservation. Says whether it was still undecided; if not, nothing has
    /// changed. From now on it is due after `again`.
    ///
    /// # Errors
    /// `StoreUnavailable`: it may have been decided nevertheless.
    pub async fn decide_charge(
        &self,
        id: ChargeId,
        decision: Decision,
        again: Duration,
    ) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE charges SET decision = $2, due_at = {} + $3 WHERE id = $1 AND state = 'open' AND decision = ''",
            clock(self.backend())
        );
        self.alter(self.statement(&sql, [id.0.into(), decision.name().into(), micros(again).into()])).await
    }

    /// Whether it was decided to take a charge.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn is_confirmed(&self, id: ChargeId) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM charges WHERE id = $1 AND decision = 'confirm'";
        Ok(self.reader().query_one_raw(self.statement(sql, [id.0.into()])).await?.is_some())
    }

    /// Takes a decision back whose query has failed meanwhile: whether it has been written, is still being
    /// written or never will be, the charge is cancelled. It can be done until recovery has begun with a
    /// confirmation. Goes on in the background until the database has answered, or the store closes.
    pub fn withdraw_charge(&self, id: ChargeId, again: Duration) -> JoinHandle<()> {
        let store = self.clone();
        self.inner.tasks.spawn(async move {
            for _ in 0..WITHDRAWALS {
                let is_last = store.inner.closing.is_cancelled();
                match store.countermand(id, again).await {
                    Ok(true) => return,
                    Ok(false) => return tracing::debug!(charge = %id, "there was nothing to withdraw"),
                    Err(error) => tracing::warn!(charge = %id, cause = error.cause(), "not withdrawn yet"),
                }
                if is_last {
                    break;
                }
                store.inner.closing.run_until_cancelled(sleep(BETWEEN)).await;
            }
            tracing::error!(charge = %id, "a charge of a failed query could not be withdrawn");
        })
    }

    async fn countermand(&self, id: ChargeId, again: Duration) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE charges SET decision = 'cancel', due_at = {} + $2 WHERE id = $1 AND state = 'open' \
             AND decision IN ('', 'confirm') AND attempts < {CLAIMED}",
            clock(self.backend())
        );
        self.alter(self.statement(&sql, [id.0.into(), micros(again).into()])).await
    }

    /// Begins to carry out a confirmation that was left behind; from now on it cannot be withdrawn. Says
    /// whether it is still to be carried out. If that fails, it is due after `again`.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn claim_charge(&self, id: ChargeId, again: Duration) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE charges SET attempts = CASE WHEN attempts < {CLAIMED} THEN {CLAIMED} ELSE attempts END, \
             due_at = {} + $2 WHERE id = $1 AND state = 'open' AND decision = 'confirm'",
            clock(self.backend())
        );
        self.alter(self.statement(&sql, [id.0.into(), micros(again).into()])).await
    }

    /// Closes a charge, and forgets its account.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn close_charge(&self, id: ChargeId, settled: Settled) -> Result<(), Error> {
        let sql =
            "UPDATE charges SET state = $2, account = '', due_at = NULL WHERE id = $1 AND state = 'open'";
        let closed = self.alter(self.statement(sql, [id.0.into(), settled.name().into()])).await?;
        if closed && settled == Settled::Lost {
            self.inner.charges_lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How many charges this process has given up.
    pub fn charges_lost(&self) -> u64 {
        self.inner.charges_lost.load(Ordering::Relaxed)
    }

    /// Deletes charges that were made before `age` and are closed, `limit` at most. Says how many.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_charges(&self, age: Duration, limit: u64) -> Result<u64, Error> {
        let Some(before) = now().checked_sub(age.try_into().unwrap_or(time::Duration::MAX)) else {
            return Ok(0);
        };
        let sql = format!(
            "DELETE FROM charges WHERE id IN (SELECT id FROM charges WHERE created_at < $1 AND state <> 'open' \
             ORDER BY created_at LIMIT {limit})"
        );
        let statement = self.statement(&sql, [before.into()]);
        self.write(move |txn| Box::pin(async move { Ok(txn.execute_raw(statement).await?.rows_affected()) }))
            .await
    }

    /// Puts off a charge that could not be settled.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn postpone_charge(&self, id: ChargeId, after: Duration) -> Result<(), Error> {
        let sql = format!(
            "UPDATE charges SET attempts = attempts + 1, due_at = {} + $2 WHERE id = $1 AND state = 'open'",
            clock(self.backend())
        );
        self.alter(self.statement(&sql, [id.0.into(), micros(after).into()])).await?;
        Ok(())
    }

    /// Charges that are due, those that wait longest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn due_charges(&self, limit: u64) -> Result<Vec<OpenCharge>, Error> {
        let clock = clock(self.backend());
        let sql = format!(
            "SELECT id, tenant_id, policy_id, account, decision, transaction_id, attempts, created_at \
             FROM charges WHERE due_at <= {clock} ORDER BY due_at, id LIMIT {limit}"
        );
        let rows = self.reader().query_all_raw(self.statement(&sql, [])).await?;
        rows.iter().map(|row| self.open_charge(row)).collect()
    }

    /// Whether a row was there to be changed.
    async fn alter(&self, statement: Statement) -> Result<bool, Error> {
        let altered = self.write_in_turn(move |txn| {
            Box::pin(async move { Ok(txn.execute_raw(statement).await?.rows_affected()) })
        });
        Ok(altered.await? > 0)
    }

    fn open_charge(&self, row: &QueryResult) -> Result<OpenCharge, Error> {
        let id = ChargeId(row.try_get::<Uuid>("", "id")?);
        let tenant = TenantId(row.try_get::<Uuid>("", "tenant_id")?);
        let sealed: String = row.try_get("", "account")?;
        let account = self.secrets().open_text(&binding(tenant, id), &sealed);
        let created_at: time::OffsetDateTime = row.try_get("", "created_at")?;
        Ok(OpenCharge {
            id,
            tenant,
            policy: PolicyId(row.try_get::<Uuid>("", "policy_id")?),
            // One that no longer opens must not keep the others: its policy may know the account.
            account: account.unwrap_or_default(),
            decision: Decision::parse(&row.try_get::<String>("", "decision")?),
            transaction: row.try_get("", "transaction_id")?,
            attempts: u32::try_from(row.try_get::<i64>("", "attempts")?).unwrap_or(u32::MAX),
            age: (now() - created_at).try_into().unwrap_or_default(),
        })
    }
}

impl Decision {
    fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Forget => "forget",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Confirm, Self::Cancel, Self::Forget].into_iter().find(|decision| decision.name() == name)
    }
}

impl Settled {
    fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Void => "void",
            Self::Lost => "lost",
        }
    }
}

impl From<Decision> for Settled {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Confirm => Self::Confirmed,
            Decision::Cancel | Decision::Forget => Self::Cancelled,
        }
    }
}

fn binding(tenant: TenantId, charge: ChargeId) -> String {
    Owner { tenant, row: charge.0 }.bind("account")
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 2)
}
