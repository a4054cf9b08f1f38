//! What is measured, one file for each kind of question.

mod cancel;
mod cpu;
mod engines;
mod extraction;
mod fairness;
mod growth;
mod million;
mod open;
mod paced;
mod policies;
mod ratio;
mod rest;
mod satellite;
mod search;
mod stalled;
mod start;
mod unary;
mod vectors;
mod victim;

use futures_util::future::{BoxFuture, FutureExt};

use crate::{Bench, Fault, report::Findings};

/// Keys that are measured together.
pub struct Group {
    /// Also the name of its folder: a group keeps its files in no other.
    pub name: &'static str,
    pub keys: &'static [&'static str],
    pub run: for<'b> fn(&'b Bench) -> BoxFuture<'b, Result<Findings, Fault>>,
}

macro_rules! group {
    ($name:literal, $run:path, $($key:literal),+) => {
        Group { name: $name, keys: &[$($key),+], run: |bench| $run(bench).boxed() }
    };
}

/// All of them, in the order in which they run.
pub const GROUPS: [Group; 23] = [
    group!("unary", unary::run, "unary_added_p50_ms", "unary_added_p99_ms"),
    group!("query_cpu", cpu::per_query, "cpu_us_per_query"),
    group!("limited_cpu", cpu::per_limited_query, "cpu_us_per_query_limited"),
    group!("chunk_cpu", cpu::per_chunk, "cpu_us_per_chunk"),
    group!("ratio", ratio::run, "unary_ratio", "stream_ratio"),
    group!(
        "policies",
        policies::on_sqlite,
        "rate_limited_ratio_sqlite",
        "policies_100_us",
        "filter_stream_ratio"
    ),
    group!("policies_postgres", policies::on_postgres, "rate_limited_ratio_postgres"),
    group!(
        "paced",
        paced::grpc,
        "ttft_added_p50_ms",
        "ttft_added_p99_ms",
        "chunk_added_p50_ms",
        "chunk_added_p99_ms"
    ),
    group!("rest", rest::run, "rest_ratio", "sse_ratio"),
    group!("sse", paced::sse, "sse_ttft_added_p50_ms", "sse_ttft_added_p99_ms"),
    group!("satellite", satellite::run, "token_warm_us", "token_cold_ms"),
    group!("cancel", cancel::run, "cancel_p99_ms"),
    group!("stalled", stalled::run, "stalled_reader_lost"),
    group!("victim", victim::run, "victim_p50_ms"),
    group!("fairness", fairness::run, "fairness_p99_ratio"),
    group!("open", open::run, "kib_per_open_stream", "streams_10k_lost"),
    group!("growth", growth::run, "plan_growth", "plan_growth_uncached"),
    group!("search", search::run, "search_100k_p50_ms", "search_100k_p99_ms", "ingest_docs_per_s"),
    group!("vectors", vectors::run, "vector_100k_p50_ms"),
    group!("million", million::run, "local_1m_p50_ms", "local_1m_rss_gib"),
    group!("extraction", extraction::run, "ingest_pdf_pages_per_s"),
    group!("engines", engines::run, "engine_overhead_ms"),
    group!("start", start::run, "start_ms", "idle_rss_mib"),
];

impl Group {
    /// Whether it has a key with one of these beginnings. No beginnings match everything.
    pub fn matches(&self, prefixes: &[&str]) -> bool {
        let begins = |prefix: &&str| self.keys.iter().any(|key| key.starts_with(*prefix));
        prefixes.is_empty() || prefixes.iter().any(begins)
    }
}
