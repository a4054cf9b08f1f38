//! Where money is taken: each step is written down before the accounting service hears of it, or right after
//! it has answered, so that whoever comes after a crash knows what may have happened.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::{
    ledger::Sought,
    service::{Account, Fault, Order, Reason, Service, Status},
};
use crate::{
    domain::ChargeId,
    error::{Cause, Error},
    store::{Decision, NewCharge, Settled, Store},
};

/// All steps of one hook: less than a hook may take.
const HOOK: Duration = Duration::from_secs(9);
/// One call of the service, so that there is time to look for what it did.
pub(super) const CALL: Duration = Duration::from_millis(3_500);
/// Looking for a reservation whose answer was lost.
const LOOK: Duration = Duration::from_millis(1_500);
/// One write.
const WRITE: Duration = Duration::from_secs(2);
const LEAST: Duration = Duration::from_millis(100);
/// When recovery takes over a decided charge: after the hook that decided it has ended.
const HANDED_OVER: Duration = Duration::from_secs(15);
/// When it takes over what a hook has left to it.
const SOON: Duration = Duration::from_millis(500);

/// Reserves, decides, confirms and cancels.
pub(super) struct Till {
    pub(super) store: Store,
    pub(super) service: Service,
    /// Longer than any query takes: what is undecided for so long belongs to nobody.
    undecided: Duration,
}

/// A reservation of which the service has said what it calls it.
#[derive(Debug, Clone)]
pub(super) struct Reserved {
    pub(super) charge: ChargeId,
    pub(super) transaction: String,
}

/// Why nothing is reserved.
#[derive(Debug)]
pub(super) enum Unpaid {
    Refused(Reason),
    /// Something may be: the charge has to be decided.
    Unknown(Cause),
    Store(Error),
}

/// A decision to confirm that is being written. Dropped without its query having been told that it is, as when
/// its hook is abandoned, it is taken back.
struct Promise<'a> {
    till: &'a Till,
    charge: ChargeId,
    is_kept: bool,
}

/// What a hook has left of its time.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    until: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { until: Instant::now() + HOOK }
    }

    fn step(self, limit: Duration) -> Duration {
        limit.min(self.until.saturating_duration_since(Instant::now()))
    }
}

impl Promise<'_> {
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // It ends by itself.
            drop(self.till.store.withdraw_charge(self.charge, SOON));
        }
    }
}

impl Till {
    pub(super) fn new(store: Store, service: Service, undecided: Duration) -> Self {
        Self { store, service, undecided }
    }

    /// Reserves what `new` says. The intent is written before, the answer after; an answer that is lost is
    /// looked for in the list at once.
    pub(super) async fn reserve(
        &self,
        clock: Clock,
        new: NewCharge,
        account: &Account,
        (slug, token): (&str, &str),
    ) -> Result<Reserved, Unpaid> {
        let (charge, payer, nano_units) = (new.id, new.caller.clone(), new.nano_units);
        self.write(clock, self.store.intend_charge(new, self.undecided)).await.map_err(Unpaid::Store)?;
        let order = Order { id: charge, payer: &payer, nano_units, slug };
        let transaction = match self.service.create(account, &order, token, clock.step(CALL)).await {
            Ok(transaction) => transaction,
            Err(Fault::Refused(reason)) => {
                self.forget(clock, charge, reason).await;
                return Err(Unpaid::Refused(reason));
            }
            Err(Fault::Unknown(cause)) => match self.look(clock, account, charge).await {
                Some(transaction) => transaction,
                None => return Err(Unpaid::Unknown(cause)),
            },
        };
        // Without it, it would be found by our name for it.
        self.note(clock, self.store.name_charge(charge, &transaction)).await;
        Ok(Reserved { charge, transaction })
    }

    /// Decides to take what was reserved. `false`: it was decided before, by recovery, which cancels.
    ///
    /// # Errors
    /// `StoreUnavailable`: then the charge is cancelled, whenever the database can be written to again, and
    /// whether this was written after all or not.
    pub(super) async fn confirm(&self, clock: Clock, charge: ChargeId) -> Result<bool, Error> {
        let promise = Promise { till: self, charge, is_kept: false };
        let confirmed = self.store.decide_charge(charge, Decision::Confirm, HANDED_OVER);
        let confirmed = match self.write(clock, confirmed).await {
            Ok(confirmed) => confirmed,
            Err(error) => self.look_again(clock, charge, error).await?,
        };
        promise.keep();
        Ok(confirmed)
    }

    /// Whether a charge is confirmed whose confirmation was written late: what can no longer be cancelled is,
    /// since recovery is not yet about, and the answer need not fail.
    async fn look_again(&self, clock: Clock, charge: ChargeId, error: Error) -> Result<bool, Error> {
        let cancelled = self.store.decide_charge(charge, Decision::Cancel, SOON);
        match self.write_within(clock.step(HOOK), cancelled).await {
            // By this query's confirmation, or by another's cancellation.
            Ok(false) => self.write_within(clock.step(HOOK), self.store.is_confirmed(charge)).await,
            Ok(true) | Err(_) => Err(error),
        }
    }

    /// Decides to return what was reserved. `false`: it was decided before.
    ///
    /// # Errors
    /// `StoreUnavailable`: then recovery decides, and cancels too.
    pub(super) async fn cancel(&self, clock: Clock, charge: ChargeId) -> Result<bool, Error> {
        self.write(clock, self.store.decide_charge(charge, Decision::Cancel, HANDED_OVER)).await
    }

    /// Tells the service what was decided. If that fails, recovery does it.
    pub(super) async fn carry_out(
        &self,
        clock: Clock,
        account: &Account,
        reserved: &Reserved,
        decision: Decision,
    ) {
        let Reserved { charge, transaction } = reserved;
        match self.service.resolve(account, transaction, decision, clock.step(CALL)).await {
            Ok(()) => self.note(clock, self.store.close_charge(*charge, decision.into())).await,
            Err(fault) => {
                tracing::warn!(%charge, ?decision, ?fault, "a charge is settled later");
                self.leave(clock, *charge).await;
            }
        }
    }

    /// Cancels a charge of which it is not known whether the service has it.
    ///
    /// # Errors
    /// `StoreUnavailable`: then recovery decides, and cancels too.
    pub(super) async fn give_up(&self, clock: Clock, charge: ChargeId) -> Result<(), Error> {
        if self.cancel(clock, charge).await? {
            self.leave(clock, charge).await;
        }
        Ok(())
    }

    /// Leaves a decided charge to recovery, now.
    pub(super) async fn leave(&self, clock: Clock, charge: ChargeId) {
        self.note(clock, self.store.postpone_charge(charge, SOON)).await;
    }

    async fn forget(&self, clock: Clock, charge: ChargeId, reason: Reason) {
        let forgotten = async {
            match reason {
                Reason::Balance | Reason::Account => self.store.close_charge(charge, Settled::Void).await,
                // Recovery looks whether a repeated call has used the token.
                Reason::Other | Reason::Gone => {
                    self.store.decide_charge(charge, Decision::Forget, SOON).await.map(|_| ())
                }
            }
        };
        self.note(clock, forgotten).await;
    }

    async fn look(&self, clock: Clock, account: &Account, charge: ChargeId) -> Option<String> {
        let (limit, made_at) = (clock.step(LOOK), OffsetDateTime::now_utc());
        let sought = vec![Sought { charge, transaction: None, made_at }];
        let ledger = timeout(limit, self.service.ledger(account, sought, limit)).await.ok()?.ok()?;
        ledger.find(charge).filter(|(_, status)| *status == Status::Pending).map(|(id, _)| id)
    }

    /// A step that somebody else will make up for.
    async fn note(&self, clock: Clock, write: impl Future<Output = Result<(), Error>>) {
        if let Err(error) = self.write(clock, write).await {
            tracing::warn!(cause = error.cause(), "a step of a charge was not noted");
        }
    }

    /// A write that was begun goes on when its time is up, so one that has no time is not begun.
    async fn write<T>(
        &self,
        clock: Clock,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.write_within(clock.step(WRITE), write).await
    }

    async fn write_within<T>(
        &self,
        limit: Duration,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || Error::StoreUnavailable("a charge could not be written in time".into());
        if limit < LEAST {
            return Err(late());
        }
        timeout(limit, write).await.unwrap_or_else(|_| Err(late()))
    }
}
