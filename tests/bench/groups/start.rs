//! How soon a service with documents is there, and what it takes up when it has nothing to do.

use std::time::{Duration, Instant};

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::search::{DOCUMENTS, ingest, search};
use crate::{
    Bench, Fault, client::connect, clock::millis, process::Process, report::Findings, space::Owner,
    stats::median, text::Writer,
};

const DATASETS: usize = 10;
const SEED: u64 = 815;
const LIMIT: Duration = Duration::from_secs(30);

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let folder = bench.folder("start")?;
    let service = Process::service(&bench.binary, &folder, &[])?;
    let (owner, mut writer, mut rates) = (Owner::new(&service).await?, Writer::new(SEED), Vec::new());
    for number in 0..DATASETS {
        let name = format!("library-{number}");
        rates.push(ingest(&owner, &mut writer, &name, bench.count(DOCUMENTS) / DATASETS).await?);
    }
    drop(owner);
    service.stop()?;

    let (mut starts, mut resident, mut first_search) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        let started = Instant::now();
        let service = Process::service(&bench.binary, &folder, &[])?;
        serving(&service).await?;
        starts.push(millis(started.elapsed()));
        let (owner, searching) = (Owner::new(&service).await?, Instant::now());
        let dataset = format!("library-{}", round % DATASETS);
        search(&owner, &dataset, writer.question()).await?;
        first_search.push(millis(searching.elapsed()));
        resident.push(service.resident_kib()? as f64 / 1024.0);
        drop(owner);
        service.stop()?;
    }
    let mut findings = Findings::default();
    findings.note("documents per second into a dataset of 10,000", median(&rates).round());
    findings.note("first search after a start, ms", median(&first_search));
    findings.rounds("start_ms", starts);
    findings.rounds("idle_rss_mib", resident);
    Ok(findings)
}

/// Returns once the service says that it serves.
async fn serving(service: &Process) -> Result<(), Fault> {
    let mut health = HealthClient::new(connect(service).await?);
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        let answer = health.check(HealthCheckRequest::default()).await?.into_inner();
        if answer.status() == ServingStatus::Serving {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err("the service does not come to serve".into())
}
