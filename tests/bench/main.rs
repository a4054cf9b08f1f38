//! The load benchmark: what the service costs, on one machine, over loopback.
//!
//! ```text
//! cargo bench --bench load                       everything, within a quarter of an hour
//! cargo bench --bench load -- unary search_100k  the groups that have a key with such a beginning
//! cargo bench --bench load -- --quick            few rounds and small numbers: does it run?
//! cargo bench --bench load -- --binary=PATH      another build of the service
//! ```
//! It prints a table, marks the targets that are missed, and writes `target/bench/load.json`; groups
//! that do not run keep their former values there. `--quick` writes `load-quick.json`: its values are
//! no measurements; and `--binary` writes `load-other.json`. The status is not 0 when something fails, or when a delta was lost, repeated or
//! reordered. A missed target does not change it.
//!
//! Two processors, nobody else on the machine, and 20,000 open files are what the targets are for.
//!
//! # How it is measured
//! This program is the client. It starts itself in other roles, each a process of its own, and the
//! service that is measured, the release binary, with a fresh SQLite file:
//!
//! ```text
//! upstream    OpenAI's chat completions, scripted: the model's name says how many tokens, how fast
//! echo        a bare tonic service with messages of the same size
//! inprocess   our server around a model that is a list in memory, with policies where a group says so
//! hub         a SyftHub, as far as tokens go: its key, and a /verify that knows everybody
//! embedder    an embeddings endpoint with vectors of hashes
//! flood       an attacker on raw sockets
//! ```
//! Unless a group says otherwise, an endpoint has an API key, one access policy, a warm plan, query
//! records, and an `openai` model on the scripted upstream.
//!
//! - *Added* is the time through the service less the time of the same client straight at the upstream,
//!   in alternating rounds; the value is the median over the rounds.
//! - *CPU* is user and system time of the service's process, from `/proc`, for a fixed number of
//!   operations after a warm-up. It is the figure to trust: latencies move with the neighbours.
//! - Open loads are paced by a plain thread, and a stream's time counts from when it should have begun.
//! - Every token carries its number and the moment it was sent, so each is accounted for.

mod asked;
mod client;
mod clock;
mod echo;
mod embedder;
mod flood;
mod groups;
mod hub;
mod inprocess;
mod load;
mod process;
mod report;
mod rest;
mod script;
mod space;
mod stats;
mod text;
mod token;
mod upstream;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use groups::{GROUPS, Group};
use report::Report;
use tempfile::TempDir;

/// The service's own, for the roles that stand for it or are compared with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that goes wrong ends the run.
pub type Fault = Box<dyn Error + Send + Sync>;

/// One run.
pub struct Bench {
    /// The service. A copy: a build that goes on meanwhile changes nothing.
    pub binary: PathBuf,
    quick: bool,
    folder: TempDir,
}

impl Bench {
    fn new(binary: &str, quick: bool) -> Result<Self, Fault> {
        // On the disk that holds the build, not in memory: the database syncs.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let copy = folder.path().join("syft-endpoints");
        fs::copy(binary, &copy).map_err(|error| format!("{binary}: {error}"))?;
        Ok(Self { binary: copy, quick, folder })
    }

    /// An empty folder.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Fault> {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Rounds of a group.
    pub fn rounds(&self) -> usize {
        if self.quick { 2 } else { 7 }
    }

    /// A number of operations; fewer when it is only tried.
    pub fn count(&self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["upstream", _] => upstream::run(),
        ["echo", _] => echo::run(),
        ["hub", _] => hub::run(),
        ["embedder", _] => embedder::run(),
        ["inprocess", folder] => inprocess::run(Path::new(folder)),
        ["flood", address, frames, seconds] => flood::run(address, frames, seconds),
        arguments => orchestrate(arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn orchestrate(arguments: &[&str]) -> Result<(), Fault> {
    let quick = arguments.contains(&"--quick");
    // cargo itself passes `--bench`.
    let prefixes: Vec<&str> =
        arguments.iter().copied().filter(|argument| !argument.starts_with("--")).collect();
    let groups: Vec<&Group> = GROUPS.iter().filter(|group| group.matches(&prefixes)).collect();
    if groups.is_empty() {
        return Err(format!("no key begins with {}", prefixes.join(" or ")).into());
    }
    token::self_check()?;
    let other = arguments.iter().find_map(|argument| argument.strip_prefix("--binary="));
    let bench = Bench::new(other.unwrap_or(env!("CARGO_BIN_EXE_syft-endpoints")), quick)?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
    let file = match other {
        _ if quick => "load-quick.json",
        Some(_) => "load-other.json",
        None => "load.json",
    };
    let mut report = Report::open(target.join("bench").join(file), other);
    let runtime = process::runtime()?;
    let mut failed = Vec::new();
    for group in groups {
        let started = Instant::now();
        match runtime.block_on((group.run)(&bench)).and_then(|found| report.take(group, found)) {
            Ok(()) => eprintln!("  {} took {:.0} s", group.name, started.elapsed().as_secs_f64()),
            // The others still tell something.
            Err(fault) => {
                eprintln!("  {} FAILED: {fault}", group.name);
                failed.push(group.name);
            }
        }
        fs::remove_dir_all(bench.folder(group.name)?)?;
    }
    let ended = report.end();
    if failed.is_empty() { ended } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}
