//! What a search through the service costs beside the engine's own answer: Chroma, and Postgres with pgvector, as
//! `tests/run` starts them. Questions are embedded once and remembered, so that no embedding endpoint is measured.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Json, Router, routing::post};
use reqwest::Client;
use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::search::search;
use crate::{
    Bench, Fault,
    report::Findings,
    space::Space,
    stats::{median, percentile_ms},
};

const KEY: &str = "engine_overhead_ms";
const CHROMA: &str = "SYFT_TEST_CHROMA_URL";
const PGVECTOR: &str = "SYFT_TEST_PGVECTOR_URL";
const DOCUMENTS: usize = 10_000;
const DIMENSIONS: usize = 128;
const QUESTIONS: usize = 200;
/// Documents that are put in at once.
const BATCH: usize = 1_000;
/// What a search asks for when it does not say.
const FOUND: usize = 5;

/// An engine, asked past the service.
enum Engine {
    Chroma { http: Client, collection: String },
    PgVector(Box<PgConnection>),
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    let (Ok(chroma), Ok(pgvector)) = (std::env::var(CHROMA), std::env::var(PGVECTOR)) else {
        findings.unmeasured(KEY, format!("{CHROMA} and {PGVECTOR} are not set"));
        return Ok(findings);
    };
    let space = Space::start(bench, "engines", &[]).await?;
    let (embedder, _serving) = embedder().await?;
    let embedding = json!({"base_url": embedder, "model": "m", "dimensions": DIMENSIONS});
    let count = bench.count(DOCUMENTS);
    let name = format!("bench{}", std::process::id());
    let (engine, configuration) = Engine::chroma(&chroma, &name, count).await?;
    space.owner.dataset_of("chroma", "chroma", with(configuration, &embedding)).await?;
    let chroma = added(bench, &space, "chroma", engine, &mut findings).await?;
    let (engine, configuration) = Engine::pgvector(&pgvector, &name, count).await?;
    space.owner.dataset_of("pgvector", "pgvector", with(configuration, &embedding)).await?;
    let pgvector = added(bench, &space, "pgvector", engine, &mut findings).await?;
    let worse = if median(&chroma) > median(&pgvector) { chroma } else { pgvector };
    findings.rounds(KEY, worse);
    Ok(findings)
}

/// Milliseconds in the middle, round by round. Both are asked the same in turn.
async fn added(
    bench: &Bench,
    space: &Space,
    dataset: &str,
    mut engine: Engine,
    findings: &mut Findings,
) -> Result<Vec<f64>, Fault> {
    let (mut added, mut alone) = (Vec::new(), Vec::new());
    // One round to warm up, in which the questions become vectors.
    for round in 0..=bench.rounds() {
        let (mut through, mut direct) = (Vec::new(), Vec::new());
        for question in 0..bench.count(QUESTIONS) {
            let text = format!("question {question}");
            let vector = vector(&text);
            let started = Instant::now();
            let found = engine.ask(&vector).await?;
            direct.push(nanos(started)?);
            let started = Instant::now();
            let same = search(&space.owner, dataset, text).await?;
            through.push(nanos(started)?);
            if (found, same) != (FOUND, FOUND) {
                return Err(format!("{dataset} found {found}, and {same} through the service").into());
            }
        }
        if round > 0 {
            alone.push(percentile_ms(&direct, 0.5));
            added.push(percentile_ms(&through, 0.5) - percentile_ms(&direct, 0.5));
        }
    }
    engine.end().await?;
    findings.note(&format!("{dataset} alone, ms"), median(&alone));
    findings.note(&format!("{dataset} through the service, ms more"), median(&added));
    Ok(added)
}

impl Engine {
    /// A new collection, and the configuration of a dataset of it.
    async fn chroma(url: &str, name: &str, count: usize) -> Result<(Self, Value), Fault> {
        let http = Client::builder().no_proxy().build()?;
        let all = format!("{url}/api/v2/tenants/default_tenant/databases/default_database/collections");
        let body = json!({"name": name, "configuration": {"hnsw": {"space": "cosine"}}});
        let made: Value = http.post(&all).json(&body).send().await?.error_for_status()?.json().await?;
        let collection = format!("{all}/{}", made["id"].as_str().ok_or("a collection without an id")?);
        for batch in (0..count).collect::<Vec<_>>().chunks(BATCH) {
            let texts: Vec<_> = batch.iter().map(|n| document(*n)).collect();
            let body = json!({
                "ids": batch.iter().map(|n| format!("d{n}")).collect::<Vec<_>>(),
                "embeddings": texts.iter().map(|text| vector(text)).collect::<Vec<_>>(),
                "documents": texts,
            });
            http.post(format!("{collection}/add")).json(&body).send().await?.error_for_status()?;
        }
        Ok((Self::Chroma { http, collection }, json!({"http_url": url, "collection_name": name})))
    }

    /// A new table with an index, and the configuration of a dataset of it.
    async fn pgvector(url: &str, name: &str, count: usize) -> Result<(Self, Value), Fault> {
        let mut connection = PgConnection::connect(url).await?;
        let columns = format!("(id text PRIMARY KEY, content text, embedding vector({DIMENSIONS}))");
        let begin = format!(
            "CREATE EXTENSION IF NOT EXISTS vector; DROP TABLE IF EXISTS {name}; CREATE TABLE {name} {columns}"
        );
        connection.execute(AssertSqlSafe(begin)).await?;
        for batch in (0..count).collect::<Vec<_>>().chunks(BATCH) {
            let row = |n: &usize| format!("('d{n}', '{}', '{}')", document(*n), json!(vector(&document(*n))));
            let rows = batch.iter().map(row).collect::<Vec<_>>().join(", ");
            connection.execute(AssertSqlSafe(format!("INSERT INTO {name} VALUES {rows}"))).await?;
        }
        let index = format!("CREATE INDEX ON {name} USING hnsw (embedding vector_cosine_ops)");
        connection.execute(AssertSqlSafe(index)).await?;
        let configuration = json!({"url": url, "table": name});
        let prepare = format!(
            "PREPARE ask (text) AS SELECT id, content, embedding <=> $1::vector FROM {name} \
             ORDER BY embedding <=> $1::vector LIMIT {FOUND}"
        );
        connection.execute(AssertSqlSafe(prepare)).await?;
        Ok((Self::PgVector(Box::new(connection)), configuration))
    }

    /// How many documents it finds.
    async fn ask(&mut self, vector: &[f32]) -> Result<usize, Fault> {
        match self {
            Self::Chroma { http, collection } => {
                let body = json!({
                    "query_embeddings": [vector], "n_results": FOUND,
                    "include": ["documents", "distances", "metadatas"],
                });
                let asked = http.post(format!("{collection}/query")).json(&body).send().await?;
                let found: Value = asked.error_for_status()?.json().await?;
                Ok(found["ids"][0].as_array().map_or(0, Vec::len))
            }
            Self::PgVector(connection) => {
                let ask = format!("EXECUTE ask ('{}')", json!(vector));
                Ok(connection.fetch_all(AssertSqlSafe(ask)).await?.len())
            }
        }
    }

    async fn end(self) -> Result<(), Fault> {
        match self {
            Self::Chroma { .. } => Ok(()),
            Self::PgVector(connection) => Ok(connection.close().await?),
        }
    }
}

/// An embedding endpoint in this process, and what keeps it there.
async fn embedder() -> Result<(String, AbortOnDropHandle<()>), Fault> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let router = Router::new().route("/v1/embeddings", post(embed));
    let serving = async move {
        // Ends with the measurement.
        let _ = axum::serve(listener, router).await;
    };
    Ok((url, AbortOnDropHandle::new(TaskTracker::new().spawn(serving))))
}

async fn embed(Json(body): Json<Value>) -> Json<Value> {
    let texts = match &body["input"] {
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        text => Vec::from_iter(text.as_str()),
    };
    let data: Vec<_> = texts
        .into_iter()
        .enumerate()
        .map(|(index, text)| json!({"index": index, "embedding": vector(text)}))
        .collect();
    Json(json!({"data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
}

/// Some direction, always the same for a text.
fn vector(text: &str) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    (0..DIMENSIONS).map(|_| next()).collect()
}

fn document(n: usize) -> String {
    format!("document {n}: some words on what is kept under this number, as long as a short paragraph is")
}

fn with(mut configuration: Value, embedding: &Value) -> Value {
    configuration["embedding"] = embedding.clone();
    configuration
}

fn nanos(since: Instant) -> Result<u64, Fault> {
    let elapsed: Duration = since.elapsed();
    Ok(u64::try_from(elapsed.as_nanos())?)
}
