//! Token counters: what callers have used in a window, and what their running queries may yet use, so that
//! both together never exceed a limit, whatever the number of replicas.
//!
//! A query holds an upper bound before it runs and is settled with what it has used. What it holds and what
//! it uses is counted at the moment of its admission, in that moment's bucket (see [`window`]). As for rates,
//! one row lock orders the admissions of a (policy, key); the clock is the database's, read under the lock,
//! and never goes back; and one writer commits together what has piled up.
//!
//! A settlement counts only while its hold is there, so one that is repeated, because nobody knows whether
//! it was committed, counts once. What a process held that has died is given back by upkeep.

mod ledger;
mod window;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::Store;
use crate::{domain::PolicyId, error::Error};

use window::Place;
pub use window::{Amount, Cap, Frame, Period, Shortage, Unit};

/// Requests committed together at most.
const BATCH: usize = 64;
/// Settlements that wait for a database that fails, at most. Those beyond are left to upkeep.
const MAX_UNSETTLED: usize = 4096;
/// How long a batch is waited for: one stalled transaction must not hold every caller up.
const BATCH_LIMIT: Duration = Duration::from_secs(5);
/// How long a caller waits, with all that wait before it: less than a policy's hook may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How soon settlements that failed are tried again if nothing else comes.
const PAUSE: Duration = Duration::from_secs(1);
/// How often they are tried by a store that closes.
const LAST_TRIES: u32 = 3;

/// One limit that a query must keep: all of its caps, in one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    pub policy: PolicyId,
    /// Who is counted together: an e-mail address, or nothing for everybody.
    pub key: String,
    pub frame: Frame,
    pub caps: Vec<Cap>,
}

/// What is held for a running query under one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    id: Uuid,
    policy: PolicyId,
    key: String,
    place: Place,
    frame: Frame,
    amount: Amount,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Every limit had room; it is held in each.
    Held(Vec<Hold>),
    /// One had none; nothing is held anywhere.
    Refused {
        /// Index of the allowance.
        allowance: usize,
        shortage: Shortage,
    },
}

/// The one writer of token counters in this process. Clones share it.
#[derive(Clone)]
pub struct TokenCounters {
    requests: mpsc::Sender<Request>,
    store: Store,
}

enum Request {
    Hold(Ask, oneshot::Sender<Result<Grant, Error>>),
    Settle(Vec<Settlement>),
}

/// What a query wants to be held.
struct Ask {
    allowances: Vec<Allowance>,
    need: Amount,
}

/// What has become of a hold.
#[derive(Clone)]
struct Settlement {
    hold: Hold,
    used: Amount,
}

impl TokenCounters {
    /// Starts the writer. It ends when the store closes. A hold that is not settled after `lease` belongs to a
    /// process that has died.
    pub fn start(store: &Store, lease: Duration) -> Self {
        let (requests, inbox) = mpsc::channel(1024);
        store.inner.tasks.spawn(serve(store.clone(), inbox, lease));
        Self { requests, store: store.clone() }
    }

    /// Holds `need` under every limit, or under none. What is held for a caller who has gone away is given
    /// back. Costs one transaction a batch.
    ///
    /// # Errors
    /// `StoreUnavailable`. If the database was slow rather than absent, `need` may be held until the lease ends.
    pub async fn hold(&self, allowances: Vec<Allowance>, need: Amount) -> Result<Grant, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::StoreUnavailable("the token counters have stopped".into());
        let asked = async {
            let request = Request::Hold(Ask { allowances, need }, reply);
            self.requests.send(request).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// The first limit that has no room now. Holds nothing, and asks behind the writer's back: what is being
    /// committed is not seen.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn foresee(
        &self,
        allowances: &[Allowance],
        need: Amount,
    ) -> Result<Option<(usize, Shortage)>, Error> {
        for (i, allowance) in allowances.iter().enumerate() {
            if let Some(shortage) = ledger::shortage(&self.store, allowance, need).await? {
                return Ok(Some((i, shortage)));
            }
        }
        Ok(None)
    }

    /// Counts `used` instead of what was held, soon, and before anything that this process asks for later.
    pub async fn settle(&self, holds: Vec<Hold>, used: Amount) {
        let used = used.countable();
        let settled = holds.into_iter().map(|hold| Settlement { hold, used }).collect();
        if self.requests.send_timeout(Request::Settle(settled), PATIENCE).await.is_err() {
            tracing::warn!("a query's tokens were not settled: its bound counts until upkeep gives it back");
        }
    }
}

impl Store {
    /// Gives back what dead processes held, and deletes what is in no window any more. The requests count.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn sweep_tokens(&self) -> Result<(), Error> {
        self.write(|txn| Box::pin(ledger::give_back(txn))).await?;
        self.write(|txn| Box::pin(ledger::forget(txn))).await
    }
}

async fn serve(store: Store, mut inbox: mpsc::Receiver<Request>, lease: Duration) {
    let (mut unsettled, mut last_tries) = (Vec::new(), LAST_TRIES);
    loop {
        let next = store.next_batch(&mut inbox, BATCH);
        let batch = match unsettled.is_empty() {
            true => next.await,
            // What had come is not lost when the wait ends: it stays in the queue.
            false => timeout(PAUSE, next).await.unwrap_or_default(),
        };
        if batch.is_empty() && (unsettled.is_empty() || inbox.is_closed()) {
            last_tries = last_tries.saturating_sub(1);
            if unsettled.is_empty() || last_tries == 0 {
                return;
            }
        }
        unsettled = commit(&store, batch, unsettled, lease).await;
        if unsettled.len() > MAX_UNSETTLED {
            tracing::warn!(count = unsettled.len() - MAX_UNSETTLED, "tokens of queries were not settled");
            unsettled.drain(..unsettled.len() - MAX_UNSETTLED);
        }
    }
}

/// Decides a batch, and returns what is yet to be settled: holds that nobody was there to take, and
/// everything that the database did not take.
async fn commit(
    store: &Store,
    batch: Vec<Request>,
    mut settled: Vec<Settlement>,
    lease: Duration,
) -> Vec<Settlement> {
    let (mut asked, mut replies) = (Vec::new(), Vec::new());
    for request in batch {
        match request {
            Request::Hold(ask, reply) => {
                asked.push(ask);
                replies.push(reply);
            }
            Request::Settle(settlements) => settled.extend(settlements),
        }
    }
    let batch = Arc::new((asked, settled));
    let work = Arc::clone(&batch);
    let decided =
        store.write(move |txn| Box::pin(async move { ledger::decide(txn, &work.0, &work.1, lease).await }));
    match timeout(BATCH_LIMIT, decided).await.unwrap_or_else(|_| Err(late())) {
        Ok(grants) => {
            let mut untaken = Vec::new();
            for (reply, grant) in replies.into_iter().zip(grants) {
                if let Err(Ok(Grant::Held(holds))) = reply.send(Ok(grant)) {
                    let nothing = |hold| Settlement { hold, used: Amount::default() };
                    untaken.extend(holds.into_iter().map(nothing));
                }
            }
            untaken
        }
        Err(error) => {
            let cause = error.cause().unwrap_or_default();
            tracing::warn!(cause, "token counters could not be written");
            for reply in replies {
                let _ = reply.send(Err(Error::StoreUnavailable(cause.clone().into())));
            }
            batch.1.clone()
        }
    }
}

fn late() -> Error {
    Error::StoreUnavailable("the token counters take too long".into())
}
