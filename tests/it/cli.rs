//! The commands, as a person runs them.

mod ingest;
mod publishing;
mod usage;

use std::process::Output;

use crate::support::{
    database::Database,
    process::{Process, command},
    space::ADMIN_KEY,
};

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_demo_answers_and_ends() {
    let output = run(&["demo", "--once"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    for expected in ["dataset   docs", "policy    rate_limit", "ARCHITECTURE.md#", "first token after"] {
        assert!(text.contains(expected), "{expected} is missing:\n{text}");
    }
    assert!(!text.contains("do not answer"), "the question is not answered:\n{text}");
}

#[test]
fn help_names_every_command() {
    let text = stdout(&run(&["--help"]));
    let commands = [
        "serve",
        "demo",
        "query",
        "search",
        "ingest",
        "key",
        "marketplace",
        "marketplaces",
        "public-url",
        "publish",
        "unpublish",
        "sync",
        "usage",
        "migrate",
        "check",
    ];
    for command in commands {
        assert!(text.contains(&format!("  {command} ")), "{text}");
        assert!(run(&[command, "--help"]).status.success());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_wrong_command_line_has_status_64_and_foreign_variables_do_not_matter() {
    use std::os::unix::ffi::OsStrExt;

    assert_eq!(run(&["bogus"]).status.code(), Some(64));
    let foreign = std::ffi::OsStr::from_bytes(b"\xff");
    let output = command().args(["serve", "--listen", "nowhere"]).env("FOREIGN", foreign).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_files_are_loaded_and_unclear_ones_refused() {
    let database = Database::sqlite();
    let process = Process::start(&database, &[]);
    let folder = database.folder.path().join("files");
    for part in ["a", "b"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
        std::fs::write(folder.join(part).join("index.md"), format!("text of {part}")).unwrap();
    }
    let long: String = (0..64)
        .map(|i| format!("{{\"id\": \"l{i}\", \"text\": \"{}\"}}\n", "word ".repeat(20_000)))
        .collect();
    std::fs::write(folder.join("long.jsonl"), long).unwrap();
    std::fs::create_dir(folder.join("node_modules")).unwrap();
    std::fs::write(folder.join("node_modules/readme.md"), "somebody else's").unwrap();
    std::fs::write(folder.join(".gitignore"), "node_modules/\n").unwrap();
    std::fs::write(folder.join("gaps.csv"), "a,b\n1,2\n,\n3,4\n").unwrap();
    let server = ["--server", process.server.as_str(), "--key", ADMIN_KEY];
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let same = run(&[&["ingest", "docs", &path("a"), &path("b"), "--create"], &server[..]].concat());
    assert!(stderr(&same).contains("have one name"), "{}", stderr(&same));
    let whole = run(&[&["ingest", "docs", folder.to_str().unwrap(), "--json"], &server[..]].concat());
    assert_eq!(stdout(&whole).trim(), r#"{"documents":68,"failed":0,"files":4}"#, "{}", stderr(&whole));
    std::fs::create_dir(folder.join("empty")).unwrap();
    let nothing = run(&[&["ingest", "docs", &path("empty")], &server[..]].concat());
    assert_eq!(nothing.status.code(), Some(1));
}

#[test]
fn a_wrong_configuration_is_told_whole_with_status_64() {
    let mut serve = command();
    let output = serve
        .args(["serve", "--listen", "nowhere"])
        .env("SYFT_TYPO", "1")
        .env("SYFT_LOG_JSON", "maybe")
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(64));
    for expected in ["server.listen", "SYFT_TYPO", "log.json"] {
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_loaded_and_asked_and_keys_are_made() {
    let database = Database::sqlite();
    let process = Process::start(&database, &[]);
    let folder = database.folder.path().join("files");
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in [
        ("law.md", "# Terms\n\nThe copyright term is seventy years.\n\n# Dogs\n\nDogs bark."),
        ("page.html", "<html><body><h1>Patents</h1><p>A patent lasts <b>twenty</b> years.</p></body></html>"),
        ("rows.csv", "animal,sound\ncat,meow\n"),
        ("lines.jsonl", "{\"id\": \"j1\", \"text\": \"Trademarks are renewed.\"}\n"),
        (
            "list.json",
            "[{\"id\": \"k1\", \"content\": \"Designs are registered.\", \"metadata\": {\"a\": 1}}]",
        ),
        ("skip.bin", "\u{1}"),
        (".hidden.txt", "hidden"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let server = ["--server", process.server.as_str(), "--key", ADMIN_KEY];
    let ingest =
        run(&[&["ingest", "docs", folder.to_str().unwrap(), "--create", "--json"], &server[..]].concat());
    assert_eq!(stdout(&ingest).trim(), r#"{"documents":6,"failed":0,"files":5}"#, "{}", stderr(&ingest));

    let mut clients = process.admin().await;
    let get = syft_endpoints::proto::GetDatasetRequest { name: "docs".to_owned() };
    let dataset = clients.datasets.get_dataset(get).await.unwrap().into_inner().dataset.unwrap();
    let model = clients.model("local", "extractive", serde_json::json!({})).await;
    clients.endpoint("ask", Some(&dataset), Some(&model)).await;
    for (question, expected) in [
        ("copyright term", "seventy years. [law.md#1]"),
        ("how long does a patent last", "twenty"),
        ("what sound does the cat make", "meow"),
        ("trademark", "renewed. [j1]"),
        ("design", "registered. [k1]"),
    ] {
        let asked =
            run(&[&["query", "ask", question, "--similarity-threshold", "0.1"], &server[..]].concat());
        assert!(asked.status.success(), "{}", stderr(&asked));
        assert!(stdout(&asked).contains(expected), "{question}: {}", stdout(&asked));
    }
    let json = stdout(&run(&[&["query", "ask", "copyright term", "--json"], &server[..]].concat()));
    let events: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events[0].get("references").is_some() && events.last().unwrap().get("completed").is_some());

    let created = run(&[&["key", "create", "amy", "--email", "amy@x.org"], &server[..]].concat());
    let key = stdout(&created).trim().to_owned();
    assert!(key.starts_with("syft_sk_"), "{}", stderr(&created));
    let as_amy =
        |key: &str| run(&["query", "ask", "copyright", "--server", process.server.as_str(), "--key", key]);
    assert!(as_amy(&key).status.success());
    let listed = stdout(&run(&[&["key", "list"], &server[..]].concat()));
    let id = listed.split_whitespace().next().unwrap().to_owned();
    assert!(listed.contains("amy@x.org") && !listed.contains(&key));
    assert!(run(&[&["key", "revoke", &id], &server[..]].concat()).status.success());
    let refused = as_amy(&key);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("UNAUTHENTICATED"), "{}", stderr(&refused));

    assert!(run(&["check", "--server", &process.server]).status.success());
    let server = process.server.clone();
    process.kill();
    assert_eq!(run(&["check", "--server", &server]).status.code(), Some(1));
}

#[tokio::test]
async fn migrate_prepares_a_database_and_exits() {
    let database = Database::sqlite();
    let data = database.folder.path().join("data");
    let output = run(&["migrate", "--database-url", &database.url, "--data-dir", data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    database.connect().await.ensure_tenant("root").await.unwrap();
}

#[tokio::test]
async fn a_laptops_keys_are_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let database = Database::sqlite();
    let data = database.folder.path().join("data");
    let config = vec![("data_dir", data.display().to_string())];
    let config = syft_endpoints::config::Config::load("", std::iter::empty(), config).unwrap();
    let keys = [(); 2].map(|()| syft_endpoints::app::admin_key(&config).unwrap());
    let [first, second] = keys.map(|key| secrecy::ExposeSecret::expose_secret(&key).to_owned());
    assert_eq!(first, second, "the second start made another key");
    assert!(first.len() > 40);
    let mode = std::fs::metadata(data.join("admin.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
