//! What the service says about itself: logs, metrics, traces. Never a prompt, an answer, an e-mail
//! address, a token or a key.

pub mod context;
pub mod logs;
pub mod metrics;
pub mod traces;

pub use context::TraceContext;
pub use metrics::Metrics;
