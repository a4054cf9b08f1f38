//! `bm25s`, in a virtual environment of its own.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use syft_endpoints::domain::words::STOP_WORDS;

use crate::{Fault, measures::Ranking};

/// What it finds for every question.
pub fn rankings(folder: &Path, venv: &Path) -> Result<Vec<Ranking>, Fault> {
    install(&folder.join("requirements.txt"), venv)?;
    let stop_words = venv.join("stop-words.txt");
    fs::write(&stop_words, STOP_WORDS)?;
    let mut rank = Command::new(venv.join("bin/python"));
    let said = run(rank.arg(folder.join("rank.py")).arg(folder).stdin(File::open(stop_words)?))?;
    said.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Unless it is there. The copy is made last: it says that all of it is installed.
fn install(requirements: &Path, venv: &Path) -> Result<(), Fault> {
    let (installed, wanted) = (venv.join("installed.txt"), fs::read_to_string(requirements)?);
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    run(pip
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements))?;
    Ok(fs::write(installed, wanted)?)
}

fn run(command: &mut Command) -> Result<String, Fault> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
