//! Numbers for Prometheus. A registry is a value, and every label has few values by its type: a
//! million callers, slugs or models make no new series.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

/// Bounds of latency histograms, in seconds: from a warm query to the longest one allowed.
const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Every series of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    series: Arc<Series>,
}

/// What is counted. Fields are named as their series, without the prefix `syft`.
#[derive(Default)]
pub struct Series {
    pub queries: Family<Ended, Counter>,
    pub queries_refused_overload: Counter,
    pub query_duration: SecondsBy<Outcome>,
    pub time_to_first_token: Seconds,
    pub tokens: Family<Direction, Counter>,
    pub running_queries: Gauge,
    pub upstream_errors: Family<UpstreamError, Counter>,
    pub policy_refusals: Family<PolicyType, Counter>,
    pub rpcs: Family<Rpc, Counter>,
    pub rpc_duration: SecondsBy<Method>,
    pub rest_requests: Family<Rest, Counter>,
    pub marketplace_calls: Family<Told, Counter>,
    pub ingestions: Family<Outcome, Counter>,
    pub ingested_files: Family<Outcome, Counter>,
    pub running_ingestions: Gauge,
    pub open_streams: Gauge,
    pub connections: Gauge,
    pub connections_refused: Family<Refused, Counter>,
    pub database_connections: Family<State, Gauge>,
    pub database_pool_rebuilds: Counter,
    pub query_records_lost: Counter,
    pub charges_lost: Counter,
    pub log_lines_suppressed: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    pub outcome: &'static str,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Direction {
    pub direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UpstreamError {
    pub part: &'static str,
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyType {
    pub policy_type: &'static str,
}

/// `method` is `Service/Method` of one of ours, or `other`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Rpc {
    pub method: Arc<str>,
    pub code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Method {
    pub method: Arc<str>,
}

/// `route` is the path as it is documented, or `other`: then nobody was let in, or nothing is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Rest {
    pub method: &'static str,
    pub route: &'static str,
    pub status: u16,
}

/// `what` is `listing` or `report`, `outcome` is `told`, `later` or `refused`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Told {
    pub what: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refused {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct State {
    pub state: &'static str,
}

/// A histogram of seconds.
#[derive(Clone, Debug)]
pub struct Seconds(Histogram);

/// A histogram of seconds for each value of a label.
#[derive(Clone)]
pub struct SecondsBy<L>(Family<L, Histogram, fn() -> Histogram>);

impl Default for Seconds {
    fn default() -> Self {
        Self(seconds())
    }
}

impl<L: Clone + Eq + Hash> Default for SecondsBy<L> {
    fn default() -> Self {
        Self(Family::new_with_constructor(seconds))
    }
}

impl<L: Clone + Eq + Hash> SecondsBy<L> {
    pub fn observe(&self, label: &L, time: Duration) {
        self.0.get_or_create(label).observe(time.as_secs_f64());
    }
}

impl Seconds {
    pub fn observe(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let series = Series::default();
        series.begin();
        Self { registry: Arc::new(registry(&series)), series: Arc::new(series) }
    }
}

impl std::ops::Deref for Metrics {
    type Target = Series;

    fn deref(&self) -> &Series {
        &self.series
    }
}

impl Metrics {
    /// All series in Prometheus' text format.
    ///
    /// # Errors
    /// Never, as long as there is memory.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 << 10);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Series {
    /// Makes the series whose labels are known, at zero: Prometheus sees no increase in a series that
    /// begins at one.
    fn begin(&self) {
        for reason in ["address_limit", "handshake", "control_frames", "tls"] {
            let _ = self.connections_refused.get_or_create(&Refused { reason });
        }
        for (part, kind) in [
            ("dataset", "unavailable"),
            ("dataset", "rejected"),
            ("model", "unavailable"),
            ("model", "rejected"),
        ] {
            let _ = self.upstream_errors.get_or_create(&UpstreamError { part, kind });
        }
        for direction in ["input", "output"] {
            let _ = self.tokens.get_or_create(&Direction { direction });
        }
        for what in ["listing", "report"] {
            for outcome in ["told", "later", "refused"] {
                let _ = self.marketplace_calls.get_or_create(&Told { what, outcome });
            }
        }
        for outcome in ["done", "failed"] {
            let _ = self.ingestions.get_or_create(&Outcome { outcome });
        }
        for outcome in ["stored", "unchanged", "failed", "removed"] {
            let _ = self.ingested_files.get_or_create(&Outcome { outcome });
        }
        let _ = self.queries.get_or_create(&Ended { outcome: "completed", reason: "" });
        let _ = self.queries.get_or_create(&Ended { outcome: "panicked", reason: "INTERNAL" });
    }
}

fn registry(series: &Series) -> Registry {
    let mut registry = Registry::with_prefix("syft");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version that is running", version);
    register_queries(&mut registry, series);
    register_marketplaces(&mut registry, series);
    register_ingestions(&mut registry, series);
    register_server(&mut registry, series);
    register_database(&mut registry, series);
    registry
}

fn register_queries(registry: &mut Registry, series: &Series) {
    registry.register("queries", "Queries that have ended", series.queries.clone());
    registry.register(
        "queries_refused_overload",
        "Queries refused at once because too many were running",
        series.queries_refused_overload.clone(),
    );
    registry.register(
        "query_duration_seconds",
        "From a query's start to its record",
        series.query_duration.0.clone(),
    );
    registry.register(
        "time_to_first_token_seconds",
        "From a query's start to its first piece of text",
        series.time_to_first_token.0.clone(),
    );
    registry.register("tokens", "Tokens read and written by models", series.tokens.clone());
    registry.register(
        "running_queries",
        "Queries that have not been settled",
        series.running_queries.clone(),
    );
    registry.register(
        "upstream_errors",
        "Queries that a dataset or a model failed",
        series.upstream_errors.clone(),
    );
    registry.register("policy_refusals", "Queries that a policy refused", series.policy_refusals.clone());
}

fn register_marketplaces(registry: &mut Registry, series: &Series) {
    registry.register(
        "marketplace_calls",
        "Endpoints that marketplaces were told of, and reports that endpoints are alive",
        series.marketplace_calls.clone(),
    );
}

fn register_ingestions(registry: &mut Registry, series: &Series) {
    registry.register("ingestions", "Jobs that have ended here", series.ingestions.clone());
    registry.register("ingested_files", "Files of jobs and uploads", series.ingested_files.clone());
    registry.register("running_ingestions", "Jobs that run here", series.running_ingestions.clone());
}

fn register_database(registry: &mut Registry, series: &Series) {
    registry.register(
        "database_connections",
        "Connections to the database",
        series.database_connections.clone(),
    );
    registry.register(
        "database_pool_rebuilds",
        "Pools of database connections given up and made anew",
        series.database_pool_rebuilds.clone(),
    );
    registry.register(
        "query_records_lost",
        "Query records that the database did not take",
        series.query_records_lost.clone(),
    );
    registry.register(
        "charges_lost",
        "Charges given up because the accounting service knows them no more",
        series.charges_lost.clone(),
    );
}

fn register_server(registry: &mut Registry, series: &Series) {
    registry.register("rpcs", "Calls that have ended, by gRPC status", series.rpcs.clone());
    registry.register(
        "rpc_duration_seconds",
        "From a call's headers to the end of its answer",
        series.rpc_duration.0.clone(),
    );
    registry.register(
        "rest_requests",
        "Requests over REST, by HTTP status; their RPCs are counted as such besides",
        series.rest_requests.clone(),
    );
    registry.register("open_streams", "Calls whose answer has not ended", series.open_streams.clone());
    registry.register("connections", "Open connections", series.connections.clone());
    registry.register(
        "connections_refused",
        "Connections closed for what their peer did or did not do",
        series.connections_refused.clone(),
    );
    registry.register(
        "log_lines_suppressed",
        "Log lines left out because the same was said before",
        series.log_lines_suppressed.clone(),
    );
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}
