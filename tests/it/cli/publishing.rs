//! An owner's endpoints on marketplaces, from the command line.

use std::process::Output;

use serde_json::{Value, json};

use super::{run, stderr, stdout};
use crate::support::{
    database::Database,
    hub::{Fault, Hub},
    process::Process,
    space::ADMIN_KEY,
};

/// A service with the endpoint `ask`, on no marketplace yet.
struct Owner {
    process: Process,
    database: Database,
}

impl Owner {
    async fn new() -> Self {
        let database = Database::sqlite();
        let config = database.folder.path().join("config.toml");
        std::fs::write(&config, "public_url = \"https://space.example.org\"\n").unwrap();
        let process = Process::start(&database, &["--config", config.to_str().unwrap()]);
        let mut clients = process.admin().await;
        let dataset = clients.dataset("docs").await;
        clients.endpoint("ask", Some(&dataset), None).await;
        Self { process, database }
    }

    async fn connect(&self, hub: &Hub) -> String {
        let store = self.database.connect().await;
        let tenant = store.tenant("root").await.unwrap().id;
        store.connect_marketplace(tenant, hub.account()).await.unwrap().id.to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--server", &self.process.server, "--key", ADMIN_KEY]].concat())
    }

    /// Runs a command that must succeed, and returns what it prints.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// Runs a command that must fail, and returns what it prints.
    fn failed(&self, arguments: &[&str], status: i32) -> (String, String) {
        let output = self.run(arguments);
        let told = (stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}{}", told.0, told.1);
        told
    }
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_published_and_taken_off_by_whatever_a_marketplace_is_called() {
    let (one, two, owner) = (Hub::start().await, Hub::start().await, Owner::new().await);
    let (first, second) = (owner.connect(&one).await, owner.connect(&two).await);
    let address = one.address.to_string();
    for name in [&first, &one.url(), &format!("{}/", one.url()), &address] {
        let published = owner.done(&["publish", "ask", "--to", name]);
        assert_eq!(
            published,
            format!("published    {address}  Published successfully to {address}\n"),
            "{name}"
        );
        assert_eq!((one.slugs(), two.slugs()), (vec!["ask".to_owned()], vec![]), "{name}");
        assert!(owner.done(&["unpublish", "ask", "--from", name]).starts_with("unpublished"), "{name}");
        assert!(one.slugs().is_empty(), "{name}");
    }
    let (_, told) = owner.failed(&["publish", "ask", "--to", "127.0.0.1"], 1);
    assert!(told.contains("several") && told.contains(&first) && told.contains(&second), "{told}");
    let (_, told) = owner.failed(&["publish", "ask", "--to", &address, "elsewhere.example.org"], 1);
    assert!(told.contains("no marketplace 'elsewhere.example.org'") && told.contains(&two.url()), "{told}");
    assert!(one.slugs().is_empty(), "a name that is unclear publishes nothing");

    let published = objects(&owner.done(&["publish", "ask", "--to", &address, &two.url(), &first, "--json"]));
    assert_eq!(published.len(), 2, "each marketplace once: {published:?}");
    let expected = json!({"marketplace_id": first, "marketplace_name": address, "state": "published",
        "message": format!("Published successfully to {address}"), "error": null});
    assert_eq!(published[0], expected);
    assert_eq!(owner.done(&["unpublish", "ask"]).lines().count(), 2);
    assert!(one.slugs().is_empty() && two.slugs().is_empty());
    assert_eq!(owner.done(&["unpublish", "ask"]), "it was not published there\n");
    assert_eq!(owner.done(&["unpublish", "ask", "--json"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pending_or_refused_has_status_1_and_says_why() {
    let (one, two, owner) = (Hub::start().await, Hub::start().await, Owner::new().await);
    let (_, told) = owner.failed(&["publish", "ask", "--all"], 1);
    assert!(told.contains("No active marketplaces found"), "{told}");
    let (_, told) = owner.failed(&["publish", "ask", "--to", "hub.example.org"], 1);
    assert!(told.contains("is on none"), "{told}");
    owner.connect(&one).await;
    owner.connect(&two).await;
    two.fail("publish", Fault { status: 503, headers: &[("retry-after", "3600")], body: String::new() });
    let (told, _) = owner.failed(&["publish", "ask", "--all"], 1);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("published    "), "{told}");
    assert!(lines[1].starts_with("pending      ") && lines[1].contains("is unavailable"), "{told}");
    let (told, _) = owner.failed(&["publish", "ask", "--all", "--json"], 1);
    assert_eq!(objects(&told)[1]["state"], "pending", "{told}");
    assert!(objects(&told)[1]["error"].is_string(), "{told}");
    two.recover();
    two.fail("publish", Fault { status: 422, headers: &[], body: "{\"detail\": \"not-today\"}".to_owned() });
    let (told, _) = owner.failed(&["publish", "ask", "--to", &two.url()], 1);
    assert!(told.starts_with("failed       ") && told.contains("not-today"), "{told}");

    for (arguments, reason) in [
        (&["publish", "none", "--all"][..], "ENDPOINT_NOT_FOUND"),
        (&["unpublish", "none"], "ENDPOINT_NOT_FOUND"),
        (&["publish", "ask", "--to", "0197b9e4-0000-7000-8000-000000000000"], "RESOURCE_NOT_FOUND"),
        (&["sync", "--on", "0197b9e4-0000-7000-8000-000000000000"], "RESOURCE_NOT_FOUND"),
    ] {
        let (_, told) = owner.failed(arguments, 1);
        assert!(told.starts_with(&format!("error: {reason}: ")), "{told}");
    }
    for arguments in [&["publish", "ask"][..], &["publish", "ask", "--all", "--to", "x"], &["sync", "--yes"]]
    {
        owner.failed(arguments, 64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marketplaces_are_brought_in_line_and_replaced_only_when_that_is_confirmed() {
    let (one, two, owner) = (Hub::start().await, Hub::start().await, Owner::new().await);
    let first = owner.connect(&one).await;
    owner.connect(&two).await;
    owner.done(&["publish", "ask", "--all"]);
    let foreign = |slug: &str| json!({"name": slug, "slug": slug, "type": "model"});
    for hub in [&one, &two] {
        hub.list(foreign("foreign"));
    }
    one.list(foreign("ask"));
    let (first_line, second_line) = (
        format!("in line  {}  1 listed, published: ask", one.address),
        format!("in line  {}  1 listed", two.address),
    );
    assert_eq!(owner.done(&["sync"]), format!("{first_line}\n{second_line}\n"));
    assert_eq!(owner.done(&["sync", "--on", &two.address.to_string()]), format!("{second_line}\n"));

    // Nobody can be asked here.
    let (_, told) = owner.failed(&["sync", "--replace-all"], 64);
    assert!(told.contains("--yes"), "{told}");
    assert_eq!((one.calls("sync"), two.calls("sync"), one.slugs().len()), (0, 0, 2));
    let replaced = owner.done(&["sync", "--replace-all", "--yes", "--on", &first, "--json"]);
    assert_eq!(objects(&replaced)[0]["slugs"], json!(["ask"]), "{replaced}");
    assert_eq!((one.slugs(), two.slugs().len()), (vec!["ask".to_owned()], 2));

    two.fail("list", Fault { status: 500, headers: &[], body: String::new() });
    let (told, _) = owner.failed(&["sync"], 1);
    assert!(told.lines().nth(1).unwrap().starts_with("failed   "), "{told}");
    let help = stdout(&run(&["sync", "--help"])).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("EVERYTHING") && help.contains("also what other spaces have published"), "{help}");
}
