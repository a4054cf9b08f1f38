//! The benchmark of retrieval: what `local` finds, by words and by words and vectors, beside PyPI's `bm25s`.
//!
//! ```text
//! cargo bench --bench retrieval                  as a release
//! cargo bench --bench retrieval --profile dev    the same figures, built sooner
//! ```
//! 210 passages of a made-up handbook and 102 questions, written for this project: keywords, sentences, and
//! paraphrases that have hardly a word in common with what answers them. Grades: 3 answers the question, 2 answers a part
//! of it, 1 is about the same matter. For recall and MRR, what has 2 or 3 is relevant; nDCG takes gains of 2^grade - 1.
//!
//! Documents go through the store into a fresh SQLite file, and questions through the registry of datasets. The model
//! behind `ndcg_hybrid` is scripted (`model.rs`): it shows that fusing loses nothing that either side has, and says
//! nothing about any real model. `bm25s` runs in a virtual environment under `target/tools/retrieval`, which is made when
//! it is missing; stop words and stemmer are the same. Results go to `target/bench/retrieval.json`. A missed target
//! does not change the status.

#[path = "../it/support/embedder.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "a server of the tests, which need more of it")]
mod embedder;
mod measures;
mod model;
mod rival;
mod space;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use measures::{Ranking, Scores};
use space::Space;

/// Anything that goes wrong ends the run.
type Fault = Box<dyn Error + Send + Sync>;

/// What callers get who say nothing.
const THRESHOLD: f64 = 0.5;
/// How far down a ranking is looked at.
const DEPTH: usize = 10;

#[derive(Deserialize)]
struct Document {
    id: String,
    text: String,
}

#[derive(Deserialize)]
struct Question {
    text: String,
    kind: String,
    grades: BTreeMap<String, u32>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Fault::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Fault> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/retrieval");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?.to_owned();
    let documents: Vec<Document> = read(&folder.join("documents.jsonl"))?;
    let questions: Vec<Question> = read(&folder.join("questions.jsonl"))?;
    check(&documents, &questions)?;
    let space = Space::start(&documents).await?;
    let mut table = Table::new(&questions);
    let bm25s = rival::rankings(&folder, &target.join("tools/retrieval"))?;
    table.row("bm25s", &bm25s);
    let (words, zero) = (space.words()?, 0.0);
    let local = table.row("local", &space.rankings(&words, &questions, (zero, DEPTH)).await?);
    let hybrid = space.weighted(None).await?;
    let fused = table.row("local, hybrid", &space.rankings(&hybrid, &questions, (zero, DEPTH)).await?);
    let vectors = space.weighted(Some(1.0)).await?;
    let alone =
        table.row("local, vectors alone", &space.rankings(&vectors, &questions, (zero, DEPTH)).await?);
    let strict = table.row("local, at 0.5", &space.rankings(&words, &questions, (THRESHOLD, 5)).await?);
    let strict_hybrid = space.rankings(&hybrid, &questions, (THRESHOLD, 5)).await?;
    let strict_hybrid = table.row("local, hybrid, at 0.5", &strict_hybrid);
    space.stop().await?;
    let rival = table.rows[0].clone();
    write(
        &target.join("bench/retrieval.json"),
        &[
            ("ndcg_local", local.ndcg, Some(rival.ndcg)),
            ("ndcg_bm25s", rival.ndcg, None),
            ("ndcg_hybrid", fused.ndcg, Some(local.ndcg.max(alone.ndcg))),
            ("ndcg_vectors", alone.ndcg, None),
            ("mrr_local", local.mrr, None),
            ("mrr_bm25s", rival.mrr, None),
            ("mrr_hybrid", fused.mrr, None),
            ("recall5_bm25s", rival.recall5, None),
            ("recall5_zero", local.recall5, None),
            ("recall5_default", strict.recall5, Some(0.9 * local.recall5)),
            ("recall5_zero_hybrid", fused.recall5, None),
            ("recall5_default_hybrid", strict_hybrid.recall5, Some(0.9 * fused.recall5)),
        ],
    )
}

fn read<T: DeserializeOwned>(path: &PathBuf) -> Result<Vec<T>, Fault> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A grade for a document that is not there would be a question that nobody can answer.
fn check(documents: &[Document], questions: &[Question]) -> Result<(), Fault> {
    let mut ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two documents have one id".into());
    }
    let unknown = questions.iter().flat_map(|question| question.grades.keys());
    match unknown.into_iter().find(|id| ids.binary_search(&id.as_str()).is_err()) {
        Some(id) => Err(format!("{id} is graded and is no document").into()),
        None => Ok(()),
    }
}

/// What is printed.
struct Table<'a> {
    questions: &'a [Question],
    rows: Vec<Scores>,
}

impl<'a> Table<'a> {
    fn new(questions: &'a [Question]) -> Self {
        println!("{:<24}{:>9}{:>9}{:>10}   nDCG@10 by kind of question", "", "nDCG@10", "MRR", "recall@5");
        Self { questions, rows: Vec::new() }
    }

    fn row(&mut self, name: &str, rankings: &[Ranking]) -> Scores {
        let scores = measures::scores(self.questions, rankings);
        let Scores { ndcg, mrr, recall5, kinds } = &scores;
        let kinds: Vec<String> = kinds.iter().map(|(kind, ndcg)| format!("{kind} {ndcg:.3}")).collect();
        println!("{name:<24}{ndcg:>9.4}{mrr:>9.4}{recall5:>10.4}   {}", kinds.join(", "));
        self.rows.push(scores.clone());
        scores
    }
}

/// Keys with what they should be at least, if anything.
fn write(path: &Path, keys: &[(&str, f64, Option<f64>)]) -> Result<(), Fault> {
    let rounded = |value: f64| (value * 1e4).round() / 1e4;
    let mut all = Map::new();
    let mut missed = Vec::new();
    for (key, value, least) in keys {
        all.insert((*key).to_owned(), json!(rounded(*value)));
        if let Some(least) = least.filter(|least| value < least) {
            println!("{key} {value:.4} MISSED: at least {least:.4}");
            missed.push(json!(key));
        }
    }
    all.insert("missed".to_owned(), Value::Array(missed));
    fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    fs::write(path, serde_json::to_string_pretty(&all)? + "\n")?;
    println!("written to {}", path.display());
    Ok(())
}
