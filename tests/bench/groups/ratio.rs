//! Our server around a model in memory, against a bare tonic service: what a client gets per second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prost::Message;

use crate::{
    Bench, Fault,
    client::{Caller, Header},
    echo::DELTAS,
    inprocess::{STREAMED, UNARY},
    load::{CONNECTIONS, saturate},
    process::Process,
    report::Findings,
    space::{Owner, callers, warm},
    stats::median,
    token::{Tally, Watch},
};

const QUERIES: usize = 20_000;
const STREAMS: usize = 2_000;
/// Bytes by which an answer may differ from the echo's: numbers in it are as long as they are.
const LIKE: usize = 8;

type Callers = Arc<Vec<Caller>>;

/// A server, and what was seen of it, one value a round.
struct Side {
    name: &'static str,
    process: Process,
    callers: Callers,
    queries_per_s: Vec<f64>,
    deltas_per_s: Vec<f64>,
    cpu_us_per_query: Vec<f64>,
    tally: Arc<Mutex<Tally>>,
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let folder = bench.folder("ratio")?;
    let (echo, ours) = (Process::role("echo", &folder)?, Process::role("inprocess", &folder)?);
    let key = Owner::new(&ours).await?.key("bench@example.org").await?;
    let mut sides = [Side::new("echo", echo, &key).await?, Side::new("in process", ours, &key).await?];
    warm(&sides[1].callers[0]).await?;
    let mut sizes = [0; 2];
    for (size, side) in sizes.iter_mut().zip(&sides) {
        *size = side.callers[0].query().await?.encoded_len();
    }
    if sizes[0].abs_diff(sizes[1]) > LIKE {
        return Err(format!("the answers of echo and service have {sizes:?} bytes: not alike").into());
    }
    // One round to warm up.
    for round in 0..=bench.rounds() {
        for side in [round % 2, (round + 1) % 2] {
            sides[side].round(bench, round > 0).await?;
        }
    }
    let mut findings = Findings::default();
    for side in &sides {
        findings.tally += *side.tally.lock().unwrap_or_else(PoisonError::into_inner);
        findings.note(&format!("{}, queries per second", side.name), median(&side.queries_per_s).round());
        findings.note(&format!("{}, deltas per second", side.name), median(&side.deltas_per_s).round());
        findings.note(&format!("{}, CPU us per query", side.name), median(&side.cpu_us_per_query));
    }
    let [echo, ours] = &sides;
    findings.rounds("unary_ratio", ratios(&ours.queries_per_s, &echo.queries_per_s));
    findings.rounds("stream_ratio", ratios(&ours.deltas_per_s, &echo.deltas_per_s));
    Ok(findings)
}

fn ratios(ours: &[f64], echo: &[f64]) -> Vec<f64> {
    ours.iter().zip(echo).map(|(ours, echo)| ours / echo).collect()
}

impl Side {
    async fn new(name: &'static str, process: Process, key: &Header) -> Result<Self, Fault> {
        let callers = Arc::new(callers(&process, key, UNARY, CONNECTIONS).await?);
        Ok(Self {
            name,
            process,
            callers,
            queries_per_s: Vec::new(),
            deltas_per_s: Vec::new(),
            cpu_us_per_query: Vec::new(),
            tally: Arc::default(),
        })
    }

    async fn round(&mut self, bench: &Bench, counts: bool) -> Result<(), Fault> {
        let (queries, streams) = (bench.count(QUERIES), bench.count(STREAMS));
        let before = self.process.cpu()?;
        let queried = self.queries(queries).await?;
        let spent = self.process.cpu()? - before;
        let streamed = self.streams(streams).await?;
        if counts {
            self.queries_per_s.push(queries as f64 / queried.as_secs_f64());
            self.cpu_us_per_query.push(spent.as_secs_f64() * 1e6 / queries as f64);
            self.deltas_per_s.push((streams * DELTAS) as f64 / streamed.as_secs_f64());
        }
        Ok(())
    }

    async fn queries(&self, total: usize) -> Result<Duration, Fault> {
        let callers = Arc::clone(&self.callers);
        let operation = move |worker: usize, _| {
            let caller = callers[worker % CONNECTIONS].clone();
            async move { Ok(caller.query().await.map(drop)?) }
        };
        saturate(total, operation).await
    }

    async fn streams(&self, total: usize) -> Result<Duration, Fault> {
        let callers: Callers = Arc::new(self.callers.iter().map(|caller| caller.at(STREAMED)).collect());
        let tally = Arc::clone(&self.tally);
        let operation = move |worker: usize, _| {
            let (caller, tally) = (callers[worker % CONNECTIONS].clone(), Arc::clone(&tally));
            async move {
                let mut watch = Watch::new(DELTAS);
                caller.stream(&mut watch).await?;
                *tally.lock().unwrap_or_else(PoisonError::into_inner) += watch.end();
                Ok(())
            }
        };
        saturate(total, operation).await
    }
}
