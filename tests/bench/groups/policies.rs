//! What policies cost: endpoints with and without them, around a model in memory, in the same rounds of one
//! process.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, Database};

use crate::{
    Bench, Fault,
    client::{Caller, Header},
    echo::DELTAS,
    inprocess::{self, FILTERED, HUNDRED, LIMITED, STREAMED, UNARY},
    load::{CONNECTIONS, saturate},
    process::Process,
    report::Findings,
    space::{Owner, callers, warm},
    stats::{median, percentile},
    token::{Tally, Watch},
};

const QUERIES: usize = 10_000;
const STREAMS: usize = 1_000;
/// Queries of a round, one at a time.
const CALLS: usize = 1_500;
/// Callers with a limit of their own.
const USERS: usize = 1_000;
/// Of a server on which a database may be made.
const POSTGRES: &str = "SYFT_TEST_POSTGRES_URL";

/// A service, and its callers.
struct Space {
    // Ends with it.
    _service: Process,
    callers: Arc<[Caller]>,
    users: Arc<[Header]>,
    tally: Arc<Mutex<Tally>>,
}

/// What a round finds of an endpoint.
#[derive(Clone, Copy)]
enum Figure {
    QueriesPerSecond,
    DeltasPerSecond,
    /// Of one query at a time, in the middle.
    Microseconds,
}

pub async fn on_sqlite(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(&bench.folder("policies")?).await?;
    let mut findings = Findings::default();
    let ratios = space.limited(bench, &mut findings).await?;
    findings.rounds("rate_limited_ratio_sqlite", ratios);
    let added = space.added(bench, &mut findings).await?;
    findings.rounds("policies_100_us", added);
    let ratios = space.filtered(bench, &mut findings).await?;
    findings.rounds("filter_stream_ratio", ratios);
    findings.tally = *space.tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(findings)
}

pub async fn on_postgres(bench: &Bench) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    let Ok(server) = std::env::var(POSTGRES) else {
        findings.unmeasured("rate_limited_ratio_postgres", format!("{POSTGRES} is not set"));
        return Ok(findings);
    };
    let (folder, name) = (bench.folder("policies_postgres")?, format!("bench{}", std::process::id()));
    let owner = Database::connect(&server).await?;
    owner.execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
    let (address, _) = server.rsplit_once('/').ok_or("the URL names no database")?;
    fs::write(folder.join(inprocess::DATABASE), format!("{address}/{name}"))?;
    let measured = async {
        let space = Space::start(&folder).await?;
        space.limited(bench, &mut findings).await
    };
    let measured = measured.await;
    // Its connections have ended with the service.
    owner.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    owner.close().await?;
    findings.rounds("rate_limited_ratio_postgres", measured?);
    Ok(findings)
}

impl Space {
    async fn start(folder: &Path) -> Result<Self, Fault> {
        let service = Process::role("inprocess", folder)?;
        let owner = Owner::new(&service).await?;
        let mut users = Vec::with_capacity(USERS);
        for number in 0..USERS {
            users.push(owner.key(&format!("user{number}@example.org")).await?);
        }
        let callers = callers(&service, &users[0], UNARY, CONNECTIONS).await?;
        warm(&callers[0]).await?;
        Ok(Self { _service: service, callers: callers.into(), users: users.into(), tally: Arc::default() })
    }

    /// Queries per second with a limit for each caller ÷ without policies, as the same 1,000 callers.
    async fn limited(&self, bench: &Bench, findings: &mut Findings) -> Result<Vec<f64>, Fault> {
        let [without, with] = self.in_turns(bench, [UNARY, LIMITED], Figure::QueriesPerSecond).await?;
        findings.note("queries per second without policies", median(&without).round());
        findings.note("queries per second with a limit", median(&with).round());
        Ok(ratios(&with, &without))
    }

    /// Microseconds that 100 policies add to a query, one at a time.
    async fn added(&self, bench: &Bench, findings: &mut Findings) -> Result<Vec<f64>, Fault> {
        let [without, with] = self.in_turns(bench, [UNARY, HUNDRED], Figure::Microseconds).await?;
        findings.note("a query without policies, p50 us", median(&without));
        findings.note("a query with 100 policies, p50 us", median(&with));
        Ok(with.iter().zip(&without).map(|(with, without)| with - without).collect())
    }

    /// Deltas per second through two filters ÷ without.
    async fn filtered(&self, bench: &Bench, findings: &mut Findings) -> Result<Vec<f64>, Fault> {
        let [without, with] = self.in_turns(bench, [STREAMED, FILTERED], Figure::DeltasPerSecond).await?;
        findings.note("deltas per second without filters", median(&without).round());
        findings.note("deltas per second through two filters", median(&with).round());
        Ok(ratios(&with, &without))
    }

    /// Measures two endpoints round by round, each first in every other round. The first round warms up.
    async fn in_turns(
        &self,
        bench: &Bench,
        slugs: [&'static str; 2],
        figure: Figure,
    ) -> Result<[Vec<f64>; 2], Fault> {
        let mut seen = [Vec::new(), Vec::new()];
        for round in 0..=bench.rounds() {
            for side in [round % 2, (round + 1) % 2] {
                let value = self.measure(bench, slugs[side], figure).await?;
                if round > 0 {
                    seen[side].push(value);
                }
            }
        }
        Ok(seen)
    }

    async fn measure(&self, bench: &Bench, slug: &'static str, figure: Figure) -> Result<f64, Fault> {
        match figure {
            Figure::QueriesPerSecond => {
                let queries = bench.count(QUERIES);
                Ok(queries as f64 / self.queries(slug, queries).await?.as_secs_f64())
            }
            Figure::DeltasPerSecond => {
                let streams = bench.count(STREAMS);
                Ok((streams * DELTAS) as f64 / self.streams(slug, streams).await?.as_secs_f64())
            }
            Figure::Microseconds => self.time_us(slug, bench.count(CALLS)).await,
        }
    }

    async fn queries(&self, slug: &'static str, total: usize) -> Result<Duration, Fault> {
        let (callers, users) = (Arc::clone(&self.callers), Arc::clone(&self.users));
        let operation = move |worker: usize, number: usize| {
            let caller = callers[worker % CONNECTIONS].at(slug);
            let caller = caller.with_authorization(users[number % USERS].clone());
            async move { Ok(caller.query().await.map(drop)?) }
        };
        saturate(total, operation).await
    }

    async fn streams(&self, slug: &'static str, total: usize) -> Result<Duration, Fault> {
        let (callers, tally) = (Arc::clone(&self.callers), Arc::clone(&self.tally));
        let operation = move |worker: usize, _| {
            let (caller, tally) = (callers[worker % CONNECTIONS].at(slug), Arc::clone(&tally));
            async move {
                let mut watch = Watch::new(DELTAS);
                caller.stream(&mut watch).await?;
                *tally.lock().unwrap_or_else(PoisonError::into_inner) += watch.end();
                Ok(())
            }
        };
        saturate(total, operation).await
    }

    async fn time_us(&self, slug: &'static str, calls: usize) -> Result<f64, Fault> {
        let (caller, mut times) = (self.callers[0].at(slug), Vec::with_capacity(calls));
        for _ in 0..calls {
            let begun = Instant::now();
            caller.query().await?;
            times.push(u64::try_from(begun.elapsed().as_nanos())?);
        }
        Ok(percentile(&times, 0.5) as f64 / 1e3)
    }
}

fn ratios(with: &[f64], without: &[f64]) -> Vec<f64> {
    with.iter().zip(without).map(|(with, without)| with / without).collect()
}
