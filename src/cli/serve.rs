//! `serve` and `migrate`.

use std::process::ExitCode;

use clap::Args;
use syft_endpoints::{
    app::{self, App},
    error::Cause,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgs, Loaded};

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address and port; port 0 chooses a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT. Says where on standard output, once it is ready.
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let listen = self.listen.map(|address| ("server.listen", address));
        let Loaded { config, metrics, exporter } = self.config.load(listen.into_iter().collect())?;
        raise_file_limit();
        let shutdown = CancellationToken::new();
        let mut signals = std::pin::pin!(on_signal(shutdown.clone())?);
        let built = tokio::select! {
            built = shutdown.run_until_cancelled(App::build(config, metrics)) => built,
            status = signals.as_mut() => return Ok(status),
        };
        // A signal before it is ready: there is nothing to drain.
        let Some(app) = built else { return Ok(ExitCode::SUCCESS) };
        let app = app?;
        say!("listening on {}", app.local_addr()?)?;
        if let Some(address) = app.metrics_addr() {
            tracing::info!("metrics are read at http://{address}/metrics");
        }
        tokio::select! {
            () = app.run(shutdown) => {}
            // The second signal: now.
            status = signals => return Ok(status),
        }
        // Waits for the collector, which another thread talks to.
        tokio::task::spawn_blocking(move || exporter.flush()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Migrate {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let Loaded { config, .. } = self.config.load(Vec::new())?;
        let store = app::open_store(&config).await?;
        store.migrate().await.map_err(|error| error.cause().unwrap_or_else(|| error.to_string()))?;
        store.close().await;
        say!("the schema is up to date")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A connection is a file, and many systems allow fewer by default than the service does.
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

/// Cancels `shutdown` at the first signal and returns at the second.
pub(super) fn on_signal(shutdown: CancellationToken) -> Result<impl Future<Output = ExitCode>, Cause> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let mut next = async || {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        next().await;
        shutdown.cancel();
        next().await;
        ExitCode::FAILURE
    })
}
