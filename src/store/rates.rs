//! Rate counters: with `N` per window, no sliding window of that length ever admits more than `N`,
//! whatever the number of replicas, and a caller is refused only when `N` were admitted in it.
//!
//! A (policy, key) owns `N` slots, each holding the moment of one admission. An admission takes the
//! oldest slot, and may do so only when that slot's moment has left the window: it is the N-th
//! admission before this one. One row lock orders the admissions of a key; the clock is the
//! database's, read under the lock, and never goes back.
//!
//! Concurrent requests are committed together by one writer, so a busy key costs one transaction a
//! batch, not one a query.

mod ledger;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::Store;
use crate::{domain::PolicyId, error::Error};

/// Requests committed together at most.
const BATCH: usize = 64;

/// How long a batch is waited for: one stalled transaction must not hold every caller up.
const BATCH_LIMIT: Duration = Duration::from_secs(5);
/// How long a caller waits, with all that wait before it: less than a policy's hook may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// One limit that a request must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub policy: PolicyId,
    /// Who is counted together: an e-mail address, or nothing for everybody.
    pub key: String,
    /// Admissions per `length`.
    pub limit: u32,
    pub length: Duration,
}

/// A slot that an admission holds, to be given back if the query never ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub policy: PolicyId,
    pub key: String,
    slot: i64,
    admitted_at: i64,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Every window had room; one slot was taken in each.
    Granted(Vec<Slot>),
    /// One had none; nothing was taken anywhere.
    Refused {
        /// Index of the window.
        window: usize,
        /// When its oldest admission leaves it.
        retry_after: Duration,
    },
}

/// The one writer of rate counters in this process. Clones share it.
#[derive(Clone)]
pub struct RateCounters {
    requests: mpsc::Sender<Request>,
    store: Store,
}

enum Request {
    Admit(Vec<Window>, oneshot::Sender<Result<Admission, Error>>),
    Return(Vec<Slot>),
}

impl RateCounters {
    /// Starts the writer. It ends when the store closes.
    pub fn start(store: &Store) -> Self {
        let (requests, inbox) = mpsc::channel(1024);
        store.inner.tasks.spawn(serve(store.clone(), inbox));
        Self { requests, store: store.clone() }
    }

    /// Takes one slot in each window, or none. What a caller is granted who has gone away is given back.
    /// Costs one transaction a batch.
    ///
    /// # Errors
    /// `StoreUnavailable`. If the database was slow rather than absent, slots may count as spent.
    pub async fn admit(&self, windows: Vec<Window>) -> Result<Admission, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::StoreUnavailable("the rate counters have stopped".into());
        let asked = async {
            self.requests.send(Request::Admit(windows, reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// The first window that has no room now, and when it has. Takes nothing, and asks behind the writer's
    /// back: what is being committed is not seen.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn foresee(&self, windows: Vec<Window>) -> Result<Option<(usize, Duration)>, Error> {
        for (i, window) in windows.iter().enumerate() {
            if let Some(wait) = ledger::wait(&self.store, window).await? {
                return Ok(Some((i, wait)));
            }
        }
        Ok(None)
    }

    /// Gives slots back, soon. Lost only if the database fails: the slots then count as spent.
    pub async fn give_back(&self, slots: Vec<Slot>) {
        if self.requests.send_timeout(Request::Return(slots), PATIENCE).await.is_err() {
            tracing::warn!("a rate-limit slot was not given back");
        }
    }
}

async fn serve(store: Store, mut inbox: mpsc::Receiver<Request>) {
    let mut returned = Vec::new();
    loop {
        let batch = store.next_batch(&mut inbox, BATCH).await;
        if batch.is_empty() {
            return;
        }
        returned = commit(&store, batch, returned).await;
    }
}

/// Decides a batch, and returns the slots that nobody was there to take.
async fn commit(store: &Store, batch: Vec<Request>, mut returned: Vec<Slot>) -> Vec<Slot> {
    let (mut asked, mut replies) = (Vec::new(), Vec::new());
    for request in batch {
        match request {
            Request::Admit(windows, reply) => {
                asked.push(windows);
                replies.push(reply);
            }
            Request::Return(slots) => returned.extend(slots),
        }
    }
    let batch = Arc::new((asked, returned));
    let decided =
        store.write(move |txn| Box::pin(async move { ledger::decide(txn, &batch.0, &batch.1).await }));
    let mut untaken = Vec::new();
    match timeout(BATCH_LIMIT, decided).await.unwrap_or_else(|_| Err(late())) {
        Ok(admissions) => {
            for (reply, admission) in replies.into_iter().zip(admissions) {
                if let Err(Ok(Admission::Granted(slots))) = reply.send(Ok(admission)) {
                    untaken.extend(slots);
                }
            }
        }
        Err(error) => {
            let cause = error.cause().unwrap_or_default();
            tracing::warn!(cause, "rate counters could not be written");
            for reply in replies {
                let _ = reply.send(Err(Error::StoreUnavailable(cause.clone().into())));
            }
        }
    }
    untaken
}

fn late() -> Error {
    Error::StoreUnavailable("the rate counters take too long".into())
}

type Key = (Uuid, String);
