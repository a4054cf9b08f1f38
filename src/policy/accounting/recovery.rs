//! Charges that nobody is settling any more: after a crash, or because the service did not answer. One replica
//! sees to them at a time. Two would do no harm: a charge is decided once, and the service ends a transaction
//! once.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Config,
    ledger::{Ledger, Sought},
    service::{Account, Fault, Reason, Status},
    till::{CALL, Till},
};
use crate::{
    domain::schema,
    error::Error,
    store::{Decision, OpenCharge, Settled},
};

const JOB: &str = "charges";
const TERM: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(500);
/// Charges of one round.
const BATCH: u64 = 64;
/// Accounts that are asked at once.
const ACCOUNTS: usize = 8;
/// Reading a list, for which there is no hurry.
const LIST: Duration = Duration::from_secs(20);
/// A reservation that the service has not heard of by then is one that it never will: a token lives for
/// minutes.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);
/// A transaction that the service has not known for so long is one that it will not find again.
const LOST: Duration = Duration::from_secs(24 * 3600);
/// What could not be settled for so long is given up, whatever the reason.
const ABANDONED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long recovery leaves a confirmation alone that it finds: whoever decided it, and could not see that it was
/// written, takes it back meanwhile.
const GRACE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// What a charge came to.
enum Next {
    Closed(Settled),
    Later,
    After(Duration),
    /// As `Later`, and the service is not to be asked about others either.
    Silent,
}

/// Settles what is due, until `until`.
pub(super) async fn run(till: &Till, until: CancellationToken) {
    let holder = Uuid::now_v7();
    let mut held = false;
    while !until.is_cancelled() {
        match round(till, holder).await {
            Ok(true) => held = true,
            Ok(false) => {}
            Err(error) => tracing::warn!(cause = error.cause(), "charges could not be recovered"),
        }
        until.run_until_cancelled(sleep(INTERVAL)).await;
    }
    if held && let Err(error) = till.store.release_lease(JOB, holder).await {
        tracing::debug!(cause = error.cause(), "a lease was not given up");
    }
}

/// Says whether there was something to do and nobody else was doing it.
async fn round(till: &Till, holder: Uuid) -> Result<bool, Error> {
    // Looks before it takes the writer.
    if till.store.due_charges(1).await?.is_empty() {
        return Ok(false);
    }
    if till.store.acquire_lease(JOB, holder, TERM).await?.is_none() {
        return Ok(false);
    }
    let mut accounts: Vec<(Arc<Account>, Vec<OpenCharge>)> = Vec::new();
    for charge in till.store.due_charges(BATCH).await? {
        let Some(account) = account(till, &charge).await else {
            tracing::error!(charge = %charge.id, "the account of a charge cannot be read");
            postpone(till, &charge).await;
            continue;
        };
        match accounts.iter_mut().find(|(other, _)| other.is(&account)) {
            Some((_, charges)) => charges.push(charge),
            None => accounts.push((Arc::new(account), vec![charge])),
        }
    }
    let each = |(account, charges): (Arc<Account>, Vec<OpenCharge>)| async move {
        settle_all(till, &account, charges).await
    };
    // A round ends while its lease holds.
    let all = stream::iter(accounts).for_each_concurrent(ACCOUNTS, each);
    let _ = tokio::time::timeout(TERM * 2 / 3, all).await;
    Ok(true)
}

/// The account as its policy has it now, whose password may be newer, or as it was.
async fn account(till: &Till, charge: &OpenCharge) -> Option<Account> {
    let kept = Account::read(&charge.account);
    let policy = till.store.policy(charge.tenant, charge.policy).await.ok();
    let current = policy.and_then(|policy| schema::read::<Config>(&policy.configuration).ok());
    match (kept, current.and_then(|config| config.account())) {
        (Some(kept), Some(current)) if current.is(&kept) => Some(current),
        (None, current) => current,
        (kept, _) => kept,
    }
}

async fn settle_all(till: &Till, account: &Account, charges: Vec<OpenCharge>) {
    // Who confirms what it knows by name for the first time need not look, nor wait for those who must.
    let asks = |charge: &OpenCharge| charge.transaction.is_none() || charge.attempts > 1;
    let (asking, knowing): (Vec<_>, Vec<_>) = charges.into_iter().partition(asks);
    settle_each(till, account, knowing, None).await;
    if asking.is_empty() {
        return;
    }
    let ledger = till.service.ledger(account, asking.iter().map(sought).collect(), LIST).await;
    let ledger =
        ledger.inspect_err(|fault| tracing::warn!(?fault, "the list of transactions cannot be read"));
    settle_each(till, account, asking, ledger.as_ref().ok()).await;
}

async fn settle_each(till: &Till, account: &Account, charges: Vec<OpenCharge>, ledger: Option<&Ledger>) {
    let mut is_silent = false;
    for charge in charges {
        // Who waits for each in turn keeps everybody else waiting.
        if is_silent {
            postpone(till, &charge).await;
            continue;
        }
        let next = settle(till, account, &charge, ledger).await;
        match next.map(|next| given_up(&charge, next)) {
            Ok(Next::Closed(settled)) => {
                if let Err(error) = till.store.close_charge(charge.id, settled).await {
                    tracing::warn!(cause = error.cause(), "a settled charge was not noted");
                }
            }
            Ok(Next::After(pause)) => {
                postpone_for(till, &charge, pause).await;
            }
            Ok(next @ (Next::Later | Next::Silent)) => {
                is_silent = matches!(next, Next::Silent);
                postpone(till, &charge).await;
            }
            Err(error) => tracing::warn!(cause = error.cause(), "a charge could not be recovered"),
        }
    }
}

async fn settle(
    till: &Till,
    account: &Account,
    charge: &OpenCharge,
    ledger: Option<&Ledger>,
) -> Result<Next, Error> {
    let decision = match charge.decision {
        Some(decision) => decision,
        // Nobody is left who could say that the query may be charged.
        None if till.store.decide_charge(charge.id, Decision::Cancel, FIRST_PAUSE).await? => Decision::Cancel,
        // Decided meanwhile, by a query that goes on: it sees to it, or leaves it.
        None => return Ok(Next::Later),
    };
    if decision == Decision::Confirm && charge.attempts == 0 {
        return Ok(Next::After(GRACE));
    }
    let found = ledger.and_then(|ledger| ledger.find(charge.id));
    let is_unlisted = ledger.is_some_and(|ledger| ledger.lacks(charge.id));
    let transaction = match (found, &charge.transaction) {
        (Some((_, Status::Confirmed)), _) => {
            return Ok(Next::Closed(ended(charge, decision, Settled::Confirmed)));
        }
        (Some((_, Status::Cancelled)), _) => {
            return Ok(Next::Closed(ended(charge, decision, Settled::Cancelled)));
        }
        (Some((transaction, Status::Pending)), _) => transaction,
        (None, Some(transaction)) => transaction.clone(),
        (None, None) if is_unlisted && (decision == Decision::Forget || charge.age > FORGOTTEN) => {
            return Ok(Next::Closed(ended(charge, decision, Settled::Void)));
        }
        (None, None) => return Ok(Next::Later),
    };
    if decision == Decision::Confirm && !till.store.claim_charge(charge.id, FIRST_PAUSE).await? {
        return Ok(Next::Later);
    }
    Ok(match till.service.resolve(account, &transaction, decision, CALL).await {
        Ok(()) => Next::Closed(decision.into()),
        Err(Fault::Refused(reason)) if charge.age > LOST && (is_unlisted || reason == Reason::Gone) => {
            tracing::error!(charge = %charge.id, ?decision, "the accounting service knows a charge no more");
            Next::Closed(Settled::Lost)
        }
        // It may have been done before: the list says.
        Err(fault) => {
            tracing::warn!(charge = %charge.id, ?decision, ?fault, "a charge is settled later");
            if matches!(fault, Fault::Unknown(_)) { Next::Silent } else { Next::Later }
        }
    })
}

fn sought(charge: &OpenCharge) -> Sought {
    let made_at = OffsetDateTime::now_utc().checked_sub(charge.age.try_into().unwrap_or(time::Duration::MAX));
    let made_at = made_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Sought { charge: charge.id, transaction: charge.transaction.clone(), made_at }
}

/// Nobody waits for ever.
fn given_up(charge: &OpenCharge, next: Next) -> Next {
    if charge.age < ABANDONED || matches!(next, Next::Closed(_)) {
        return next;
    }
    tracing::error!(charge = %charge.id, decision = ?charge.decision, "a charge could not be settled for a month");
    Next::Closed(Settled::Lost)
}

/// Notes when the service's end is not ours. Nothing can be done about it here.
fn ended(charge: &OpenCharge, decision: Decision, settled: Settled) -> Settled {
    let differs = match decision {
        Decision::Confirm => settled != Settled::Confirmed,
        Decision::Cancel | Decision::Forget => settled == Settled::Confirmed,
    };
    if differs {
        tracing::error!(charge = %charge.id, ?decision, ?settled, "a charge has ended in another way");
    }
    settled
}

async fn postpone(till: &Till, charge: &OpenCharge) {
    let pause = FIRST_PAUSE.saturating_mul(1 << charge.attempts.min(16)).min(LONGEST_PAUSE);
    postpone_for(till, charge, pause).await;
}

async fn postpone_for(till: &Till, charge: &OpenCharge, pause: Duration) {
    if let Err(error) = till.store.postpone_charge(charge.id, pause).await {
        tracing::warn!(cause = error.cause(), "a charge could not be put off");
    }
}
