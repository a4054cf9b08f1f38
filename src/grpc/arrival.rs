//! Requests on their way in. A call holds a place from its headers on, so a body that does not arrive must
//! end, and one caller's must leave room for others.

use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error as StdError,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::status::status;
use crate::{
    domain::{Caller, TenantId},
    error::{Ended, Error},
};

/// Longest silence in a body.
const SILENCE: Duration = Duration::from_secs(10);
/// Longest time from a request's headers to the end of its body.
const WHOLE: Duration = Duration::from_secs(60);
/// Requests of one caller that may arrive at once in any case: where there are few places, halves of them
/// say little.
const FEW: usize = 16;

type BoxError = Box<dyn StdError + Send + Sync>;
/// Who a caller is to others. Guests are one.
type Who = (TenantId, String);

/// How many requests of each caller are arriving. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Arrivals {
    counts: Arc<Mutex<HashMap<Who, usize>>>,
}

/// One request that is arriving, until it is dropped.
pub(super) struct Arrival {
    arrivals: Arrivals,
    who: Who,
}

pin_project! {
    /// A request's body, which fails when it takes too long.
    pub struct Arriving<B> {
        #[pin]
        body: B,
        clock: Option<Clock>,
    }
}

struct Clock {
    /// When the whole body must be here.
    end: Instant,
    /// Rings when it has been silent for too long; set while it is.
    alarm: Option<Pin<Box<Sleep>>>,
    arrival: Option<Arrival>,
}

impl Arrivals {
    /// Counts one more request of a caller, unless as many are arriving as there are places free: one
    /// caller ends at half of them, the next at a quarter.
    pub(super) fn begin(&self, caller: &Caller, free: usize) -> Option<Arrival> {
        let who = (caller.tenant().id, caller.email().to_owned());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(who.clone()).or_default();
        if *count >= free.max(FEW) {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Arrival { arrivals: self.clone(), who })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let who = std::mem::replace(&mut self.who, (TenantId(uuid::Uuid::nil()), String::new()));
        let mut counts = self.arrivals.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = counts.entry(who) {
            match entry.get() {
                0 | 1 => {
                    entry.remove();
                }
                count => {
                    let left = count - 1;
                    entry.insert(left);
                }
            }
        }
    }
}

impl<B> Arriving<B> {
    /// A body that must arrive in time.
    pub(super) fn new(body: B, arrival: Option<Arrival>) -> Self {
        let end = Instant::now() + WHOLE;
        Self { body, clock: Some(Clock { end, alarm: None, arrival }) }
    }

    /// A body that may take its time.
    pub(super) fn patient(body: B) -> Self {
        Self { body, clock: None }
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let mut this = self.project();
        let found = this.body.as_mut().poll_frame(cx);
        let Some(clock) = this.clock else { return found.map_err(Into::into) };
        if found.is_pending() {
            let end = clock.end;
            let silent = || Box::pin(sleep_until((Instant::now() + SILENCE).min(end)));
            ready!(clock.alarm.get_or_insert_with(silent).as_mut().poll(cx));
            clock.arrival = None;
            return Poll::Ready(Some(Err(status(Error::Ended(Ended::DeadlineExceeded)).into())));
        }
        clock.alarm = None;
        if !matches!(found, Poll::Ready(Some(Ok(_)))) || this.body.is_end_stream() {
            clock.arrival = None;
        }
        found.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::{Duration, Instant, sleep};

    use super::{Arrival, Arrivals, Arriving, Frame};
    use crate::domain::{Caller, Tenant, TenantId};

    fn caller(email: &str) -> Caller {
        let tenant = Tenant {
            id: TenantId(uuid::Uuid::nil()),
            name: "t".to_owned(),
            display_name: "t".to_owned(),
            active: true,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        Caller::new(tenant, email, Vec::new())
    }

    /// How long a body is read that has so many pieces with so much time between them, and how it ends.
    async fn read(pieces: usize, between: u64) -> (u64, bool) {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            sleep(Duration::from_secs(between)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))
        });
        let body = Arriving::new(Box::pin(StreamBody::new(pieces)), None);
        let started = Instant::now();
        let whole = body.collect().await.is_ok();
        (started.elapsed().as_secs(), whole)
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_have_a_time_for_each_piece_and_one_for_all() {
        assert_eq!(read(5, 9).await, (45, true));
        assert_eq!(read(5, 11).await, (10, false));
        assert_eq!(read(50, 9).await, (60, false));
    }

    #[test]
    fn one_caller_stops_at_half_and_the_next_at_a_quarter() {
        let (arrivals, mut held) = (Arrivals::default(), Vec::new());
        let fill = |email: &str, held: &mut Vec<Arrival>| {
            let before = held.len();
            // A place has been taken when this is asked.
            while let Some(arrival) = arrivals.begin(&caller(email), 1024 - held.len() - 1) {
                held.push(arrival);
            }
            held.len() - before
        };
        assert_eq!(fill("a@x.org", &mut held), 512);
        assert_eq!(fill("b@x.org", &mut held), 256);
        held.truncate(512);
        assert_eq!(fill("b@x.org", &mut held), 256);
        held.clear();
        assert!(arrivals.counts.lock().unwrap().is_empty(), "who has left is forgotten");
    }
}
