//! What the service adds to the first delta, and to each, at a pace at which models write.

use std::time::Duration;

use crate::{
    Bench, Fault,
    clock::Pacer,
    load::{Arrivals, CONNECTIONS, Seen, stream},
    report::Findings,
    script::Script,
    space::{SLUG, Space},
    stats::{median, percentile_ms},
};

/// A stream lasts a second and one begins every 20 ms: 50 are open.
const TOKENS: usize = 100;
const EVERY: Duration = Duration::from_millis(10);
const GAP: Duration = Duration::from_millis(20);
const STREAMS: usize = 200;

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let script = Script::paced(TOKENS, EVERY);
    let space = Space::start(bench, "paced", &[]).await?;
    space.endpoint(SLUG, script).await?;
    let ways = space.ways(SLUG, script, CONNECTIONS).await?;
    let (pacer, arrivals) =
        (Pacer::start(), Arrivals { streams: bench.count(STREAMS), gap: GAP, tokens: TOKENS });
    for ways in &ways {
        stream(&pacer, Arrivals { streams: 50, ..arrivals }, ways).await?;
    }
    let mut findings = Findings::default();
    let names = ["ttft_added_p50_ms", "ttft_added_p99_ms", "chunk_added_p50_ms", "chunk_added_p99_ms"];
    let (mut added, mut through) = ([const { Vec::new() }; 4], [const { Vec::new() }; 4]);
    for round in 0..bench.rounds() {
        let mut seen = [[0.0; 4]; 2];
        for way in [round % 2, (round + 1) % 2] {
            let found = stream(&pacer, arrivals, &ways[way]).await?;
            findings.tally += found.tally;
            seen[way] = percentiles(&found);
        }
        for (index, (added, through)) in added.iter_mut().zip(&mut through).enumerate() {
            added.push(seen[1][index] - seen[0][index]);
            through.push(seen[1][index]);
        }
    }
    for ((name, added), through) in names.into_iter().zip(added).zip(through) {
        findings.note(&name.replace("added", "through_the_service"), median(&through));
        findings.rounds(name, added);
    }
    Ok(findings)
}

fn percentiles(seen: &Seen) -> [f64; 4] {
    let at = |values: &[u64], share| percentile_ms(values, share);
    [at(&seen.first, 0.5), at(&seen.first, 0.99), at(&seen.delays, 0.5), at(&seen.delays, 0.99)]
}
