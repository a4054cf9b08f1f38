//! Accounts are made, proved and entered.

use syft_endpoints::{
    domain::Credential,
    hub::{Registered, Registration},
};

use super::{client, fault, rejected};
use crate::support::hub::{self, API_TOKEN, OWNER, OWNER_EMAIL, PASSWORD};

fn registration(username: &str, email: &str) -> Registration {
    Registration {
        username: username.to_owned(),
        email: email.to_owned(),
        full_name: "New Comer".to_owned(),
        password: "letters & 1".into(),
    }
}

#[tokio::test]
async fn an_account_is_made_at_once_where_no_proof_is_asked_for() {
    let (hub, client) = (hub::Hub::start().await, client());
    let new = registration("Newcomer", "newcomer@hub.example");
    let Registered::Done(profile) = client.register(&hub.url(), &new).await.unwrap() else {
        panic!("unproved")
    };
    assert_eq!((profile.username.as_str(), profile.email.as_str()), ("newcomer", "newcomer@hub.example"));
    let entered = client.enter(&hub.url(), "newcomer", &Credential::Password(new.password)).await.unwrap();
    assert_eq!(entered.email, profile.email);
}

#[tokio::test]
async fn an_account_is_proved_by_the_code_that_was_sent_last() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.ask_for_proof(true);
    let new = registration("newcomer", "newcomer@hub.example");
    assert!(matches!(client.register(&hub.url(), &new).await.unwrap(), Registered::Unproved));
    let password = Credential::Password(new.password);
    let error = client.enter(&hub.url(), "newcomer", &password).await.unwrap_err();
    assert_eq!(
        (rejected(&error), error.code.as_deref()),
        ("its credential was refused", Some("EMAIL_NOT_VERIFIED"))
    );
    let old = hub.otp(&new.email).unwrap();
    client.resend_otp(&hub.url(), &new.email).await.unwrap();
    let error = client.verify_otp(&hub.url(), &new.email, &old).await.unwrap_err();
    assert_eq!((rejected(&error), error.code.as_deref()), ("it refused the request", Some("INVALID_OTP")));
    assert_eq!(error.said.as_deref(), Some("Invalid or expired code"));
    let code = hub.otp(&new.email).unwrap();
    assert_eq!(client.verify_otp(&hub.url(), &new.email, &code).await.unwrap().username, "newcomer");
    client.enter(&hub.url(), "newcomer", &password).await.unwrap();
    rejected(&client.verify_otp(&hub.url(), &new.email, &code).await.unwrap_err());
}

#[tokio::test]
async fn a_name_that_is_taken_is_varied_and_an_address_that_is_taken_is_refused() {
    let (hub, client) = (hub::Hub::start().await, client());
    let varied = client.register(&hub.url(), &registration(OWNER, "newcomer@hub.example")).await.unwrap();
    assert!(matches!(varied, Registered::Done(profile) if profile.username == format!("{OWNER}1")));
    let error = client.register(&hub.url(), &registration("another", OWNER_EMAIL)).await.unwrap_err();
    assert_eq!((rejected(&error), error.status), ("it refused the request", Some(409)));
    assert_eq!(error.said.as_deref(), Some("Email already registered"));
    let weak = Registration { password: "letters".into(), ..registration("xy", "nobody") };
    let error = client.register(&hub.url(), &weak).await.unwrap_err();
    let said = error.said.unwrap();
    for wrong in ["username: ", "email: ", "password: Password must have"] {
        assert!(said.contains(wrong), "{said}");
    }
    // FastAPI quotes what it was sent.
    assert!(!said.contains("4721"), "{said}");
}

#[tokio::test]
async fn an_account_is_entered_by_name_by_address_and_by_token() {
    let (hub, client) = (hub::Hub::start().await, client());
    let (password, api_token) =
        (Credential::Password(PASSWORD.into()), Credential::ApiToken(API_TOKEN.into()));
    for (name, credential) in [(OWNER, &password), ("OWNER@hub.example", &password), ("", &api_token)] {
        let profile = client.enter(&hub.url(), name, credential).await.unwrap();
        assert_eq!((profile.username.as_str(), profile.email.as_str()), (OWNER, OWNER_EMAIL));
    }
    for wrong in [Credential::Password("wrong-1".into()), Credential::ApiToken("wrong-1".into())] {
        let error = client.enter(&hub.url(), OWNER, &wrong).await.unwrap_err();
        assert_eq!((rejected(&error), error.status), ("its credential was refused", Some(401)));
    }
}

#[tokio::test]
async fn names_of_any_characters_are_looked_up() {
    let (hub, client) = (hub::Hub::start().await, client());
    for (username, free) in
        [(OWNER, false), ("SpaceOwner", false), ("newcomer", true), ("a/b?c=d#é +%2F", true)]
    {
        assert_eq!(client.is_username_free(&hub.url(), username).await.unwrap(), free, "{username}");
    }
    let last = hub.received().pop().unwrap();
    assert_eq!((last.method.as_str(), last.authorization.as_str()), ("GET", ""));
    assert_eq!(last.path, "/api/v1/users/check-username/a/b?c=d#é +%2F");
    assert_eq!(hub.calls("check-username"), 4);
}

/// Some hubs leave out whether they ask for proof.
#[tokio::test]
async fn whether_an_account_can_be_entered_is_read_from_what_is_said() {
    let (hub, client) = (hub::Hub::start().await, client());
    let user = r#""user": {"username": "a", "email": "a@b.c", "x": 1}"#;
    for (rest, done) in [
        (r#""access_token": "x""#, true),
        (r#""access_token": null"#, false),
        (r#""requires_email_verification": false"#, true),
        (r#""access_token": "x", "requires_email_verification": true"#, false),
    ] {
        hub.fail("register", fault(201, &format!("{{{user}, {rest}}}")));
        let registered = client.register(&hub.url(), &registration("aaa", "a@b.c")).await.unwrap();
        assert_eq!(matches!(registered, Registered::Done(_)), done, "{rest}");
    }
}
