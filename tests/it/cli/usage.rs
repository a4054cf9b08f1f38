//! What endpoints were used for, from the command line.

use serde_json::Value;

use super::{run, stderr, stdout};
use crate::support::{
    database::Database,
    eventually,
    process::Process,
    space::ADMIN_KEY,
    upstream::{Upstream, answer_of, status},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_shown_in_every_form() {
    let upstream = Upstream::start(vec![answer_of(&["a"]), status("401 Unauthorized", "", "{}")]).await;
    let database = Database::sqlite();
    let process = Process::start(&database, &[]);
    let server = ["--server", process.server.as_str(), "--key", ADMIN_KEY];
    let usage = |arguments: &[&str]| {
        let output = run(&[&["usage"], arguments, &server[..]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    assert!(usage(&[]).ends_with(" UTC\n\nqueries      0\n"), "{}", usage(&[]));

    let mut owner = process.admin().await;
    owner.asks("ask", upstream.address).await;
    owner.query("ask").await.unwrap();
    owner.query("ask").await.unwrap_err();
    owner.query("nowhere").await.unwrap_err();
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&usage(&[arguments, &["--json"]].concat())).unwrap()
    };
    eventually("all queries are recorded", async || json(&[])["totals"]["queries"] == 3).await;

    let table = usage(&["--days", "7"]);
    for expected in [
        "queries      3\n             1 completed · 0 refused · 2 failed · 0 cancelled\n",
        "tokens       11 read · 5 written\n",
        "By day\n",
        "owner@localhost",
        "Top endpoints",
        "\nask  ",
    ] {
        assert!(table.contains(expected), "{expected:?} is missing:\n{table}");
    }
    assert!(!table.contains('\x1b') && table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(usage(&["--since", "12h"]).contains("By hour"));

    let told = json(&["--endpoint", "ask", "--caller", "Owner@localhost", "--top", "1"]);
    assert_eq!((&told["totals"]["queries"], &told["totals"]["failed"]), (&2.into(), &1.into()));
    assert_eq!(told["top_callers"][0]["name"], "owner@localhost");
    assert_eq!(told["buckets"].as_array().unwrap().len(), 30);
    let id = told["top_endpoints"][0]["endpoint_id"].as_str().unwrap();
    assert_eq!(json(&["--endpoint", id])["totals"]["queries"], 2);
    assert_eq!(json(&["--caller", "nobody@x.org"])["totals"]["queries"], 0);

    let csv = usage(&["--csv"]);
    assert!(csv.starts_with("id,started_at,endpoint_slug,") && csv.lines().count() == 4, "{csv}");
    assert!(csv.contains(",ENDPOINT_NOT_FOUND,"), "{csv}");

    for bad in
        [&["--since", "soon"][..], &["--days", "0"], &["--json", "--csv"], &["--days", "1", "--since", "1d"]]
    {
        let refused = run(&[&["usage"], bad, &server[..]].concat());
        assert_eq!(refused.status.code(), Some(64), "{bad:?}");
    }
    let refused = run(&["usage", "--server", process.server.as_str(), "--key", "syft_sk_none"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("UNAUTHENTICATED"), "{}", stderr(&refused));
}
