//! What was found: keys with their targets, a table, and the file that later runs are compared with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};

use crate::{Fault, groups::Group, stats::median, token::Tally};

/// How a value is judged.
#[derive(Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

use Target::{AtLeast, AtMost};

/// Every key. They stay for good: later changes are judged by them.
pub const TARGETS: [(&str, Target); 41] = [
    ("unary_added_p50_ms", AtMost(0.40)),
    ("unary_added_p99_ms", AtMost(1.0)),
    ("cpu_us_per_query", AtMost(65.0)),
    ("cpu_us_per_query_limited", AtMost(150.0)),
    ("unary_ratio", AtLeast(0.35)),
    ("stream_ratio", AtLeast(0.30)),
    ("rate_limited_ratio_sqlite", AtLeast(0.30)),
    ("rate_limited_ratio_postgres", AtLeast(0.15)),
    ("policies_100_us", AtMost(200.0)),
    ("filter_stream_ratio", AtLeast(0.50)),
    ("cpu_us_per_chunk", AtMost(12.0)),
    ("ttft_added_p50_ms", AtMost(0.9)),
    ("ttft_added_p99_ms", AtMost(2.0)),
    ("chunk_added_p50_ms", AtMost(0.3)),
    ("chunk_added_p99_ms", AtMost(1.0)),
    ("rest_ratio", AtLeast(0.6)),
    ("sse_ratio", AtLeast(0.6)),
    ("sse_ttft_added_p50_ms", AtMost(0.9)),
    ("sse_ttft_added_p99_ms", AtMost(2.0)),
    ("token_warm_us", AtMost(20.0)),
    ("token_cold_ms", AtMost(2.0)),
    ("kib_per_open_stream", AtMost(48.0)),
    ("streams_10k_lost", AtMost(0.0)),
    ("plan_growth", AtMost(1.2)),
    ("plan_growth_uncached", AtMost(1.5)),
    ("cancel_p99_ms", AtMost(100.0)),
    ("stalled_reader_lost", AtMost(0.0)),
    ("search_100k_p50_ms", AtMost(5.0)),
    ("search_100k_p99_ms", AtMost(25.0)),
    ("ingest_docs_per_s", AtLeast(5000.0)),
    // Through the service, words and the call included; the target is for the vectors alone.
    ("vector_100k_p50_ms", AtMost(15.0)),
    ("local_1m_p50_ms", AtMost(15.0)),
    ("local_1m_rss_gib", AtMost(2.0)),
    // Nobody has said yet what it ought to be.
    ("ingest_pdf_pages_per_s", AtLeast(0.0)),
    ("engine_overhead_ms", AtMost(1.5)),
    ("start_ms", AtMost(300.0)),
    ("idle_rss_mib", AtMost(80.0)),
    ("victim_p50_ms", AtMost(1.0)),
    ("fairness_p99_ratio", AtMost(1.5)),
    // Of every answer of the run that came to its end.
    ("deltas_lost", AtMost(0.0)),
    ("deltas_repeated_or_reordered", AtMost(0.0)),
];

/// What one group has found.
#[derive(Default)]
pub struct Findings {
    pub keys: Vec<Finding>,
    /// Keys that could not be measured here, and why.
    pub unmeasured: Vec<(&'static str, String)>,
    /// Figures without a target.
    pub notes: Map<String, Value>,
    pub tally: Tally,
}

pub struct Finding {
    pub key: &'static str,
    pub value: f64,
    pub rounds: Vec<f64>,
}

impl Findings {
    /// A key whose value is the median of its rounds.
    pub fn rounds(&mut self, key: &'static str, rounds: Vec<f64>) {
        self.key(key, median(&rounds), rounds);
    }

    pub fn key(&mut self, key: &'static str, value: f64, rounds: Vec<f64>) {
        self.keys.push(Finding { key, value, rounds });
    }

    /// A key that keeps the value that it had.
    pub fn unmeasured(&mut self, key: &'static str, why: String) {
        self.unmeasured.push((key, why));
    }

    pub fn note(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::Number(number) if number.is_f64() => number.as_f64().map(rounded).into(),
            value => value,
        };
        self.notes.insert(name.to_owned(), value);
    }
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            AtMost(bound) => value <= bound,
            AtLeast(bound) => value >= bound,
        }
    }

    fn text(self) -> String {
        match self {
            AtMost(bound) => format!("<= {bound}"),
            AtLeast(bound) => format!(">= {bound}"),
        }
    }
}

/// The file, and what was in it before this run.
pub struct Report {
    path: PathBuf,
    keys: Map<String, Value>,
    notes: Map<String, Value>,
    machine: Value,
    commit: String,
    tally: Tally,
}

impl Report {
    /// Goes on from the file at `path`, if there is one. What is measured is this commit, or another
    /// build.
    pub fn open(path: PathBuf, other: Option<&str>) -> Self {
        let before: Value =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        println!("{:<30}{:>12}  {:<19}least … greatest round", "key", "value", "target");
        let object = |name: &str| before[name].as_object().cloned().unwrap_or_default();
        Self {
            keys: object("keys"),
            notes: object("notes"),
            path,
            machine: machine(),
            commit: other.map_or_else(commit, str::to_owned),
            tally: Tally::default(),
        }
    }

    /// Takes over what a group has found, prints it, and writes the file: a group that fails later
    /// loses nothing.
    ///
    /// # Errors
    /// When a key is unknown or the file cannot be written.
    pub fn take(&mut self, group: &Group, findings: Findings) -> Result<(), Fault> {
        for (key, why) in &findings.unmeasured {
            println!("{key:<30}  not measured: {why}");
        }
        let open = |key: &&&str| findings.unmeasured.iter().all(|(unmeasured, _)| unmeasured != *key);
        for key in group.keys.iter().filter(open) {
            if !findings.keys.iter().any(|finding| finding.key == *key) {
                return Err(format!("it did not find {key}").into());
            }
        }
        for finding in findings.keys {
            self.key(&finding)?;
        }
        for (name, value) in &findings.notes {
            println!("  {name}: {value}");
        }
        self.notes.insert(group.name.to_owned(), Value::Object(findings.notes));
        self.tally += findings.tally;
        self.write()
    }

    /// Says how many tokens went astray in the whole run.
    ///
    /// # Errors
    /// When there were any.
    pub fn end(&mut self) -> Result<(), Fault> {
        let Tally { received, lost, repeated, reordered } = self.tally;
        let odd = repeated + reordered;
        self.key(&Finding { key: "deltas_lost", value: lost as f64, rounds: Vec::new() })?;
        let finding = Finding { key: "deltas_repeated_or_reordered", value: odd as f64, rounds: Vec::new() };
        self.key(&finding)?;
        self.write()?;
        println!("{received} deltas, written to {}", self.path.display());
        if self.tally.is_clean() {
            return Ok(());
        }
        Err(format!("deltas went astray: {lost} lost, {repeated} repeated, {reordered} reordered").into())
    }

    fn key(&mut self, finding: &Finding) -> Result<(), Fault> {
        let Finding { key, value, rounds } = finding;
        let known = TARGETS.iter().find(|(name, _)| name == key);
        let (_, target) = known.ok_or_else(|| format!("{key} has no target"))?;
        if !value.is_finite() {
            return Err(format!("{key} is not a number").into());
        }
        let (met, low, high) = (target.met(*value), least(rounds), greatest(rounds));
        let spread = if rounds.is_empty() { String::new() } else { format!("{low:.3} … {high:.3}") };
        let mark = if met { "" } else { "MISSED" };
        println!("{key:<30}{value:>12.3}  {:<10} {mark:<8}{spread}", target.text());
        let rounds: Vec<f64> = rounds.iter().copied().map(rounded).collect();
        let entry = json!({
            "value": rounded(*value), "target": target.text(), "met": met, "rounds": rounds,
            "commit": self.commit,
        });
        self.keys.insert((*key).to_owned(), entry);
        Ok(())
    }

    fn write(&self) -> Result<(), Fault> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let all = json!({
            "machine": self.machine, "commit": self.commit, "keys": self.keys, "notes": self.notes,
        });
        Ok(fs::write(&self.path, serde_json::to_string_pretty(&all)? + "\n")?)
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// To four digits after the point.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let field = |path: &str, name: &str| {
        let text = read(path);
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "rustc": said("rustc", &["--version"]),
    })
}

/// The commit that is measured, marked when files differ from it.
fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
    let clean = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    if clean { commit } else { commit + "+" }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
