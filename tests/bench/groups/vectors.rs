//! Exact search over 100,000 vectors, through the service.

use std::time::Instant;

use serde_json::json;

use super::search::{DOCUMENTS, fill, search};
use crate::{
    Bench, Fault, embedder::DIMENSIONS, process::Process, report::Findings, space::Owner,
    stats::percentile_ms, text::Writer,
};

const QUESTIONS: usize = 100;
const DATASET: &str = "library";
const SEED: u64 = 1848;

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let folder = bench.folder("vectors")?;
    let service = Process::service(&bench.binary, &folder, &[])?;
    let embedder = Process::role("embedder", &folder)?;
    let (owner, mut writer) = (Owner::new(&service).await?, Writer::new(SEED));
    let embedding = json!({"base_url": format!("{}/v1", embedder.url()), "model": "hash", "batch_size": 256});
    owner.dataset_of(DATASET, "local", json!({ "embedding": embedding })).await?;
    let rate = fill(&owner, &mut writer, DATASET, bench.count(DOCUMENTS)).await?;
    let mut p50 = Vec::new();
    // One round to warm up.
    for round in 0..=bench.rounds() {
        let mut times = Vec::with_capacity(QUESTIONS);
        for _ in 0..bench.count(QUESTIONS) {
            let question = writer.question();
            // The second time its vector is known, and only the search is left. One at a time: one thread.
            search(&owner, DATASET, question.clone()).await?;
            let started = Instant::now();
            if search(&owner, DATASET, question).await? == 0 {
                return Err("nothing was found".into());
            }
            times.push(u64::try_from(started.elapsed().as_nanos())?);
        }
        if round > 0 {
            p50.push(percentile_ms(&times, 0.5));
        }
    }
    let mut findings = Findings::default();
    findings.note("numbers of a vector", DIMENSIONS);
    findings.note("documents per second, embedded", rate.round());
    findings.note("MiB after the last search", service.resident_kib()? / 1024);
    findings.rounds("vector_100k_p50_ms", p50);
    Ok(findings)
}
