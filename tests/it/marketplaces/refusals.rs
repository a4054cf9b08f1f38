//! What is refused, and in which words.

use serde_json::{Value, json};
use syft_endpoints::proto::{ConnectMarketplaceRequest, RegisterMarketplaceRequest, ResendOtpRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{by_password, by_token, connect, delete, listed, registration, space};
use crate::support::{
    database::Database,
    hub::{self, Fault, Hub, Trouble},
    on_both,
    rest::Rest,
    space::{Space, reason},
};

const NOWHERE: &str = "http://127.0.0.1:9";

fn fault(status: u16) -> Fault {
    Fault { status, headers: &[], body: "<html>hub-says-4719</html>".to_owned() }
}

fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    bad.into_iter().map(|violation| format!("{} {}", violation.field, violation.reason)).collect()
}

on_both! {
    async fn a_hubs_refusal_is_the_owners_not_the_callers(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let refused = |status: Status, reason_is: &str, code: Code| {
            assert_eq!((status.code(), reason(&status).as_str()), (code, reason_is), "{status:?}");
        };
        let wrong = connect(&mut owner, by_password(hub::OWNER, "wrong-password-1")).await.unwrap_err();
        assert_eq!(wrong.message(), "The marketplace refuses: Incorrect username or password");
        refused(wrong, "HUB_REJECTED", Code::FailedPrecondition);
        let token = ConnectMarketplaceRequest { api_token: "syft_pat_wrong".to_owned(), ..Default::default() };
        refused(connect(&mut owner, token).await.unwrap_err(), "HUB_REJECTED", Code::FailedPrecondition);
        for trouble in [Trouble::Answer(fault(500)), Trouble::Cut, Trouble::Half, Trouble::Vanish] {
            hub.trouble("me", 9, trouble);
            let down = connect(&mut owner, by_token()).await.unwrap_err();
            assert!(!format!("{down:?}").contains("4719"), "{down:?}");
            refused(down, "HUB_UNAVAILABLE", Code::Unavailable);
            hub.recover();
        }
        let nowhere = ConnectMarketplaceRequest { url: NOWHERE.to_owned(), ..by_token() };
        refused(connect(&mut owner, nowhere).await.unwrap_err(), "HUB_UNAVAILABLE", Code::Unavailable);
        assert!(listed(&mut owner).await.is_empty(), "what cannot be entered is stored");
    }

    async fn nobody_learns_by_another_code_who_has_an_account(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let resend = || ResendOtpRequest { email: "amy@example.org".to_owned(), url: String::new() };
        for status in [400, 404, 409, 422] {
            hub.fail("resend-otp", fault(status));
            owner.marketplaces.resend_otp(resend()).await.unwrap();
        }
        hub.fail("resend-otp", fault(500));
        let down = owner.marketplaces.resend_otp(resend()).await.unwrap_err();
        assert_eq!(reason(&down), "HUB_UNAVAILABLE");
    }

    async fn what_the_configuration_names_is_changed_there(database: Database) {
        let hub = Hub::start().await;
        let url = hub.url();
        let settings = [("hub.url", url.as_str()), ("hub.username", hub::OWNER), ("hub.api_token", hub::API_TOKEN)];
        let space = space(database, &hub, &settings).await;
        let mut owner = space.admin().await;
        let known = listed(&mut owner).await.remove(0);
        assert!(known.is_configured);
        let refused = [
            delete(&mut owner, &known.id).await.unwrap_err(),
            connect(&mut owner, by_token()).await.unwrap_err(),
            owner.marketplaces.register_marketplace(registration("amy", "amy@example.org")).await.unwrap_err(),
        ];
        for status in refused {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "MARKETPLACE_CONFIGURED"));
        }
        assert_eq!(hub.calls("register"), 0, "an account was made for nothing");
        let rest = Rest::admin(&space);
        rest.call("DELETE", &format!("/api/v1/marketplaces/{}", known.id), None).await.expect(400);
        assert!(listed(&mut owner).await[0].is_active);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_violations_are_told_at_once() {
    let space = Space::sqlite().await;
    let mut owner = space.admin().await;
    let bad = RegisterMarketplaceRequest {
        name: "x".repeat(101),
        username: "a b".to_owned(),
        email: "nobody".to_owned(),
        password: "12345678".to_owned(),
        url: "ftp://hub.example".to_owned(),
    };
    let told = fields(&owner.marketplaces.register_marketplace(bad).await.unwrap_err());
    assert_eq!(
        told,
        ["name TOO_LONG", "username PATTERN", "email PATTERN", "password PATTERN", "url PATTERN"]
    );
    let told = fields(
        &owner.marketplaces.register_marketplace(RegisterMarketplaceRequest::default()).await.unwrap_err(),
    );
    assert_eq!(told, ["name MISSING", "username MISSING", "email MISSING", "password MISSING"]);
    let request = |change: fn(&mut ConnectMarketplaceRequest)| {
        let mut request = ConnectMarketplaceRequest { url: NOWHERE.to_owned(), ..Default::default() };
        change(&mut request);
        request
    };
    let cases: [(ConnectMarketplaceRequest, &[&str]); 7] = [
        (request(|_| {}), &["username MISSING", "password MISSING"]),
        (request(|new| new.username = "x".repeat(255)), &["username TOO_LONG", "password MISSING"]),
        (
            request(|new| (new.username, new.password) = ("a".into(), "x".repeat(1025))),
            &["password TOO_LONG"],
        ),
        (request(|new| (new.username, new.api_token) = ("a".into(), "t".into())), &["api_token ONE_OF"]),
        (request(|new| (new.password, new.api_token) = ("a".into(), "t".into())), &["api_token ONE_OF"]),
        (request(|new| new.api_token = "a\nb".into()), &["api_token PATTERN"]),
        (
            request(|new| (new.api_token, new.url) = ("t".into(), "https://u:p@hub.example".into())),
            &["url PATTERN"],
        ),
    ];
    for (request, expected) in cases {
        let told = connect(&mut owner, request).await.unwrap_err();
        assert_eq!(fields(&told), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_repeated_of_a_bad_request_holds_no_secret() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    let secret = "s3cret";
    let bad = [
        (
            "register",
            json!({"name": 1, "username": secret, "email": secret, "password": [secret], "url": secret}),
        ),
        (
            "register",
            json!({"name": "a", "username": "s3cret!", "email": "s3cret@x.org", "password": "s3cret", "url": "https://u:s3cret@x.org"}),
        ),
        (
            "verify-otp",
            json!({"email": "s3cret", "password": "s3cret-1", "code": "s3cret", "url": {"s3cret": 1}}),
        ),
        ("verify-otp", json!({"email": "s3cret@x.org", "password": "s3cret", "code": "12345678", "url": ""})),
        ("connect", json!({"username": "s3cret", "password": "s3cret", "api_token": "s3cret"})),
        ("connect", json!({"api_token": "s3cret s3cret"})),
        ("connect", json!({"username": ["s3cret"], "password": {"s3cret": 1}})),
        ("connect", json!("s3cret")),
        ("resend-otp", json!({"email": "s3cret"})),
    ];
    for (path, body) in bad {
        let told = rest.post(&format!("/api/v1/marketplaces/{path}"), body).await;
        assert_eq!(told.status, 422, "{path}: {}", told.text);
        assert!(!told.text.contains(secret) && !told.text.contains("12345678"), "{path}: {}", told.text);
    }
    let told = rest.get("/api/v1/marketplaces/check-username/ab?url=https://u:s3cret@x.org").await;
    let places: Vec<Value> =
        told.expect(422)["detail"].as_array().unwrap().iter().map(|one| one["loc"].clone()).collect();
    assert_eq!(places, [json!(["path", "username"]), json!(["query", "url"])]);
    assert!(!told.text.contains(secret), "{}", told.text);
    let url = json!({"public_url": "https://u:s3cret@x.org"});
    let told = rest.call("PATCH", "/api/v1/settings/public-url", Some(url)).await;
    assert!(told.status == 422 && !told.text.contains(secret), "{}", told.text);
}
