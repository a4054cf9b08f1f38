//! What a well-behaved client feels while two others flood the service with control frames.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    Bench, Fault,
    client::Caller,
    flood::Attack,
    report::Findings,
    script::Script,
    space::{SLUG, Space, warm},
    stats::{median, percentile_ms},
};

const LASTS: Duration = Duration::from_secs(2);

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "victim", &[]).await?;
    space.endpoint(SLUG, Script::short()).await?;
    let victim = space.callers(SLUG, 1).await?.remove(0);
    warm(&victim).await?;
    let (mut alone, mut flooded, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let mut findings = Findings::default();
    for _ in 0..bench.rounds() {
        alone.push(percentile_ms(&times(&victim).await?, 0.5));
        let attackers = ["ping", "settings"]
            .into_iter()
            .map(|frames| Attack::start(space.service.address, frames, LASTS + Duration::from_millis(500)))
            .collect::<Result<Vec<_>, _>>()?;
        // They are at it by then.
        tokio::time::sleep(Duration::from_millis(250)).await;
        let times = times(&victim).await?;
        flooded.push(percentile_ms(&times, 0.5));
        p99.push(percentile_ms(&times, 0.99));
        for attacker in attackers {
            let (frames, told): (&str, Value) = attacker.end()?;
            findings.note(&format!("{frames} flood"), told);
        }
    }
    findings.note("victim's p50 without a flood, ms", median(&alone));
    findings.note("victim's p99 in the flood, ms", median(&p99));
    findings.rounds("victim_p50_ms", flooded);
    Ok(findings)
}

/// Nanoseconds that queries took, one after another for a while.
async fn times(caller: &Caller) -> Result<Vec<u64>, Fault> {
    let (until, mut times) = (Instant::now() + LASTS, Vec::new());
    while Instant::now() < until {
        let started = Instant::now();
        caller.query().await?;
        times.push(u64::try_from(started.elapsed().as_nanos())?);
    }
    Ok(times)
}
