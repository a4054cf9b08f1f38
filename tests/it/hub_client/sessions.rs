//! A password is turned into a session once, and the session lasts.

use futures_util::future::join_all;
use syft_endpoints::{
    domain::{Credential, Marketplace},
    error::UpstreamError,
    hub::{Hub, HubError, Verdict},
};

use super::{account, client, entered_with, fault, rejected, session, unavailable};
use crate::support::hub::{self, PASSWORD, Trouble};

/// Twenty at once, from clones of one client.
async fn twenty(client: &Hub, account: &Marketplace) -> Vec<Result<bool, HubError>> {
    join_all((0..20).map(|_| async { client.clone().is_listed(account, "papers").await })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_first_log_in_once() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    hub.hold_route("login");
    let (answers, ()) = tokio::join!(twenty(&client, &account), async {
        hub.watch().wait_for(|count| *count == 1).await.unwrap();
        hub.release();
    });
    assert!(answers.iter().all(|answer| matches!(answer, Ok(false))), "{answers:?}");
    assert_eq!((hub.calls("login"), hub.calls("exists")), (1, 20));
    assert_eq!(hub.bodies("login"), ["username=spaceowner&password=canary+%26+Pass%2Fword-4720"]);
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_is_refreshed_and_the_call_made_again() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    for refreshes in 0..3 {
        assert!(!client.is_listed(&account, "papers").await.unwrap());
        assert_eq!((hub.calls("login"), hub.calls("refresh")), (1, refreshes));
        hub.expire_access_tokens();
    }
    // Each refresh token works once.
    let bodies = hub.bodies("refresh");
    assert!(bodies[0]["refresh_token"].is_string() && bodies[0] != bodies[1], "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refreshes_for_all() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    for refreshes in 1..=5 {
        hub.expire_access_tokens();
        let answers = twenty(&client, &account).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!((hub.calls("login"), hub.calls("refresh")), (1, refreshes));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_refresh_is_refused_one_logs_in_for_all() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    hub.expire_access_tokens();
    hub.revoke_refresh_tokens();
    let answers = twenty(&client, &account).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((hub.calls("login"), hub.calls("refresh")), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_refused_is_tried_once_for_all() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    hub.set_password(hub::OWNER, "another-1");
    hub.expire_access_tokens();
    hub.revoke_refresh_tokens();
    for error in twenty(&client, &account).await.into_iter().map(Result::unwrap_err) {
        assert_eq!((rejected(&error), error.status), ("its credential was refused", Some(401)));
        assert_eq!(error.said.as_deref(), Some("Incorrect username or password"));
    }
    assert_eq!((hub.calls("login"), hub.calls("refresh")), (2, 1));
    // Hubs count logins: whoever comes right afterwards is told the same.
    client.is_listed(&account, "papers").await.unwrap_err();
    assert_eq!(hub.calls("login"), 2);
    // A corrected one is another session.
    let corrected = Marketplace { credential: Some(Credential::Password("another-1".into())), ..account };
    client.is_listed(&corrected, "papers").await.unwrap();
}

#[tokio::test]
async fn what_is_refused_with_a_fresh_session_is_refused() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.fail("exists", fault(401, r#"{"detail": "go away"}"#));
    let error = client.is_listed(&session(&hub), "papers").await.unwrap_err();
    assert_eq!((rejected(&error), error.said.as_deref()), ("its credential was refused", Some("go away")));
    assert_eq!((hub.calls("exists"), hub.calls("login"), hub.calls("refresh")), (2, 1, 1));
}

#[tokio::test]
async fn an_address_that_is_not_proved_is_the_owners_affair() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.fail(
        "login",
        fault(403, r#"{"detail": {"code": "EMAIL_NOT_VERIFIED", "message": "Please verify"}}"#),
    );
    let error = client.is_listed(&session(&hub), "papers").await.unwrap_err();
    assert_eq!((rejected(&error), error.status), ("its credential was refused", Some(403)));
    assert_eq!(
        (error.code.as_deref(), error.said.as_deref()),
        (Some("EMAIL_NOT_VERIFIED"), Some("Please verify"))
    );
}

#[tokio::test]
async fn a_refresh_that_fails_is_no_refusal() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    hub.expire_access_tokens();
    hub.fail("refresh", fault(503, ""));
    let error = client.is_listed(&account, "papers").await.unwrap_err();
    assert_eq!(unavailable(&error), "it failed");
    assert_eq!((hub.calls("login"), hub.calls("refresh")), (1, 1), "a refresh is sent once");
    hub.recover();
    client.is_listed(&account, "papers").await.unwrap();
    assert_eq!((hub.calls("login"), hub.calls("refresh")), (1, 2));
}

/// The token has been used, and nobody knows the next one.
#[tokio::test]
async fn a_refresh_whose_answer_is_lost_costs_a_login() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    hub.expire_access_tokens();
    hub.trouble("refresh", 1, Trouble::Vanish);
    let error = client.is_listed(&account, "papers").await.unwrap_err();
    assert_eq!(unavailable(&error), "it cannot be reached");
    hub.expire_access_tokens();
    client.is_listed(&account, "papers").await.unwrap();
    assert_eq!((hub.calls("login"), hub.calls("refresh")), (2, 2));
}

/// Whoever goes away in the middle leaves the others no worse.
#[tokio::test]
async fn a_login_that_is_abandoned_is_made_by_the_next() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    hub.hold_route("login");
    let mut count = hub.watch();
    tokio::select! {
        _ = client.is_listed(&account, "papers") => panic!("it was held"),
        _ = count.wait_for(|count| *count == 1) => {}
    }
    hub.release();
    client.is_listed(&account, "papers").await.unwrap();
    assert_eq!(hub.calls("login"), 2);
}

#[tokio::test]
async fn sessions_are_of_a_marketplace_and_a_credential() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.add_account("other", "other@hub.example", PASSWORD);
    let mut account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    // Everything else about it may change.
    account.updated_at += time::Duration::HOUR;
    account.is_default = false;
    client.clone().is_listed(&account, "papers").await.unwrap();
    assert_eq!(hub.calls("login"), 1);
    client.is_listed(&session(&hub), "papers").await.unwrap();
    assert_eq!(hub.calls("login"), 2, "another marketplace");
    let other = Marketplace { username: "other".to_owned(), ..account };
    assert_eq!(client.profile(&other).await.unwrap().username, "other");
    assert_eq!(hub.calls("login"), 3, "another account");
}

#[tokio::test]
async fn callers_are_identified_in_the_same_session() {
    let (hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    assert_eq!(client.profile(&account).await.unwrap().email, hub::OWNER_EMAIL);
    hub.expire_access_tokens();
    let verdict = client.verify(&account, &hub::token("2")).await.unwrap();
    assert_eq!(verdict, Verdict::Good { email: "Asker@example.com".to_owned(), guest: false });
    assert!(!client.keys(&account).await.unwrap().keys.is_empty());
    assert_eq!((hub.calls("login"), hub.calls("refresh"), hub.calls("verify")), (1, 1, 2));
}

#[tokio::test]
async fn an_api_token_is_no_session() {
    let (hub, client) = (hub::Hub::start().await, client());
    client.is_listed(&account(&hub), "papers").await.unwrap();
    let wrong = entered_with(&hub, Credential::ApiToken("syft_pat_wrong".into()));
    let error = client.is_listed(&wrong, "papers").await.unwrap_err();
    assert_eq!(rejected(&error), "its credential was refused");
    let lost = Marketplace { credential: None, ..wrong };
    let fault = client.profile(&lost).await.unwrap_err();
    assert!(matches!(fault, UpstreamError::Rejected { reason: "its credential is lost", .. }), "{fault:?}");
    assert_eq!((hub.calls("exists"), hub.calls("login"), hub.calls("me")), (2, 0, 0));
}

/// A hub that comes back elsewhere, or with another key, knows its sessions still.
#[tokio::test]
async fn a_session_outlives_a_restart_of_the_hub() {
    let (mut hub, client) = (hub::Hub::start().await, client());
    let account = session(&hub);
    client.is_listed(&account, "papers").await.unwrap();
    let old = client.keys(&account).await.unwrap().keys.remove(0).modulus;
    hub.restart(1).await;
    client.is_listed(&account, "papers").await.unwrap();
    assert_ne!(client.keys(&account).await.unwrap().keys.remove(0).modulus, old);
    assert_eq!((hub.calls("login"), hub.calls("refresh")), (1, 0));
    hub.restart_elsewhere(2).await;
    let moved = Marketplace { url: hub.url(), ..account };
    client.is_listed(&moved, "papers").await.unwrap();
    assert_eq!(hub.calls("login"), 2, "what is at another address is another hub");
}
