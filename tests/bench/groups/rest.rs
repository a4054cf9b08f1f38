//! REST against gRPC: the same endpoints of one process, with a model in memory, in the same rounds.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    Bench, Fault,
    client::Way,
    echo::DELTAS,
    inprocess::{STREAMED, UNARY},
    load::{CONNECTIONS, saturate},
    process::Process,
    report::Findings,
    rest::Rest,
    space::{Owner, callers, warm},
    stats::median,
    token::{Tally, Watch},
};

const QUERIES: usize = 10_000;
const STREAMS: usize = 1_000;

/// A protocol, and what was seen of it, one value a round.
struct Side {
    name: &'static str,
    unary: Arc<[Way]>,
    streamed: Arc<[Way]>,
    queries_per_s: Vec<f64>,
    deltas_per_s: Vec<f64>,
    cpu_us_per_query: Vec<f64>,
    cpu_us_per_delta: Vec<f64>,
    tally: Arc<Mutex<Tally>>,
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let service = Process::role("inprocess", &bench.folder("rest")?)?;
    let key = Owner::new(&service).await?.key("bench@example.org").await?;
    let callers = callers(&service, &key, UNARY, CONNECTIONS).await?;
    warm(&callers[0]).await?;
    let streamed = callers.iter().map(|caller| Way::Service(Box::new(caller.at(STREAMED)))).collect();
    let unary = callers.into_iter().map(|caller| Way::Service(Box::new(caller))).collect();
    // HTTP/1.1 has a connection for each call at once; gRPC has as many calls on a few.
    let rest = Rest::new(&service, &key, UNARY)?;
    let in_events = vec![Way::Rest(rest.at(STREAMED))];
    let mut sides = [Side::new("gRPC", unary, streamed), Side::new("REST", vec![Way::Rest(rest)], in_events)];
    // One round to warm up.
    for round in 0..=bench.rounds() {
        for side in [round % 2, (round + 1) % 2] {
            sides[side].round(bench, &service, round > 0).await?;
        }
    }
    let mut findings = Findings::default();
    for side in &sides {
        findings.tally += *side.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let name = side.name;
        findings.note(&format!("{name}, queries per second"), median(&side.queries_per_s).round());
        findings.note(&format!("{name}, deltas per second"), median(&side.deltas_per_s).round());
        findings.note(&format!("{name}, CPU us per query"), median(&side.cpu_us_per_query));
        findings.note(&format!("{name}, CPU us per delta"), median(&side.cpu_us_per_delta));
    }
    let [grpc, rest] = &sides;
    findings.rounds("rest_ratio", ratios(&rest.queries_per_s, &grpc.queries_per_s));
    findings.rounds("sse_ratio", ratios(&rest.deltas_per_s, &grpc.deltas_per_s));
    Ok(findings)
}

fn ratios(rest: &[f64], grpc: &[f64]) -> Vec<f64> {
    rest.iter().zip(grpc).map(|(rest, grpc)| rest / grpc).collect()
}

impl Side {
    fn new(name: &'static str, unary: Vec<Way>, streamed: Vec<Way>) -> Self {
        Self {
            name,
            unary: unary.into(),
            streamed: streamed.into(),
            queries_per_s: Vec::new(),
            deltas_per_s: Vec::new(),
            cpu_us_per_query: Vec::new(),
            cpu_us_per_delta: Vec::new(),
            tally: Arc::default(),
        }
    }

    async fn round(&mut self, bench: &Bench, service: &Process, counts: bool) -> Result<(), Fault> {
        let (queries, streams) = (bench.count(QUERIES), bench.count(STREAMS));
        let before = service.cpu()?;
        let ways = Arc::clone(&self.unary);
        let queried = saturate(queries, move |worker: usize, _| {
            let way = ways[worker % ways.len()].clone();
            async move { way.unary().await.map(drop) }
        });
        let queried = queried.await?;
        let between = service.cpu()?;
        let (ways, tally) = (Arc::clone(&self.streamed), Arc::clone(&self.tally));
        let streamed = saturate(streams, move |worker: usize, _| {
            let (way, tally) = (ways[worker % ways.len()].clone(), Arc::clone(&tally));
            async move {
                let mut watch = Watch::new(DELTAS);
                way.stream(&mut watch).await?;
                *tally.lock().unwrap_or_else(PoisonError::into_inner) += watch.end();
                Ok(())
            }
        });
        let (streamed, after) = (streamed.await?, service.cpu()?);
        if counts {
            let (queries, deltas) = (queries as f64, (streams * DELTAS) as f64);
            self.queries_per_s.push(queries / queried.as_secs_f64());
            self.cpu_us_per_query.push((between - before).as_secs_f64() * 1e6 / queries);
            self.deltas_per_s.push(deltas / streamed.as_secs_f64());
            self.cpu_us_per_delta.push((after - between).as_secs_f64() * 1e6 / deltas);
        }
        Ok(())
    }
}
