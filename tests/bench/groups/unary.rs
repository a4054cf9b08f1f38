//! What the service adds to a Query, one at a time.

use crate::{
    Bench, Fault,
    client::Way,
    report::Findings,
    script::Script,
    space::{SLUG, Space, warm},
    stats::{median, percentile_ms},
};

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let script = Script::short();
    let space = Space::start(bench, "unary", &[]).await?;
    space.endpoint(SLUG, script).await?;
    warm(&space.callers(SLUG, 1).await?[0]).await?;
    let [direct, service] = space.ways(SLUG, script, 1).await?;
    let ways = [&direct[0], &service[0]];
    for way in ways {
        times(way, bench.count(500)).await?;
    }
    let (mut p50, mut p99, mut through) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        let mut seen = [Vec::new(), Vec::new()];
        for way in [round % 2, (round + 1) % 2] {
            seen[way] = times(ways[way], bench.count(1_500)).await?;
        }
        let at = |way: usize, share| percentile_ms(&seen[way], share);
        p50.push(at(1, 0.5) - at(0, 0.5));
        p99.push(at(1, 0.99) - at(0, 0.99));
        through.push(at(1, 0.5));
    }
    let mut findings = Findings::default();
    findings.note("through the service, p50 ms", median(&through));
    findings.rounds("unary_added_p50_ms", p50);
    findings.rounds("unary_added_p99_ms", p99);
    Ok(findings)
}

async fn times(way: &Way, calls: usize) -> Result<Vec<u64>, Fault> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        times.push(u64::try_from(way.unary().await?.as_nanos())?);
    }
    Ok(times)
}
