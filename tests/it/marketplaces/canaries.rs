//! Of passwords, tokens and codes nothing is left in logs, answers or the database; of e-mail addresses and
//! what the hub says nothing in the log.

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use syft_endpoints::proto::{RegisterMarketplaceRequest, ResendOtpRequest, VerifyOtpRequest};

use super::{by_password, by_token, connect, delete, registration};
use crate::support::{
    database::Database,
    hub::{self, Fault, Hub, ROUTES, Trouble},
    on_both,
    process::Process,
    space::{ADMIN_KEY, Clients},
};

const WRONG: &str = "wrong-canary-4731";
const HUB_SAYS: &str = "hub-says-4719";

on_both! {
    async fn nothing_secret_is_left_anywhere(database: Database) {
        let hub = Hub::start().await;
        hub.ask_for_proof(true);
        let file = database.folder.path().join("config.toml");
        let settings = format!("public_url = \"https://s.example\"\n[hub]\ndefault_url = \"{}\"\n", hub.url());
        std::fs::write(&file, settings).unwrap();
        let mut process = Process::start(&database, &["--log-level", "trace", "--config", file.to_str().unwrap()]);
        let mut owner = process.admin().await;
        let mut seen = story(&hub, &mut owner).await;
        seen.push_str(&over_rest(&process).await);
        for expected in ["HUB_REJECTED", "HUB_UNAVAILABLE", "INVALID_REQUEST", hub::OWNER, HUB_SAYS] {
            assert!(seen.contains(expected), "no {expected}: the check sees nothing");
        }
        process.signal("-TERM");
        assert!(process.ended().await.success());
        let log = std::fs::read_to_string(&process.log).unwrap();
        assert!(log.contains("was not told where this space is"), "nothing was logged: the check sees nothing");
        let stored = dump(&database).await;
        assert!(stored.contains("$sealed") && stored.contains(hub::OWNER), "the check sees nothing: {stored}");
        let codes = sent_codes(&hub);
        assert!(!codes.is_empty());
        let secrets = [hub::API_TOKEN, hub::PASSWORD, WRONG, "access-canary-4722", "refresh-canary-4723"];
        for (what, text) in [("an answer", &seen), ("the log", &log), ("the database", &stored)] {
            for secret in secrets.into_iter().chain(codes.iter().map(String::as_str)) {
                assert!(!text.contains(secret), "{secret} is in {what}");
            }
        }
        let log = log.to_lowercase();
        for words in [HUB_SAYS, "owner@hub.example", "amy@example.org", "incorrect username"] {
            assert!(!log.contains(words), "{words} is in the log");
        }
    }
}

/// Everything that can be done with accounts, and what was answered.
async fn story(hub: &Hub, owner: &mut Clients) -> String {
    let mut seen = String::new();
    let mut see = |answer: &dyn std::fmt::Debug| seen.push_str(&format!("{answer:?}"));
    let password = || by_password(hub::OWNER_EMAIL, hub::PASSWORD);
    // The hub quotes what it was sent, or says something of its own.
    for route in ["login", "me"] {
        hub.trouble(route, 1, Trouble::Echo(401));
        see(&connect(owner, password()).await);
        for status in [400, 500] {
            let body = json!({"detail": HUB_SAYS}).to_string();
            hub.fail_next(route, 2, Fault { status, headers: &[], body });
            see(&connect(owner, password()).await);
            hub.recover();
        }
    }
    hub.trouble("me", 1, Trouble::Echo(401));
    see(&connect(owner, by_token()).await);
    see(&connect(owner, by_password(hub::OWNER, WRONG)).await);
    see(&connect(owner, by_password("", hub::PASSWORD)).await);
    let new = registration("amy", "amy@example.org");
    hub.trouble("register", 1, Trouble::Echo(422));
    see(&owner.marketplaces.register_marketplace(new.clone()).await);
    let bad = RegisterMarketplaceRequest { email: WRONG.to_owned(), url: WRONG.to_owned(), ..new.clone() };
    see(&owner.marketplaces.register_marketplace(bad).await);
    see(&owner.marketplaces.register_marketplace(new).await);
    let resend = ResendOtpRequest { email: "amy@example.org".to_owned(), url: String::new() };
    see(&owner.marketplaces.resend_otp(resend).await);
    let code = hub.otp("amy@example.org").unwrap();
    let (email, password_of) = ("amy@example.org".to_owned(), hub::PASSWORD.to_owned());
    let proof = VerifyOtpRequest { email, password: password_of, code, url: String::new() };
    hub.trouble("verify-otp", 1, Trouble::Echo(400));
    see(&owner.marketplaces.verify_otp(proof.clone()).await);
    hub.fail_next("set-me", 9, Fault { status: 500, headers: &[], body: HUB_SAYS.to_owned() });
    see(&owner.marketplaces.verify_otp(proof).await);
    hub.recover();
    let connected = connect(owner, by_token()).await;
    see(&connected);
    see(&delete(owner, &connected.unwrap().id).await);
    see(&connect(owner, password()).await);
    seen
}

/// What is wrong with requests over REST.
async fn over_rest(process: &Process) -> String {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut seen = String::new();
    let bodies = [
        json!({"username": WRONG, "password": WRONG, "api_token": WRONG}),
        json!({"username": {"a": WRONG}, "password": [WRONG], "api_token": 1, "url": WRONG}),
        Value::String(WRONG.to_owned()),
    ];
    for body in bodies {
        let request = http.post(format!("{}/api/v1/marketplaces/connect", process.server)).json(&body);
        let answer = request.bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        seen.push_str(&answer.text().await.unwrap());
    }
    seen
}

/// The codes that have been told to the hub.
fn sent_codes(hub: &Hub) -> Vec<String> {
    assert!(ROUTES.contains(&"verify-otp"));
    let sent = hub.bodies("verify-otp");
    sent.iter().map(|body| body["code"].as_str().unwrap().to_owned()).collect()
}

/// Every row of every table, as text.
async fn dump(database: &Database) -> String {
    let raw = database.raw().await;
    let backend = raw.get_database_backend();
    if backend == DbBackend::Sqlite {
        let path = database.url.strip_prefix("sqlite://").unwrap();
        let files = ["", "-wal"].map(|suffix| std::fs::read(format!("{path}{suffix}")).unwrap_or_default());
        return String::from_utf8_lossy(&files.concat()).into_owned();
    }
    let tables = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'";
    let tables = raw.query_all_raw(Statement::from_string(backend, tables)).await.unwrap();
    assert!(tables.len() > 8, "{}", tables.len());
    let mut text = String::new();
    for table in tables {
        let name: String = table.try_get("", "name").unwrap();
        let rows = format!("SELECT row_to_json(t)::text AS row FROM \"{name}\" t");
        for row in raw.query_all_raw(Statement::from_string(backend, rows)).await.unwrap() {
            text.push_str(&row.try_get::<String>("", "row").unwrap());
        }
    }
    text
}
