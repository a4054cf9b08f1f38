//! Commands: the service itself, and clients of it.

/// Prints a line; fails when nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout(), $($text)*)
    }};
}

mod channel;
mod check;
mod client;
mod demo;
mod ingest;
mod key;
mod marketplace;
mod named;
mod output;
mod publish;
mod query;
mod search;
mod secret;
mod serve;
mod sync;
mod usage;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use syft_endpoints::{
    config::{Config, Problems},
    error::Cause,
    telemetry::{Metrics, logs, traces},
};

/// Exit status when the command line or the configuration is wrong, as `sysexits.h` has it.
pub(crate) const USAGE: u8 = 64;

/// Endpoints of a Syft Space over gRPC, with streaming answers.
#[derive(Parser)]
#[command(version, about, long_about = None, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Serve),
    /// Run a service with example data, ask it one question, keep serving
    Demo(demo::Demo),
    /// Ask an endpoint and print the answer as it is made
    Query(query::Query),
    /// Search a dataset and print what is found with its scores, past endpoints and policies
    Search(search::Search),
    /// Load files and folders into a local dataset (.txt .md .html .json .jsonl .csv)
    Ingest(ingest::Ingest),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Connect to accounts on SyftHubs, make them, and take them away
    #[command(subcommand)]
    Marketplace(marketplace::Command),
    /// List marketplaces, and how they stand with what is published there
    Marketplaces(marketplace::List),
    /// Show the URL at which marketplaces' users reach this space, or set it
    PublicUrl(marketplace::PublicUrl),
    /// List an endpoint on marketplaces, or tell them what it is like now
    Publish(publish::Publish),
    /// Take an endpoint off marketplaces; it answers queries as before
    Unpublish(publish::Unpublish),
    /// Bring marketplaces in line with this space
    Sync(sync::Sync),
    /// Show what endpoints were used for: by whom, how often, at what cost; or the records as CSV
    Usage(usage::Usage),
    /// Bring the database's schema up to date and exit
    Migrate(serve::Migrate),
    /// Ask a running server whether it is healthy; the exit status says so
    Check(check::Check),
}

/// What the commands that open the database have in common.
#[derive(Args, Clone, Default)]
struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "SYFT_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the embedded database, indexes and generated keys [default: ~/.syft-endpoints]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// sqlite:///path/to/file or postgres://user:password@host/name [default: SQLite in the data folder]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// A configuration that is in force.
struct Loaded {
    config: Config,
    metrics: Metrics,
    /// To be kept until the end: it sends the last traces.
    exporter: traces::Exporter,
}

impl Cli {
    pub(crate) fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&error.into()),
        };
        let done = runtime.block_on(self.command.run());
        runtime.shutdown_background();
        done.unwrap_or_else(|error| fail(&error))
    }
}

impl Command {
    async fn run(self) -> Result<ExitCode, Cause> {
        match self {
            Self::Serve(serve) => serve.run().await,
            Self::Demo(demo) => demo.run().await,
            Self::Query(query) => query.run().await,
            Self::Search(search) => search.run().await,
            Self::Ingest(ingest) => ingest.run().await,
            Self::Key(key) => key.run().await,
            Self::Marketplace(marketplace) => marketplace.run().await,
            Self::Marketplaces(list) => list.run().await,
            Self::PublicUrl(public_url) => public_url.run().await,
            Self::Publish(publish) => publish.run().await,
            Self::Unpublish(unpublish) => unpublish.run().await,
            Self::Sync(sync) => sync.run().await,
            Self::Usage(usage) => usage.run().await,
            Self::Migrate(migrate) => migrate.run().await,
            Self::Check(check) => check.run().await,
        }
    }
}

impl ConfigArgs {
    /// The configuration, with `more` over these flags; logs and traces go where it says from here on.
    fn load(self, more: Vec<(&'static str, String)>) -> Result<Loaded, Cause> {
        let file = match &self.config {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Problems(vec![format!("cannot read {}: {error}", path.display())]))?,
            None => String::new(),
        };
        let mut flags = more;
        flags.extend(self.data_dir.map(|dir| ("data_dir", dir.display().to_string())));
        flags.extend(self.database_url.map(|url| ("store.url", url)));
        flags.extend(self.log_level.map(|level| ("log.level", level)));
        let config = Config::load(&file, variables(), flags)?;
        let metrics = Metrics::default();
        let exporter = logs::init(&config.log, &config.traces, &metrics);
        let exporter = exporter.map_err(|error| Problems(vec![error.to_string()]))?;
        Ok(Loaded { config, metrics, exporter })
    }
}

/// Variables that are text; what is not cannot be one of ours.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn fail(error: &Cause) -> ExitCode {
    let broken_pipe = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(broken_pipe) {
        // Whoever reads has read enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error}");
    ExitCode::from(if error.is::<Problems>() { USAGE } else { 1 })
}
