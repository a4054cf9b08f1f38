//! The `syft-endpoints` command.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// A query makes some hundred small allocations on one thread and frees them on another, which the
/// system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(command) => command.run(),
        Err(shown) => {
            // Help and version are no mistakes. Nobody may be reading.
            let _ = shown.print();
            ExitCode::from(if shown.use_stderr() { cli::USAGE } else { 0 })
        }
    }
}
