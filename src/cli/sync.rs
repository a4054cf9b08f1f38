//! `sync`.

use std::{
    io::{self, BufRead, IsTerminal},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;
use syft_endpoints::{
    config::Problems,
    error::Cause,
    proto::{SyncEndpointsRequest, SyncResult},
};

use super::{
    client::ClientArgs,
    named,
    output::{failure, plain},
};

#[derive(Args)]
pub(super) struct Sync {
    /// Marketplaces, each by its name, host, URL or id [default: all active ones]
    #[arg(long, value_name = "NAME_OR_ID", num_args = 1..)]
    on: Vec<String>,
    /// Replace EVERYTHING that the account lists there, also what other spaces have published, by what this
    /// space publishes; its stars and health are lost. Asks first
    #[arg(long)]
    replace_all: bool,
    /// Do not ask before replacing everything
    #[arg(long, requires = "replace_all")]
    yes: bool,
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object per marketplace instead of text
    #[arg(long)]
    json: bool,
}

impl Sync {
    /// Status 0 when every marketplace lists what it should, else 1.
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        if self.replace_all && !self.yes && !is_confirmed(&self.on)? {
            return Err("nothing has been replaced".into());
        }
        let client = self.client.connect().await?;
        let marketplace_ids = named::ids(&client, &self.on).await?;
        let request = SyncEndpointsRequest { marketplace_ids, replace_all: self.replace_all };
        let synced = client.endpoints().sync_endpoints(request).await;
        let results = synced.map_err(|status| failure(&status))?.into_inner().results;
        for result in &results {
            match self.json {
                true => say!("{}", as_json(result))?,
                false => say!("{}", line(result))?,
            }
        }
        let is_done = results.iter().all(|result| result.success);
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Asks whoever sits at the terminal.
fn is_confirmed(on: &[String]) -> Result<bool, Cause> {
    if !io::stdin().is_terminal() {
        let problem = "--replace-all needs --yes where nobody can be asked".to_owned();
        return Err(Problems(vec![problem]).into());
    }
    let on = if on.is_empty() { "all active marketplaces".to_owned() } else { on.join(", ") };
    eprint!(
        "This replaces everything that the account lists on {on}, also what other spaces have published there.\n\
         Type `replace` to go on: "
    );
    Ok(is_yes(io::stdin().lock())?)
}

fn is_yes(mut answers: impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    Ok(answer.trim() == "replace")
}

fn line(result: &SyncResult) -> String {
    let state = if result.success { "in line" } else { "failed" };
    let mut line = format!("{state:7}  {}  {} listed", plain(&result.marketplace_name), result.slugs.len());
    for (done, slugs) in [("published", &result.published), ("removed", &result.removed)] {
        if !slugs.is_empty() {
            line.push_str(&format!(", {done}: {}", plain(&slugs.join(" "))));
        }
    }
    if !result.error.is_empty() {
        line.push_str(&format!("; {}", plain(&result.error)));
    }
    line
}

fn as_json(result: &SyncResult) -> serde_json::Value {
    json!({
        "marketplace_id": result.marketplace_id, "marketplace_name": result.marketplace_name,
        "success": result.success, "slugs": result.slugs, "published": result.published,
        "removed": result.removed, "error": Some(&result.error).filter(|error| !error.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use syft_endpoints::proto::SyncResult;

    use super::{is_yes, line};

    #[test]
    fn only_the_word_itself_is_a_yes() {
        for (answer, expected) in
            [("replace\n", true), (" replace \r\n", true), ("y\n", false), ("\n", false), ("", false)]
        {
            assert_eq!(is_yes(answer.as_bytes()).unwrap(), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_line_says_what_was_done_even_when_something_failed() {
        let result = SyncResult {
            marketplace_name: "SyftHub\u{1b}".to_owned(),
            slugs: vec!["a".to_owned(), "b".to_owned()],
            published: vec!["b".to_owned()],
            error: "c: says no".to_owned(),
            ..SyncResult::default()
        };
        assert_eq!(line(&result), "failed   SyftHub   2 listed, published: b; c: says no");
    }
}
