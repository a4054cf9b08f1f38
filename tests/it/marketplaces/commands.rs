//! The commands, as a person or a script runs them.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    database::Database,
    hub::{self, Hub},
    process::{Process, command},
    space::ADMIN_KEY,
};

/// Runs a command with these variables and this on standard input.
fn run(process: &Process, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut command = command();
    command.args(arguments).args(["--server", &process.server]).env("SYFT_API_KEY", ADMIN_KEY);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that reads nothing has closed it already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn bad(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_connects_looks_and_leaves() {
    let (hub, database) = (Hub::start().await, Database::sqlite());
    let process = Process::start(&database, &[]);
    let url = hub.url();
    let connect = ["marketplace", "connect", "--url", url.as_str()];
    let named = [&connect[..], &["--username", hub::OWNER]].concat();
    // A password from the environment, from standard input, or an API token.
    let told = good(&run(&process, &named, &[("SYFT_MARKETPLACE_PASSWORD", hub::PASSWORD)], ""));
    assert_eq!(told.trim(), format!("connected to {url} as {}", hub::OWNER));
    let piped = [&named[..], &["--password-stdin", "--json"]].concat();
    let told = object(&good(&run(&process, &piped, &[], &format!("{}\n", hub::PASSWORD))));
    assert_eq!((&told["username"], &told["state"]), (&json!(hub::OWNER), &json!("default")));
    let id = told["id"].as_str().unwrap().to_owned();
    let token = [&connect[..], &["--api-token-stdin", "--json"]].concat();
    assert_eq!(object(&good(&run(&process, &token, &[], hub::API_TOKEN)))["id"], json!(id));
    good(&run(&process, &connect, &[("SYFT_MARKETPLACE_API_TOKEN", hub::API_TOKEN)], ""));

    let refused = bad(&run(&process, &named, &[("SYFT_MARKETPLACE_PASSWORD", "wrong-1")], ""));
    assert!(refused.contains("HUB_REJECTED: The marketplace refuses: Incorrect"), "{refused}");
    // Nobody is there to be asked.
    for (arguments, variable) in
        [(&named[..], "SYFT_MARKETPLACE_PASSWORD"), (&connect[..], "SYFT_MARKETPLACE_API_TOKEN")]
    {
        assert!(bad(&run(&process, arguments, &[], "")).contains(variable), "{variable}");
    }
    assert!(bad(&run(&process, &piped, &[], "\n")).contains("no password on standard input"));
    for forbidden in ["--password", "--api-token"] {
        let output = run(&process, &[&named[..], &[forbidden, "x"]].concat(), &[], "");
        assert_eq!(output.status.code(), Some(64), "{forbidden} is taken");
    }

    let table = good(&run(&process, &["marketplaces"], &[], ""));
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "NAME", "ACCOUNT", "STATE", "PUBLISHED/PENDING/FAILED", "LAST", "REPORT"]);
    assert_eq!(rows[1], [id.as_str(), &hub.address.to_string(), hub::OWNER, "default", "0/0/0", "never"]);
    assert_eq!(rows.len(), 2);
    let line = object(&good(&run(&process, &["marketplaces", "--json"], &[], "")));
    assert_eq!((&line["id"], &line["reported"], &line["failed"]), (&json!(id), &json!(null), &json!(0)));

    assert_eq!(good(&run(&process, &["public-url"], &[], "")), "");
    let set = run(&process, &["public-url", "https://space.example/"], &[], "");
    assert_eq!(good(&set).trim(), "https://space.example");
    let shown = object(&good(&run(&process, &["public-url", "--json"], &[], "")));
    assert_eq!(shown, json!({"public_url": "https://space.example"}));
    assert!(bad(&run(&process, &["public-url", "nonsense"], &[], "")).contains("INVALID_REQUEST"));

    assert_eq!(good(&run(&process, &["marketplace", "remove", &id], &[], "")).trim(), "removed");
    assert_eq!(good(&run(&process, &["marketplaces"], &[], "")), "");
    assert!(bad(&run(&process, &["marketplace", "remove", &id], &[], "")).contains("RESOURCE_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_makes_an_account_and_proves_it() {
    let (hub, database) = (Hub::start().await, Database::sqlite());
    hub.ask_for_proof(true);
    let process = Process::start(&database, &[]);
    let url = hub.url();
    let hub_at = ["--url", url.as_str(), "--email", "amy@example.org", "--password-stdin", "--json"];
    let register = [&["marketplace", "register", "--name", "Amy", "--username", "amy"], &hub_at[..]].concat();
    let begun = object(&good(&run(&process, &register, &[], hub::PASSWORD)));
    assert_eq!(begun, json!({"verification_required": true}));
    let code = hub.otp("amy@example.org").unwrap();
    let verify = [&["marketplace", "verify", code.as_str()], &hub_at[..]].concat();
    let connected = object(&good(&run(&process, &verify, &[], hub::PASSWORD)));
    assert_eq!((&connected["username"], &connected["state"]), (&json!("amy"), &json!("default")));
}
