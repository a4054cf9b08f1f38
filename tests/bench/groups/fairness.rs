//! What a tenant feels when another one offers ten times its share of the places.

use std::time::Duration;

use tokio::try_join;

use crate::{
    Bench, Fault,
    client::Caller,
    clock::Pacer,
    load::{CONNECTIONS, Offer, Outcome, offer},
    process::Process,
    report::Findings,
    script::Script,
    space::{Owner, SLUG, callers},
    stats::{median, percentile_ms},
};

/// Queries at once. With 20 ms each there is room for 800 a second, 400 for each of two tenants.
const PLACES: &str = "16";
const LATENCY: Duration = Duration::from_millis(20);
const LASTS: Duration = Duration::from_secs(4);
/// A quarter of its share.
const MODEST: Offer = Offer { per_second: 100, time: LASTS };
/// Ten times its share.
const GREEDY: Offer = Offer { per_second: 4_000, time: LASTS };

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let settings = [("SYFT_ENABLE_MULTI_TENANCY", "true"), ("SYFT_PIPELINE_MAX_RUNNING", PLACES)];
    let folder = bench.folder("fairness")?;
    let service = Process::service(&bench.binary, &folder, &settings)?;
    let upstream = Process::role("upstream", &folder)?;
    let owner = Owner::new(&service).await?;
    let greedy = tenant(&owner, "greedy", &service, &upstream).await?;
    let modest = tenant(&owner, "modest", &service, &upstream).await?;
    let pacer = Pacer::start();
    let warm = Offer { time: Duration::from_secs(1), ..MODEST };
    try_join!(offer(&pacer, warm, &greedy), offer(&pacer, warm, &modest))?;

    let (mut ratios, mut alone_p99, mut beside_p99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut refused_alone, mut refused, mut greedy_answered) = (0, 0, Vec::new());
    for _ in 0..bench.rounds() {
        let alone = offer(&pacer, MODEST, &modest).await?;
        let (beside, other) = try_join!(offer(&pacer, MODEST, &modest), offer(&pacer, GREEDY, &greedy))?;
        let p99 = |outcome: &Outcome| percentile_ms(&outcome.times, 0.99);
        ratios.push(p99(&beside) / p99(&alone));
        alone_p99.push(p99(&alone));
        beside_p99.push(p99(&beside));
        refused_alone += alone.failed;
        refused += beside.failed;
        greedy_answered.push(other.answered as f64 / LASTS.as_secs_f64());
    }
    let mut findings = Findings::default();
    findings.note("p99 alone, ms", median(&alone_p99));
    findings.note("p99 beside the greedy one, ms; a refusal is 1000", median(&beside_p99));
    findings.note("refusals of the modest tenant alone", refused_alone);
    findings.note("refusals of the modest tenant beside the greedy one", refused);
    findings.note("answers to the greedy one, per second", median(&greedy_answered).round());
    findings.rounds("fairness_p99_ratio", ratios);
    Ok(findings)
}

async fn tenant(
    owner: &Owner,
    name: &str,
    service: &Process,
    upstream: &Process,
) -> Result<Vec<Caller>, Fault> {
    let (owner, tenant) = owner.tenant(name).await?;
    owner.endpoint(SLUG, upstream, Script { latency: LATENCY, ..Script::short() }).await?;
    let key = owner.key(&format!("{name}@example.org")).await?;
    let mut callers = callers(service, &key, SLUG, CONNECTIONS).await?;
    callers.iter_mut().for_each(|caller| caller.tenant = Some(tenant.clone()));
    Ok(callers)
}
