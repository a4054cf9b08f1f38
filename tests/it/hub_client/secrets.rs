//! A hub that says again what it was told tells nobody a secret.

use std::sync::{Arc, Mutex};

use syft_endpoints::{
    domain::Credential,
    hub::{HubError, Liveness, Registration},
};

use super::{account, client, publication, session};
use crate::support::hub::{self, API_TOKEN, PASSWORD, ROUTES, Trouble};

/// Everything that a call is made with and nobody may read, as it is and as forms write it.
const SECRETS: [&str; 6] = [
    API_TOKEN,
    PASSWORD,
    "canary+%26+Pass%2Fword-4720",
    "access-canary-4722",
    "refresh-canary-4723",
    "code-4724",
];

fn check(what: &str, error: &HubError) {
    let said = error.said.as_ref().unwrap_or_else(|| panic!("{what}: the check sees nothing: {error:?}"));
    assert!(said.contains("you sent"), "{what}: {said}");
    let shown = format!("{error:?} {} {}", error.words(), error.fault);
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{what}: {secret} is in {shown}");
    }
}

#[tokio::test]
async fn what_the_hub_echoes_is_struck_out() {
    let (hub, client, url) = (hub::Hub::start().await, client(), String::new());
    let url = url + &hub.url();
    let (by_token, by_password) = (account(&hub), session(&hub));
    for account in [&by_token, &by_password] {
        // While it is entered still.
        client.is_listed(account, "papers").await.unwrap();
    }
    for status in [400, 403, 422, 500] {
        ROUTES.iter().for_each(|route| hub.trouble(route, usize::MAX, Trouble::Echo(status)));
        for account in [&by_token, &by_password] {
            let alive = [Liveness { slug: "papers".to_owned(), healthy: true }];
            check("exists", &client.is_listed(account, "papers").await.unwrap_err());
            check("list", &client.listed(account).await.unwrap_err());
            check("publish", &client.publish(account, &publication("papers")).await.unwrap_err());
            check("unpublish", &client.unpublish(account, "papers").await.unwrap_err());
            check("sync", &client.replace_all(account, &[]).await.unwrap_err());
            check("health", &client.report(account, &url, &alive, 30).await.unwrap_err());
            check("announce", &client.announce(account, &url).await.unwrap_err());
        }
        let (password, api_token) =
            (Credential::Password(PASSWORD.into()), Credential::ApiToken(API_TOKEN.into()));
        check("login", &client.enter(&url, hub::OWNER, &password).await.unwrap_err());
        check("me", &client.enter(&url, hub::OWNER, &api_token).await.unwrap_err());
        let new = Registration {
            username: "newcomer".to_owned(),
            email: "newcomer@hub.example".to_owned(),
            full_name: "New Comer".to_owned(),
            password: PASSWORD.into(),
        };
        check("register", &client.register(&url, &new).await.unwrap_err());
        check("otp", &client.verify_otp(&url, &new.email, "code-4724").await.unwrap_err());
    }
}

#[tokio::test]
async fn what_is_echoed_while_a_session_is_renewed_is_struck_out_too() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    hub.expire_access_tokens();
    hub.trouble("refresh", 1, Trouble::Echo(500));
    check("refresh", &client.is_listed(&account, "papers").await.unwrap_err());
    hub.revoke_refresh_tokens();
    hub.trouble("login", 1, Trouble::Echo(401));
    check("login", &client.is_listed(&account, "papers").await.unwrap_err());
}

/// Where the log of one thread goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_it_is_logged() {
    let (hub, client, log) = (hub::Hub::start().await, client(), Log::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let account = session(&hub);
    client.publish(&account, &publication("papers")).await.unwrap();
    hub.expire_access_tokens();
    client.enter(&hub.url(), hub::OWNER, account.credential.as_ref().unwrap()).await.unwrap();
    client.is_listed(&account, "papers").await.unwrap();
    for route in ["exists", "login", "verify-otp"] {
        hub.trouble(route, usize::MAX, Trouble::Echo(400));
    }
    client.is_listed(&account, "papers").await.unwrap_err();
    client.enter(&hub.url(), hub::OWNER, account.credential.as_ref().unwrap()).await.unwrap_err();
    client.verify_otp(&hub.url(), "newcomer@hub.example", "code-4724").await.unwrap_err();
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("127.0.0.1"), "nothing was logged: the check sees nothing");
    for secret in SECRETS.into_iter().chain(["you sent", "newcomer@hub.example"]) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
