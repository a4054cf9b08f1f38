//! The `syft-endpoints` command.

mod cli;

use std::process::ExitCode;

use clap::Parser;

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
