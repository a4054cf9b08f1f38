//! What the service adds to the first delta, and to each, at a pace at which models write.

use std::time::Duration;

use crate::{
    Bench, Fault,
    client::Way,
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
const SCRIPT: Script = Script::paced(TOKENS, EVERY);

/// A median of the first delta and one of a delta, and the same at the 99th percentile.
type Names = [&'static str; 4];

const GRPC: Names = ["ttft_added_p50_ms", "ttft_added_p99_ms", "chunk_added_p50_ms", "chunk_added_p99_ms"];
const SSE: Names =
    ["sse_ttft_added_p50_ms", "sse_ttft_added_p99_ms", "sse_chunk_added_p50_ms", "sse_chunk_added_p99_ms"];

pub async fn grpc(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "paced", &[]).await?;
    space.endpoint(SLUG, SCRIPT).await?;
    let ways = space.ways(SLUG, SCRIPT, CONNECTIONS).await?;
    let mut findings = Findings::default();
    for (name, rounds) in GRPC.into_iter().zip(added(bench, &ways, GRPC, &mut findings).await?) {
        findings.rounds(name, rounds);
    }
    Ok(findings)
}

/// The same over REST, on a connection for each open stream.
pub async fn sse(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "sse", &[]).await?;
    space.endpoint(SLUG, SCRIPT).await?;
    let [direct, _] = space.ways(SLUG, SCRIPT, 0).await?;
    let ways = [direct, vec![Way::Rest(space.rest(SLUG)?)]];
    let mut findings = Findings::default();
    let [p50, p99, chunk_p50, chunk_p99] = added(bench, &ways, SSE, &mut findings).await?;
    findings.rounds(SSE[0], p50);
    findings.rounds(SSE[1], p99);
    findings.note(SSE[2], median(&chunk_p50));
    findings.note(SSE[3], median(&chunk_p99));
    Ok(findings)
}

/// What the second way has more than the first, one value a round.
async fn added(
    bench: &Bench,
    ways: &[Vec<Way>; 2],
    names: Names,
    findings: &mut Findings,
) -> Result<[Vec<f64>; 4], Fault> {
    let (pacer, arrivals) =
        (Pacer::start(), Arrivals { streams: bench.count(STREAMS), gap: GAP, tokens: TOKENS });
    for ways in ways {
        stream(&pacer, Arrivals { streams: 50, ..arrivals }, ways).await?;
    }
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
    for (name, through) in names.into_iter().zip(through) {
        findings.note(&name.replace("added", "through_the_service"), median(&through));
    }
    Ok(added)
}

fn percentiles(seen: &Seen) -> [f64; 4] {
    let at = |values: &[u64], share| percentile_ms(values, share);
    [at(&seen.first, 0.5), at(&seen.first, 0.99), at(&seen.delays, 0.5), at(&seen.delays, 0.99)]
}
