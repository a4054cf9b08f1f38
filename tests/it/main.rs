//! One integration binary; one file per promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and a matrix is as long as what it covers"
)]

mod accounting;
mod architecture;
mod bad_input;
mod canary;
mod catalog;
mod chroma;
mod cli;
mod composites;
mod config_example;
mod connections;
mod content_filters;
mod crash;
mod database_faults;
mod datasets;
mod deadlines;
mod drain;
mod embedding;
mod evaluation;
mod extract;
mod half_sent;
mod hub_client;
mod identity;
mod ingestion;
mod local_dataset;
mod local_hybrid;
mod marketplaces;
mod metrics;
mod openai;
mod overload;
mod pgvector;
mod pipeline;
mod publishing;
mod query;
mod rate_limit;
mod repeats;
mod rest;
mod satellite_tokens;
mod schema;
mod slow_readers;
mod store;
mod support;
mod tenants;
mod tls;
mod token_limit;
mod traces;
mod usage;
