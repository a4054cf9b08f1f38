//! What a query and a relayed chunk cost the service when it has no time to wait.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;

use crate::{
    Bench, Fault,
    client::{Caller, Header, content},
    load::{CONNECTIONS, cpu_us},
    report::Findings,
    script::Script,
    space::{SLUG, Space, warm},
    token::{self, Tally, Watch},
};

const QUERIES: usize = 20_000;
/// Callers with a limit of their own.
const USERS: usize = 1_000;
const STREAMS: usize = 1_500;
const CHUNKS: usize = 100;

pub async fn per_query(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "query_cpu", &[]).await?;
    space.endpoint(SLUG, Script::short()).await?;
    let callers = space.callers(SLUG, CONNECTIONS).await?;
    warm(&callers[0]).await?;
    let rounds = queries(bench, &space, callers, Vec::new()).await?;
    let mut findings = Findings::default();
    // More than are used at once: they are not used again.
    findings.note("upstream connections in all", space.upstream_connections().await?);
    findings.rounds("cpu_us_per_query", rounds);
    Ok(findings)
}

pub async fn per_limited_query(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "limited_cpu", &[]).await?;
    space.endpoint(SLUG, Script::short()).await?;
    // More than anybody here can ask in a minute: nobody is refused, everybody is counted.
    space.owner.policy(SLUG, "rate_limit", json!({"limit": "6000/m", "scope": "per_user"})).await?;
    let mut users = Vec::with_capacity(USERS);
    for number in 0..USERS {
        users.push(space.owner.key(&format!("user{number}@example.org")).await?);
    }
    let callers = space.callers(SLUG, CONNECTIONS).await?;
    warm(&callers[0]).await?;
    let rounds = queries(bench, &space, callers, users).await?;
    let mut findings = Findings::default();
    findings.rounds("cpu_us_per_query_limited", rounds);
    Ok(findings)
}

/// Microseconds for a query, one a round; in turn as each of `users`, if there are any.
async fn queries(
    bench: &Bench,
    space: &Space,
    callers: Vec<Caller>,
    users: Vec<Header>,
) -> Result<Vec<f64>, Fault> {
    let (callers, users) = (Arc::new(callers), Arc::new(users));
    let operation = move |worker: usize, number: usize| {
        let caller = callers[worker % CONNECTIONS].clone();
        let caller = match users.len() {
            0 => caller,
            users_in_all => caller.with_authorization(users[number % users_in_all].clone()),
        };
        async move {
            let answer = caller.query().await?;
            let whole = content(&answer).len() == token::LENGTH;
            if whole { Ok(()) } else { Err("the answer is not the upstream's".into()) }
        }
    };
    cpu_us(&space.service, bench.count(QUERIES), operation.clone()).await?;
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        rounds.push(cpu_us(&space.service, bench.count(QUERIES), operation.clone()).await?);
    }
    Ok(rounds)
}

pub async fn per_chunk(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "chunk_cpu", &[]).await?;
    space.endpoint(SLUG, Script::paced(CHUNKS, Duration::ZERO)).await?;
    let callers = Arc::new(space.callers(SLUG, CONNECTIONS).await?);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let total = Arc::clone(&tally);
    let operation = move |worker: usize, _| {
        let (caller, total) = (callers[worker % CONNECTIONS].clone(), Arc::clone(&total));
        async move {
            let mut watch = Watch::new(CHUNKS);
            caller.stream(&mut watch).await?;
            *total.lock().unwrap_or_else(PoisonError::into_inner) += watch.end();
            Ok(())
        }
    };
    cpu_us(&space.service, bench.count(STREAMS), operation.clone()).await?;
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let stream = cpu_us(&space.service, bench.count(STREAMS), operation.clone()).await?;
        rounds.push(stream / CHUNKS as f64);
    }
    let connections = space.upstream_connections().await?;
    let mut findings =
        Findings { tally: *tally.lock().unwrap_or_else(PoisonError::into_inner), ..Findings::default() };
    findings.note("upstream connections in all", connections);
    findings.rounds("cpu_us_per_chunk", rounds);
    Ok(findings)
}
