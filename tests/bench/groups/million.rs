//! Local search by words over a million documents, in a process that has done nothing else.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::search::{fill, search};
use crate::{
    Bench, Fault, process::Process, report::Findings, space::Owner, stats::percentile_ms, text::Writer,
};

const DOCUMENTS: usize = 1_000_000;
/// Documents of one ingestion: the client keeps no more of them in memory.
const TOGETHER: usize = 100_000;
const QUESTIONS: usize = 200;
const DATASET: &str = "library";
/// How long an index may take to be built.
const PATIENCE: Duration = Duration::from_secs(300);
const SEED: u64 = 2_718_281;

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let folder = bench.folder("million")?;
    let service = Process::service(&bench.binary, &folder, &[])?;
    let (owner, mut writer) = (Owner::new(&service).await?, Writer::new(SEED));
    owner.dataset(DATASET).await?;
    let (count, started) = (bench.count(DOCUMENTS), Instant::now());
    for first in (0..count).step_by(TOGETHER) {
        writer.go_on_at(first);
        fill(&owner, &mut writer, DATASET, TOGETHER.min(count - first)).await?;
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    drop(owner);
    service.stop()?;

    // Once to catch up with what is missing, and once more: what writing took up is not searching's.
    searchable(bench, &folder, &mut writer).await?.0.stop()?;
    let (service, owner) = searchable(bench, &folder, &mut writer).await?;
    let (mut p50, mut p99, mut found) = (Vec::new(), Vec::new(), 0);
    for round in 0..=bench.rounds() {
        let mut times = Vec::with_capacity(QUESTIONS);
        for _ in 0..bench.count(QUESTIONS) {
            let question = writer.question();
            let started = Instant::now();
            found += usize::from(search(&owner, DATASET, question).await? > 0);
            times.push(u64::try_from(started.elapsed().as_nanos())?);
        }
        // One round to warm up.
        if round > 0 {
            p50.push(percentile_ms(&times, 0.5));
            p99.push(percentile_ms(&times, 0.99));
        }
    }
    if found * 2 < bench.count(QUESTIONS) * (bench.rounds() + 1) {
        return Err(format!("only {found} questions found anything").into());
    }
    let mut findings = Findings::default();
    findings.note("documents per second into it", rate.round());
    findings.note("p99, ms", crate::stats::median(&p99));
    findings.rounds("local_1m_p50_ms", p50);
    findings.key("local_1m_rss_gib", service.resident_kib()? as f64 / 1024.0 / 1024.0, Vec::new());
    Ok(findings)
}

/// A service that searches, and its owner.
async fn searchable(bench: &Bench, folder: &Path, writer: &mut Writer) -> Result<(Process, Owner), Fault> {
    let service = Process::service(&bench.binary, folder, &[])?;
    let (owner, limit) = (Owner::new(&service).await?, Instant::now() + PATIENCE);
    while let Err(fault) = search(&owner, DATASET, writer.question()).await {
        if Instant::now() > limit {
            return Err(fault);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok((service, owner))
}
