//! What can end a query from outside.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::{Ended, Error};

/// The deadline of a query, and the tokens that its client and the service cancel.
pub(super) struct CallContext {
    deadline: Instant,
    client: CancellationToken,
    shutdown: CancellationToken,
}

impl CallContext {
    pub(super) fn new(deadline: Instant, client: CancellationToken, shutdown: CancellationToken) -> Self {
        Self { deadline, client, shutdown }
    }

    /// What has ended the query, if anything has.
    pub(super) fn ended(&self) -> Option<Ended> {
        if self.client.is_cancelled() {
            return Some(Ended::ClientGone);
        }
        if self.shutdown.is_cancelled() {
            return Some(Ended::ShuttingDown);
        }
        (Instant::now() >= self.deadline).then_some(Ended::DeadlineExceeded)
    }

    /// Runs `work` until it is done or the query is ended, and drops it then. A panic in it is an error
    /// like any other.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.client.cancelled() => Err(Error::Ended(Ended::ClientGone)),
            () = self.shutdown.cancelled() => Err(Error::Ended(Ended::ShuttingDown)),
            () = sleep_until(self.deadline) => Err(Error::Ended(Ended::DeadlineExceeded)),
            done = AssertUnwindSafe(work).catch_unwind() => {
                done.unwrap_or_else(|_| Err(Error::internal("a query panicked")))
            }
        }
    }
}
