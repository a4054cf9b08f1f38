//! Logs, on standard error.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::FilterExt,
    fmt::layer as lines,
    layer::{Context, Filter, SubscriberExt},
    util::SubscriberInitExt,
};

use super::{Metrics, traces};

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `error`, `warn`, `info`, `debug` or `trace`, for the service itself.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
    /// Warnings and errors of one cause, a second. After ten at once more are left out and counted. 0:
    /// no limit.
    pub repeats_per_second: u32,
}

/// Lines of one cause that are written before the limit counts.
const BURST: f64 = 10.0;
/// Causes that are remembered; beyond it all are forgotten.
const CAUSES: usize = 1024;

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false, repeats_per_second: 1 }
    }
}

/// What the filter is made of. Libraries stay at `warn` whatever the level: at `trace` an HTTP/2
/// library logs header values, and a credential is one. Spans are for the exporter.
pub fn directives(level: &str) -> String {
    format!("warn,lopdf=off,syft_endpoints={level},{}=off", traces::TARGET)
}

/// Sends logs to standard error, and spans to the collector if there is one. Called once, by `main`,
/// inside the runtime. The result flushes the exporter when it is dropped.
///
/// # Errors
/// When the level is not one, the collector's address is not one, or it has been called before.
pub fn init(
    config: &Config,
    traces: &traces::Config,
    metrics: &Metrics,
) -> Result<traces::Exporter, Box<dyn std::error::Error + Send + Sync>> {
    let level: Level =
        config.level.parse().map_err(|_| "log.level must be error, warn, info, debug or trace")?;
    let filter = EnvFilter::try_new(directives(&level.to_string().to_lowercase()))?;
    let repeats = Repeats::new(config.repeats_per_second, metrics.log_lines_suppressed.clone());
    let (spans, exporter) = traces::layer(traces)?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.json {
        true => Box::new(lines().json().with_writer(io::stderr)),
        false => {
            Box::new(lines().with_target(false).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr))
        }
    };
    let lines = lines.with_filter(filter.and(repeats));
    tracing_subscriber::registry()
        .with(spans.into_iter().chain([lines.boxed()]).collect::<Vec<_>>())
        .try_init()?;
    Ok(exporter)
}

/// Leaves out warnings and errors that say again what was just said. A cause is a place in the code
/// and its `reason`.
struct Repeats {
    per_second: f64,
    causes: Mutex<HashMap<(Identifier, u64), Bucket>>,
    suppressed: Counter,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Repeats {
    fn new(per_second: u32, suppressed: Counter) -> Self {
        Self { per_second: per_second.into(), causes: Mutex::default(), suppressed }
    }

    fn allows(&self, cause: (Identifier, u64), now: Instant) -> bool {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if causes.len() >= CAUSES && !causes.contains_key(&cause) {
            causes.clear();
        }
        let bucket = causes.entry(cause).or_insert(Bucket { left: BURST, at: now });
        let passed = now.saturating_duration_since(bucket.at);
        bucket.left = (bucket.left + passed.as_secs_f64() * self.per_second).min(BURST);
        bucket.at = now;
        let allowed = bucket.left >= 1.0;
        bucket.left -= if allowed { 1.0 } else { 0.0 };
        allowed
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _metadata: &Metadata<'_>, _cx: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _cx: &Context<'_, S>) -> bool {
        if self.per_second == 0.0 || *event.metadata().level() > Level::WARN {
            return true;
        }
        let mut reason = Reason::default();
        event.record(&mut reason);
        let allowed = self.allows((event.metadata().callsite(), reason.0.finish()), Instant::now());
        if !allowed {
            self.suppressed.inc();
        }
        allowed
    }
}

/// The field `reason` of an event.
#[derive(Default)]
struct Reason(DefaultHasher);

impl Visit for Reason {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "reason" {
            value.hash(&mut self.0);
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

/// Says now and then that lines were left out, until dropped.
pub async fn report_suppressed(metrics: Metrics) {
    let mut known = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let suppressed = metrics.log_lines_suppressed.get();
        if suppressed > known {
            tracing::warn!(lines = suppressed - known, "log lines were left out: they repeated others");
        }
        known = suppressed;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use prometheus_client::metrics::counter::Counter;
    use tracing_subscriber::{Layer, layer::SubscriberExt};

    use super::Repeats;

    /// Counts what reaches it.
    #[derive(Clone, Default)]
    struct Lines(Counter);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.inc();
        }
    }

    #[test]
    fn an_error_storm_is_ten_lines_a_cause_and_the_rest_is_counted() {
        let (lines, suppressed) = (Lines::default(), Counter::default());
        let filter = Repeats::new(1, suppressed.clone());
        let logs = tracing_subscriber::registry().with(lines.clone().with_filter(filter));
        tracing::subscriber::with_default(logs, || {
            for n in 0..10_000 {
                let reason = if n % 2 == 0 { "MODEL_UNAVAILABLE" } else { "STORE_UNAVAILABLE" };
                tracing::warn!(reason, n, "query failed");
                tracing::info!("not limited");
            }
        });
        // A second may pass meanwhile on a slow machine.
        let written = lines.0.get() - 10_000;
        assert!((20..100).contains(&written), "{written}");
        assert_eq!(written + suppressed.get(), 10_000);
    }

    #[test]
    fn a_cause_is_heard_again_after_a_second() {
        let repeats = Repeats::new(1, Counter::default());
        let callsite = {
            use tracing::{Callsite, callsite::DefaultCallsite};
            static META: tracing::Metadata<'static> = tracing::metadata! {
                name: "x", target: "x", level: tracing::Level::WARN, fields: &[], callsite: &CALLSITE,
                kind: tracing::metadata::Kind::EVENT
            };
            static CALLSITE: DefaultCallsite = DefaultCallsite::new(&META);
            CALLSITE.metadata().callsite()
        };
        let start = Instant::now();
        let allowed = |at| (0..100).filter(|_| repeats.allows((callsite.clone(), 0), at)).count();
        assert_eq!(allowed(start), 10);
        assert_eq!(allowed(start + Duration::from_secs(3)), 3);
    }
}
