//! **Syft endpoints**: the query plane of a Syft Space. An endpoint joins a dataset, a model and
//! policies into one API; a client asks it over gRPC and gets the answer as it is made.
//!
//! # The map
//! ```text
//! main, cli      commands
//! app            binds everything, runs it, drains it     config  server  health
//! gateway        REST: parses, calls an RPC in the same process, renders
//! grpc           wire types in, domain values out         proto   generated
//! pipeline       one query: plan → admit → search → chat → settle
//! catalog        what owners do
//! listing        endpoints on marketplaces
//! ingestion      jobs that read files into datasets
//! policy  dataset  model        one file per type, one registry each
//! identity       who is calling
//! store          the database                             hub       SyftHub
//! extract        files to documents                     upstream  other people's servers
//! telemetry      logs, metrics, traces
//! domain         plain values and their rules             error     what can go wrong
//! ```
//! A newcomer's path: `endpoint_service.proto` → [`grpc`]`::endpoint_service` → [`pipeline`] →
//! `pipeline::plan` → [`store`].
//!
//! # The import rule
//! Imports point down this map, and `tests/it/architecture.rs` checks it: `gateway` sees
//! `proto` alone: it is a client; `grpc` sees `proto`, `pipeline`, `catalog`, `ingestion`, `listing`, `identity`; `pipeline` sees `policy`,
//! `dataset`, `model`, `store`; `ingestion` sees `catalog`, `extract`, `store` and `upstream`; `catalog` sees `listing`, and both see the registries, `store` and `hub`; `policy` and `dataset` see `store` and `upstream`;
//! `model` and `hub` see `upstream`; `identity` sees `store` and `hub`; everything sees `telemetry`, `domain`
//! and `error`; nothing sees `app`.

pub mod app;
pub mod catalog;
pub mod config;
pub mod dataset;
pub mod domain;
pub mod error;
pub mod extract;
pub mod gateway;
pub mod grpc;
pub mod health;
pub mod hub;
pub mod identity;
pub mod ingestion;
pub mod listing;
pub mod model;
pub mod pipeline;
pub mod policy;
pub mod proto;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
