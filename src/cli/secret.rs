//! Secrets that a person or a script hands over: never as arguments, which everybody on the machine can read.

use std::io::{self, IsTerminal, Read};

use secrecy::SecretString;
use syft_endpoints::error::Cause;

/// Bytes of a secret at most.
const LIMIT: u64 = 8 << 10;

/// From standard input when it is said to be there, from the environment, or from whoever sits at the terminal.
pub(super) fn read(what: &str, from_stdin: bool, variable: &str) -> Result<SecretString, Cause> {
    if from_stdin {
        return standard_input(what);
    }
    if let Some(secret) = in_environment(variable) {
        return Ok(secret);
    }
    if !io::stdin().is_terminal() {
        return Err(format!("no {what} was given: set {variable}, or hand it over on standard input").into());
    }
    let secret = rpassword::prompt_password(format!("{what}: "))?;
    Ok(secret.into())
}

/// What a variable holds, if it holds anything.
pub(super) fn in_environment(variable: &str) -> Option<SecretString> {
    std::env::var(variable).ok().filter(|secret| !secret.is_empty()).map(SecretString::from)
}

/// The first line of standard input.
fn standard_input(what: &str) -> Result<SecretString, Cause> {
    let mut text = String::new();
    let read = io::stdin().take(LIMIT).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read the {what} from standard input: {error}"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned().into()),
        _ => Err(format!("there is no {what} on standard input").into()),
    }
}
