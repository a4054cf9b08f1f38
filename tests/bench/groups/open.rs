//! Ten thousand streams at once: what each costs in memory, and whether all come to their end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Bench, Fault,
    client::{Caller, next},
    report::Findings,
    script::Script,
    space::{SLUG, Space},
    token::{Tally, Watch},
};

const STREAMS: usize = 10_000;
/// A connection carries 256 streams at most.
const CONNECTIONS: usize = 50;
const EVERY: Duration = Duration::from_secs(2);
const TOKENS: usize = 15;
/// Streams that are being opened at once.
const OPENING: usize = 200;
/// From the first stream on, all must be open: the first ends soon after.
const OPEN_WITHIN: Duration = Duration::from_secs(24);
/// From the last stream's first token until memory is looked at.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How far the streams are.
#[derive(Clone)]
struct Progress {
    opening: Arc<Semaphore>,
    opened: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "open", &[("SYFT_PIPELINE_MAX_RUNNING", "20000")]).await?;
    space.endpoint(SLUG, Script::paced(TOKENS, EVERY)).await?;
    space.endpoint("short", Script::short()).await?;
    let callers = space.callers(SLUG, CONNECTIONS).await?;
    for caller in &callers {
        caller.at("short").query().await?;
    }
    let (before, total) = (space.service.resident_kib()?, bench.count(STREAMS));
    let (started, progress) = (Instant::now(), Progress::new());
    let streams = begin(&callers, total, &progress);
    while progress.opened.load(Ordering::SeqCst) < total && started.elapsed() < OPEN_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let opening = started.elapsed();
    tokio::time::sleep(SETTLED_AFTER).await;
    let (open, resident) = (progress.open(), space.service.resident_kib()?);

    let mut findings = Findings::default();
    let lost = ended(streams, &mut findings).await?;
    findings.note("open when memory was read", open);
    findings.note("seconds until all were open", opening.as_secs_f64());
    findings.note("MiB before", before / 1024);
    findings.note("MiB with all open", resident / 1024);
    let each = resident.saturating_sub(before) as f64 / open.max(1) as f64;
    findings.key("kib_per_open_stream", each, Vec::new());
    findings.key("streams_10k_lost", lost.max(total - open) as f64, Vec::new());
    Ok(findings)
}

impl Progress {
    fn new() -> Self {
        let opening = Arc::new(Semaphore::new(OPENING));
        Self { opening, opened: Arc::default(), ended: Arc::default() }
    }

    /// Streams that have given a token and are not at their end.
    fn open(&self) -> usize {
        let ended = self.ended.load(Ordering::SeqCst);
        self.opened.load(Ordering::SeqCst).saturating_sub(ended)
    }
}

fn begin(callers: &[Caller], total: usize, progress: &Progress) -> JoinSet<Result<Tally, Fault>> {
    let mut streams = JoinSet::new();
    for number in 0..total {
        let (caller, progress) = (callers[number % CONNECTIONS].clone(), progress.clone());
        streams.spawn(async move { read(&caller, &progress).await });
    }
    streams
}

/// Waits for the ends of all streams; how many had another than they should.
async fn ended(mut streams: JoinSet<Result<Tally, Fault>>, findings: &mut Findings) -> Result<usize, Fault> {
    let mut lost = 0;
    while let Some(ended) = streams.join_next().await {
        match ended? {
            Ok(tally) => findings.tally += tally,
            Err(fault) => {
                lost += 1;
                findings.note("why a stream was lost", fault.to_string());
            }
        }
    }
    Ok(lost)
}

async fn read(caller: &Caller, progress: &Progress) -> Result<Tally, Fault> {
    let mut watch = Watch::new(TOKENS);
    let place = progress.opening.acquire().await?;
    let mut events = caller.open(0).await?;
    next(&mut events, &mut watch).await?;
    drop(place);
    progress.opened.fetch_add(1, Ordering::SeqCst);
    let mut more = Ok(true);
    while matches!(more, Ok(true)) {
        more = next(&mut events, &mut watch).await;
    }
    progress.ended.fetch_add(1, Ordering::SeqCst);
    more.map(|_| watch.end())
}
