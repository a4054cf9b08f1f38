//! Two kinds of load: closed, to see what an operation costs when nothing waits, and open, on a schedule
//! that does not slow down with the service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Fault,
    client::{Caller, Way},
    clock::Pacer,
    process::Process,
    token::{Tally, Watch},
};

/// Connections of a client that saturates a service, and its calls at once on each.
pub const CONNECTIONS: usize = 4;
pub const PER_CONNECTION: usize = 16;

/// Does `total` operations, as many at once as there are connections and calls on them, and returns how
/// long it took. An operation is told its worker and its number.
///
/// # Errors
/// The first failure of an operation.
pub async fn saturate<O, F>(total: usize, operation: O) -> Result<Duration, Fault>
where
    O: Fn(usize, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Fault>> + Send,
{
    let (next, mut workers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let started = Instant::now();
    for worker in 0..CONNECTIONS * PER_CONNECTION {
        let (next, operation) = (Arc::clone(&next), operation.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return Ok::<_, Fault>(());
                }
                operation(worker, number).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(started.elapsed())
}

/// Microseconds that `process` spent on processors for each of `total` operations.
///
/// # Errors
/// The first failure of an operation.
pub async fn cpu_us<O, F>(process: &Process, total: usize, operation: O) -> Result<f64, Fault>
where
    O: Fn(usize, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Fault>> + Send,
{
    let before = process.cpu()?;
    saturate(total, operation).await?;
    Ok((process.cpu()? - before).as_secs_f64() * 1e6 / total as f64)
}

/// Streams that begin one after another, whether or not the earlier ones have ended.
#[derive(Clone, Copy)]
pub struct Arrivals {
    pub streams: usize,
    /// From one beginning to the next.
    pub gap: Duration,
    /// Tokens of each.
    pub tokens: usize,
}

/// What the readers of such streams saw.
#[derive(Default)]
pub struct Seen {
    /// Nanoseconds from the planned beginning to the first token, one a stream.
    pub first: Vec<u64>,
    /// Nanoseconds from the upstream's sending to the reading, one a token.
    pub delays: Vec<u64>,
    pub tally: Tally,
}

/// Begins the streams on schedule, in turn over `ways`, and reads them to their ends.
///
/// # Errors
/// The first failure of a stream.
pub async fn stream(pacer: &Pacer, arrivals: Arrivals, ways: &[Way]) -> Result<Seen, Fault> {
    let (start, mut streams) = (Instant::now() + Duration::from_millis(20), JoinSet::new());
    for number in 0..arrivals.streams {
        let due = start + arrivals.gap * u32::try_from(number)?;
        pacer.at(due).await;
        let way = ways[number % ways.len()].clone();
        streams.spawn(async move {
            let mut watch = Watch::new(arrivals.tokens);
            way.stream(&mut watch).await?;
            let tally = watch.end();
            // From when it should have begun: a client that is late has waited too.
            let first = watch.first.ok_or("a stream without a token")?.saturating_duration_since(due);
            Ok::<_, Fault>((u64::try_from(first.as_nanos())?, watch.delays, tally))
        });
    }
    let mut seen = Seen::default();
    while let Some(ended) = streams.join_next().await {
        let (first, delays, tally) = ended??;
        seen.first.push(first);
        seen.delays.extend(delays);
        seen.tally += tally;
    }
    Ok(seen)
}

/// Queries on a schedule.
#[derive(Clone, Copy)]
pub struct Offer {
    pub per_second: u32,
    pub time: Duration,
}

/// What became of them.
#[derive(Default)]
pub struct Outcome {
    /// Nanoseconds from the planned moment to the answer; a call that failed counts as [`PENALTY`].
    pub times: Vec<u64>,
    pub answered: usize,
    pub failed: usize,
}

/// What a refusal costs a caller, at least: a refused call is not a fast one.
const PENALTY: Duration = Duration::from_secs(1);
/// Calls that a client keeps open at most. Beyond it a call counts as failed without being made.
const OPEN_CALLS: usize = 2_000;

/// Queries on schedule, in turn over `callers`.
///
/// # Errors
/// When a task of ours fails; calls may.
pub async fn offer(pacer: &Pacer, offer: Offer, callers: &[Caller]) -> Result<Outcome, Fault> {
    let start = Instant::now() + Duration::from_millis(20);
    let total = (offer.time.as_secs_f64() * f64::from(offer.per_second)) as u32;
    let penalty = u64::try_from(PENALTY.as_nanos())?;
    let (mut calls, mut outcome) = (JoinSet::new(), Outcome::default());
    for number in 0..total {
        let due = start + Duration::from_secs(1) * number / offer.per_second;
        pacer.at(due).await;
        while let Some(ended) = calls.try_join_next() {
            outcome.add(ended?, penalty);
        }
        if calls.len() >= OPEN_CALLS {
            outcome.add(None, penalty);
            continue;
        }
        let caller = callers[number as usize % callers.len()].clone();
        calls.spawn(async move {
            let answered = tokio::time::timeout(2 * PENALTY, caller.query()).await;
            let took = Instant::now().saturating_duration_since(due);
            matches!(answered, Ok(Ok(_))).then(|| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
        });
    }
    while let Some(ended) = calls.join_next().await {
        outcome.add(ended?, penalty);
    }
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, took: Option<u64>, penalty: u64) {
        self.times.push(took.unwrap_or(penalty));
        match took {
            Some(_) => self.answered += 1,
            None => self.failed += 1,
        }
    }
}
