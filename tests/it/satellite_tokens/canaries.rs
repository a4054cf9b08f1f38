//! Of tokens, e-mail addresses and what the hub says nothing is left in logs, answers or the database.

use super::furnish;
use crate::support::{
    database::Database,
    hub::{self, Fault, Hub},
    process::Process,
    space::clients,
};

const HUB_SAYS: &str = "hub-says-4719";

/// What the hub says of a token, one after the other; first it is as it should be.
fn words() -> Vec<Option<Fault>> {
    let says = |status, body: String| Some(Fault { status, headers: &[], body });
    vec![
        None,
        says(500, HUB_SAYS.to_owned()),
        says(401, HUB_SAYS.to_owned()),
        says(200, format!("{{\"valid\": \"{HUB_SAYS}\"}}")),
        says(200, format!("{{\"valid\": true, \"email\": \"{HUB_SAYS}\"}}")),
        says(200, format!("{{\"valid\": false, \"error\": \"{HUB_SAYS}\"}}")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_left_anywhere() {
    let (hub, database) = (Hub::start().await, Database::sqlite());
    let file = database.folder.path().join("config.toml");
    let (url, owner, api_token) = (hub.url(), hub::OWNER, hub::API_TOKEN);
    let settings = format!("[hub]\nurl = \"{url}\"\nusername = \"{owner}\"\napi_token = \"{api_token}\"\n");
    std::fs::write(&file, settings).unwrap();
    let mut process =
        Process::start(&database, &["--log-level", "trace", "--config", file.to_str().unwrap()]);
    furnish(&mut process.admin().await).await;
    let mut tokens =
        vec![hub::token("2"), hub::token("guest"), hub::signed(&hub::header(), &hub::claims("2"), 1)];
    let mut seen = String::new();
    for fault in words() {
        if let Some(fault) = fault {
            hub.fail("verify", fault);
            tokens.push(hub::token("2"));
        }
        for token in &tokens {
            let channel = process.channel().await;
            let mut asker = clients(channel, &[("authorization", &format!("Bearer {token}"))]);
            for slug in ["open", "guarded"] {
                let refused = asker.query(slug).await.err();
                let details =
                    refused.as_ref().map(|status| String::from_utf8_lossy(status.details()).into_owned());
                seen.push_str(&format!("{refused:?} {details:?} {:?}", asker.stream(slug).await.err()));
            }
        }
    }
    for expected in ["HUB_UNAVAILABLE", "HUB_REJECTED", "GUEST_NOT_ALLOWED", "UNAUTHENTICATED"] {
        assert!(seen.contains(expected), "no {expected}: the check sees nothing");
    }
    process.signal("-TERM");
    assert!(process.ended().await.success());
    let log = std::fs::read_to_string(&process.log).unwrap();
    assert!(log.contains("call failed"), "nothing was logged: the check sees nothing\n{log}");
    let path = database.url.strip_prefix("sqlite://").unwrap();
    let stored = ["", "-wal"].map(|suffix| std::fs::read(format!("{path}{suffix}")).unwrap_or_default());
    let stored = String::from_utf8_lossy(&stored.concat()).into_owned();
    assert!(stored.contains("GUEST_NOT_ALLOWED"), "no query was recorded: the check sees nothing");
    // What a token says is in its second part, and the third makes it good.
    let parts: Vec<&str> = tokens.iter().flat_map(|token| token.split('.').skip(1)).collect();
    for (what, text) in [("an answer", &seen), ("the log", &log), ("the database", &stored)] {
        for secret in [hub::API_TOKEN, HUB_SAYS].into_iter().chain(parts.iter().copied()) {
            assert!(!text.contains(secret), "{secret} is in {what}");
        }
    }
    let shown = format!("{log}{seen}").to_lowercase();
    for email in ["asker@example.com", "owner@hub.example", "guest@syfthub.org"] {
        assert!(!shown.contains(email), "{email}");
    }
}
