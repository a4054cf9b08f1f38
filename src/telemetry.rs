//! Logs.

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `error`, `warn`, `info`, `debug` or `trace`, for the service itself.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

/// What the filter is made of. Libraries stay at `warn` whatever the level: at `trace` an HTTP/2
/// library logs header values, and a credential is one.
pub fn directives(level: &str) -> String {
    format!("warn,syft_endpoints={level}")
}

/// Sends logs to standard error. Called once, by `main`.
///
/// # Errors
/// When the level is not one, or logs are already being sent somewhere.
pub fn init(config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let level: tracing::Level =
        config.level.parse().map_err(|_| "log.level must be error, warn, info, debug or trace")?;
    let filter = EnvFilter::try_new(directives(&level.to_string().to_lowercase()))?;
    let logs = tracing_subscriber::registry().with(filter);
    if config.json {
        logs.with(fmt::layer().json().with_writer(io::stderr)).try_init()?;
    } else {
        let text =
            fmt::layer().with_target(false).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
        logs.with(text).try_init()?;
    }
    Ok(())
}
