//! Local search over 100,000 documents, and how fast they come in.

use std::time::Instant;

use syft_endpoints::proto::{SearchDatasetRequest, dataset_service_client::DatasetServiceClient};

use crate::{
    Bench, Fault,
    report::Findings,
    space::{Owner, Space},
    stats::percentile_ms,
    text::Writer,
};

pub const DOCUMENTS: usize = 100_000;
const QUESTIONS: usize = 600;
const DATASET: &str = "library";
const SEED: u64 = 4711;

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "search", &[]).await?;
    let mut writer = Writer::new(SEED);
    let count = bench.count(DOCUMENTS);
    let rate = ingest(&space.owner, &mut writer, DATASET, count).await?;
    let (mut p50, mut p99, mut found) = (Vec::new(), Vec::new(), 0);
    // One round to warm up.
    for round in 0..=bench.rounds() {
        let mut times = Vec::with_capacity(QUESTIONS);
        for _ in 0..bench.count(QUESTIONS) {
            let question = writer.question();
            let started = Instant::now();
            let documents = search(&space.owner, DATASET, question).await?;
            times.push(u64::try_from(started.elapsed().as_nanos())?);
            found += usize::from(documents > 0);
        }
        if round > 0 {
            p50.push(percentile_ms(&times, 0.5));
            p99.push(percentile_ms(&times, 0.99));
        }
    }
    let asked = bench.count(QUESTIONS) * (bench.rounds() + 1);
    if found * 2 < asked {
        return Err(format!("of {asked} questions only {found} found anything").into());
    }
    let mut findings = Findings::default();
    findings.note("share of questions that found something", found as f64 / asked as f64);
    findings.note("MiB after the last search", space.service.resident_kib()? / 1024);
    findings.rounds("search_100k_p50_ms", p50);
    findings.rounds("search_100k_p99_ms", p99);
    findings.key("ingest_docs_per_s", rate, Vec::new());
    Ok(findings)
}

/// Makes a dataset, and fills it.
pub async fn ingest(owner: &Owner, writer: &mut Writer, dataset: &str, count: usize) -> Result<f64, Fault> {
    owner.dataset(dataset).await?;
    fill(owner, writer, dataset, count).await
}

/// Returns how many documents per second came into a dataset, until a search finds the last.
pub async fn fill(owner: &Owner, writer: &mut Writer, dataset: &str, count: usize) -> Result<f64, Fault> {
    // Written before the clock runs.
    let messages = writer.ingestion(dataset, count);
    let started = Instant::now();
    let request = owner.request(tokio_stream::iter(messages));
    let mut client = DatasetServiceClient::new(owner.channel.clone());
    let mut stored = client.ingest_documents(request).await?.into_inner();
    let mut acknowledged = 0;
    while let Some(batch) = stored.message().await? {
        acknowledged = batch.acknowledged;
    }
    if usize::try_from(acknowledged)? != count {
        return Err(format!("{acknowledged} of {count} documents were stored").into());
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// How many documents a question finds.
pub async fn search(owner: &Owner, dataset: &str, text: String) -> Result<usize, Fault> {
    let request = SearchDatasetRequest { name: dataset.to_owned(), text, ..SearchDatasetRequest::default() };
    let mut client = DatasetServiceClient::new(owner.channel.clone());
    let found = client.search_dataset(owner.request(request)).await?.into_inner();
    Ok(found.references.map_or(0, |references| references.documents.len()))
}
