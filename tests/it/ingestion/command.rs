//! The same from the command line.

use std::{fs, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::{Files, Rig, counts, found};
use crate::support::{database::Database, eventually, process::command, space::ADMIN_KEY};

/// The command, run to its end: whether it says that all is well, and what it wrote.
async fn ingest(rig: &Rig, arguments: &[&str]) -> (bool, String, String) {
    let output = prepared(rig, arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn prepared(rig: &Rig, arguments: &[&str]) -> Command {
    let mut command = Command::from(command());
    command.args(["ingest", "docs"]).args(arguments).args(["--server", &rig.space.url(), "--key", ADMIN_KEY]);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_reads_and_the_command_says_how_it_went() {
    let mut rig = Rig::start(Database::sqlite()).await;
    rig.write("in/a.md", "The copyright term");
    rig.write("in/b.json", "{\"content\": \"good\"}");
    let server = Files::start(&[("/one.md", "text/markdown", "one")]).await;
    let (done, out, error) = ingest(&rig, &["--on-server", "in", &server.url("/one.md")]).await;
    assert!(done, "{out}{error}");
    assert_eq!(
        out,
        "in: done; 2 stored, 0 unchanged, 0 failed, 0 removed\nURLs: done; 1 stored, 0 unchanged, 0 failed, 0 removed\n"
    );
    rig.write("in/b.json", "{");
    let (done, out, error) = ingest(&rig, &["--on-server", "."]).await;
    assert!(!done && error.contains("in/b.json: "), "{out}{error}");
    assert!(out.contains("failed: 1 of 2 files failed; 0 stored, 1 unchanged, 1 failed"), "{out}");
    let (done, out, _) = ingest(&rig, &["--on-server", "in", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(!done && told["state"] == "failed" && told["failures"][0]["name"] == "in/b.json", "{told}");
    let (done, _, error) = ingest(&rig, &["--on-server", ".."]).await;
    assert!(!done && error.contains("below the configured folder"), "{error}");
    assert_eq!(rig.documents().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_folder_is_followed_until_the_command_is_interrupted() {
    let mut rig = Rig::start(Database::sqlite()).await;
    // Not the server's.
    let folder = rig.space.database.folder.path().join("mine");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("a.md"), "first words").unwrap();
    fs::write(folder.join("deep/b.md"), "other words").unwrap();
    fs::write(folder.join("bad.json"), "{").unwrap();
    let mut command = prepared(&rig, &[folder.to_str().unwrap(), "--watch", "--json"]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(std::time::Duration::from_secs(20), lines.next_line()).await;
        let told: Value = serde_json::from_str(&line.unwrap().unwrap().unwrap()).unwrap();
        format!("{} {}", told["event"].as_str().unwrap(), told["name"].as_str().unwrap())
    };
    assert_eq!(next().await, "stored a.md");
    assert_eq!(next().await, "failed bad.json");
    assert_eq!(next().await, "stored deep/b.md");
    assert!(next().await.starts_with("watching "));
    assert_eq!(rig.documents().await.into_keys().collect::<Vec<_>>(), ["a.md#1", "deep/b.md#1"]);
    fs::write(folder.join("a.md"), "changed words, and longer").unwrap();
    assert_eq!(next().await, "stored a.md");
    assert_eq!(rig.documents().await["a.md#1"], "changed words, and longer");
    fs::remove_dir_all(folder.join("deep")).unwrap();
    assert_eq!(next().await, "deleted deep/b.md");
    assert!(found(&mut rig.clients, "other").await.is_empty());
    fs::write(folder.join("bad.json"), "{\"content\": \"good again\"}").unwrap();
    assert_eq!(next().await, "stored bad.json");
    let signalled =
        std::process::Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status();
    assert!(signalled.unwrap().success());
    let mut status = None;
    eventually("it ends", async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success());
    // What is there is not sent again.
    let revision = rig.revision().await;
    let mut command = prepared(&rig, &[folder.to_str().unwrap(), "--watch", "--json"]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.contains("watching"), "{first}");
    assert_eq!(rig.revision().await, revision);
    child.kill().await.unwrap();
    assert_eq!(counts(&rig.folder("").await), [0; 5], "nor has any of it become the server's");
    assert_eq!(rig.documents().await.len(), 2);
}
