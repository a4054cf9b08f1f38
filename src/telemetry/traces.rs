//! Traces: one span per call, search, chat and hook, under OpenTelemetry's names. Without the feature
//! `otlp`, or without a collector, spans are off and cost nothing; `traceparent` is handed on anyway.

use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_subscriber::{Layer, Registry};

use super::TraceContext;
use crate::error::Cause;

/// What spans are filed under, so that logs leave them out and the exporter takes nothing else.
pub const TARGET: &str = "syft_endpoints::spans";

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// An OTLP collector over gRPC, as `http://localhost:4317`. Empty: no traces.
    pub endpoint: String,
    /// The service's name in traces.
    pub service_name: String,
    /// Which part of the traces that begin here is kept, 0 to 1; others are kept as their caller says.
    pub sample_ratio: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { endpoint: String::new(), service_name: "syft-endpoints".to_owned(), sample_ratio: 1.0 }
    }
}

/// A layer of the process's subscriber.
type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

#[cfg(feature = "otlp")]
pub use exported::{Exporter, follow, here, layer};
#[cfg(not(feature = "otlp"))]
pub use unexported::{Exporter, follow, here, layer};

#[cfg(not(feature = "otlp"))]
mod unexported {
    use super::{Boxed, Cause, Config, Span, TraceContext};

    /// Nothing to flush.
    pub struct Exporter;

    impl Exporter {
        /// Sends what has not been sent.
        pub fn flush(self) {}
    }

    pub fn layer(config: &Config) -> Result<(Option<Boxed>, Exporter), Cause> {
        if config.endpoint.is_empty() {
            return Ok((None, Exporter));
        }
        Err("traces.endpoint is set, but this program was built without the feature `otlp`".into())
    }

    /// Makes `span` part of the caller's trace.
    pub fn follow(_span: &Span, _caller: &TraceContext) {}

    /// The context of the current span; `None` when spans are off.
    pub fn here() -> Option<TraceContext> {
        None
    }
}

#[cfg(feature = "otlp")]
mod exported {
    use opentelemetry::{
        Context,
        propagation::TextMapPropagator,
        trace::{TraceContextExt, TracerProvider},
    };
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::{
        Resource,
        propagation::TraceContextPropagator,
        trace::{Sampler, SdkTracerProvider},
    };
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::filter::Targets;

    use super::{Boxed, Cause, Config, Layer, Span, TARGET, TraceContext};

    /// Flushes what has not been sent when it is dropped; waits a few seconds at most.
    pub struct Exporter(Option<SdkTracerProvider>);

    impl Exporter {
        /// Sends what has not been sent, in a few seconds at most. Dropping does it; this says why.
        pub fn flush(self) {}
    }

    impl Drop for Exporter {
        fn drop(&mut self) {
            if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
                tracing::warn!(%error, "traces were not all sent");
            }
        }
    }

    pub fn layer(config: &Config) -> Result<(Option<Boxed>, Exporter), Cause> {
        if config.endpoint.is_empty() {
            return Ok((None, Exporter(None)));
        }
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(&config.endpoint).build()?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(Resource::builder().with_service_name(config.service_name.clone()).build())
            .build();
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("syft-endpoints"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(Targets::new().with_target(TARGET, tracing::Level::INFO));
        Ok((Some(spans.boxed()), Exporter(Some(provider))))
    }

    /// Makes `span` part of the caller's trace.
    pub fn follow(span: &Span, caller: &TraceContext) {
        if span.is_disabled() {
            return;
        }
        let mut headers = http::HeaderMap::new();
        caller.inject(&mut headers);
        let context = TraceContextPropagator::new().extract(&Headers(&mut headers));
        // It fails only when there is no exporter.
        let _ = span.set_parent(context);
    }

    /// The context of the current span; `None` when spans are off.
    pub fn here() -> Option<TraceContext> {
        let span = Span::current();
        if span.is_disabled() {
            return None;
        }
        let context: Context = span.context();
        let valid = context.span().span_context().is_valid();
        let mut headers = http::HeaderMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut Headers(&mut headers));
        valid.then(|| TraceContext::parse(&headers)).flatten()
    }

    struct Headers<'h>(&'h mut http::HeaderMap);

    impl opentelemetry::propagation::Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(http::HeaderName::as_str).collect()
        }
    }

    impl opentelemetry::propagation::Injector for Headers<'_> {
        fn set(&mut self, key: &str, value: String) {
            if let (Ok(name), Ok(value)) =
                (http::HeaderName::try_from(key), http::HeaderValue::try_from(value))
            {
                self.0.insert(name, value);
            }
        }
    }
}
