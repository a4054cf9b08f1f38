//! How soon the upstream's connection is closed when a client cancels.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use syft_endpoints::proto::StreamQueryResponse;
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::{
    Bench, Fault,
    client::{Caller, next},
    clock,
    load::CONNECTIONS,
    process::Process,
    report::Findings,
    script::Script,
    space::{SLUG, Space},
    stats::percentile_ms,
    token::Watch,
};

const STREAMS: usize = 200;
/// Longer than any round.
const TOKENS: usize = 6_000;
/// A connection that is not closed by then counts as closed then.
const LIMIT: Duration = Duration::from_secs(5);

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "cancel", &[]).await?;
    space.endpoint(SLUG, Script::paced(TOKENS, Duration::from_millis(10))).await?;
    let callers = space.callers(SLUG, CONNECTIONS).await?;
    let (mut p99, mut slow) = (Vec::new(), 0);
    // One round to warm up.
    for round in 0..=bench.rounds() {
        let mut cancelled = HashMap::new();
        for (number, events) in open(&callers, (round + 1) * 1_000).await? {
            cancelled.insert(number, clock::nanos());
            drop(events);
        }
        let delays = closed(&space.upstream, &cancelled).await?;
        slow += delays.iter().filter(|delay| u128::from(**delay) >= LIMIT.as_nanos()).count();
        if round > 0 {
            p99.push(percentile_ms(&delays, 0.99));
        }
    }
    let mut findings = Findings::default();
    findings.note("upstream connections that stayed open", slow);
    findings.rounds("cancel_p99_ms", p99);
    Ok(findings)
}

/// Streams that have given their first token, with their numbers.
async fn open(
    callers: &[Caller],
    first: usize,
) -> Result<Vec<(usize, Streaming<StreamQueryResponse>)>, Fault> {
    let mut opening = JoinSet::new();
    for number in first..first + STREAMS {
        let caller = callers[number % callers.len()].clone();
        opening.spawn(async move {
            let mut events = caller.open(number).await?;
            next(&mut events, &mut Watch::new(TOKENS)).await?;
            Ok::<_, Fault>((number, events))
        });
    }
    let mut opened = Vec::with_capacity(STREAMS);
    while let Some(ended) = opening.join_next().await {
        opened.push(ended??);
    }
    Ok(opened)
}

/// Nanoseconds from each cancellation to the end of its connection.
async fn closed(upstream: &Process, cancelled: &HashMap<usize, u64>) -> Result<Vec<u64>, Fault> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let until = Instant::now() + LIMIT;
    loop {
        let told = http.get(format!("{}/closed", upstream.url())).send().await?.text().await?;
        let mut delays = Vec::with_capacity(cancelled.len());
        for line in told.lines() {
            let (number, at) = line.split_once(' ').ok_or("not a line of /closed")?;
            if let Some(from) = cancelled.get(&number.parse()?) {
                delays.push(at.parse::<u64>()?.saturating_sub(*from));
            }
        }
        if delays.len() == cancelled.len() {
            return Ok(delays);
        }
        if Instant::now() > until {
            delays.resize(cancelled.len(), u64::try_from(LIMIT.as_nanos())?);
            return Ok(delays);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
