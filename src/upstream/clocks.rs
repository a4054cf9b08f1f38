//! How long we wait for an upstream. A clock runs only inside [`Clocks::wait`], so a slow client of
//! ours, which makes us poll seldom, is never mistaken for a slow upstream.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::error::UpstreamError;

/// The clocks of one streamed answer.
#[derive(Debug)]
pub struct Clocks {
    /// What is left for the first token; `None` once it has come.
    first: Option<Duration>,
    idle: Duration,
}

impl Clocks {
    pub(super) fn new(first: Duration, idle: Duration) -> Self {
        Self { first: Some(first), idle }
    }

    /// Waits for the next piece.
    ///
    /// # Errors
    /// `Unavailable` when it does not come in time.
    pub async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, UpstreamError> {
        let started = Instant::now();
        let Some(left) = self.first else {
            let late = UpstreamError::unavailable("it stopped in the middle of its answer");
            return timeout(self.idle, next).await.map_err(|_| late);
        };
        let late = UpstreamError::unavailable("it did not answer in time");
        let piece = timeout(left, next).await.map_err(|_| late)?;
        self.first = Some(left.saturating_sub(started.elapsed()));
        Ok(piece)
    }

    /// The first token has come: from now on the idle clock counts.
    pub fn first_token(&mut self) {
        self.first = None;
    }
}
