//! A hub that fails is not its callers' fault: whose it is, is told apart.

use std::time::Instant;

use tonic::Code;
use tonic_types::StatusExt;

use super::{bearer, space};
use crate::support::{
    database::Database,
    eventually,
    hub::{self, Fault, Hub},
    rest::{self, Rest},
    space::reason,
};

fn fault(status: u16, body: &str) -> Fault {
    Fault { status, headers: &[], body: body.to_owned() }
}

/// No body that can be read as what was asked for.
const UNREADABLE: [&str; 5] = ["", "<html>hub-says-4719</html>", "{\"keys\": [{\"kty\": \"R", "[]", "{}"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_had() {
    let weak = serde_json::json!({"keys": [{"kty": "RSA", "kid": hub::KEY_ID, "n": "AQAB", "e": "AQAB"}]});
    let mut faults = vec![
        ("HUB_UNAVAILABLE", fault(500, "hub-says-4719")),
        ("HUB_UNAVAILABLE", fault(503, "{\"detail\": \"hub-says-4719\"}")),
        ("HUB_UNAVAILABLE", fault(200, "{\"keys\": []}")),
        ("HUB_UNAVAILABLE", fault(200, &weak.to_string())),
        ("HUB_UNAVAILABLE", fault(200, &format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(2 << 20)))),
        ("HUB_REJECTED", fault(404, "hub-says-4719")),
        ("HUB_REJECTED", Fault { status: 302, headers: &[("location", "/elsewhere")], body: String::new() }),
    ];
    faults.extend(UNREADABLE.map(|body| ("HUB_UNAVAILABLE", fault(200, body))));
    futures_util::future::join_all(faults.into_iter().map(|(expected, fault)| no_keys(expected, fault)))
        .await;
}

async fn no_keys(expected: &str, fault: Fault) {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let what = format!("{} {:.40}", fault.status, fault.body);
    hub.fail("jwks", fault);
    let mut asker = bearer(&space, &hub::token("2")).await;
    let refused = asker.query("open").await.unwrap_err();
    assert_eq!(reason(&refused), expected, "{what}");
    assert!(!format!("{refused:?}").contains("4719"), "{refused:?}");
    hub.recover();
    eventually("the hub is asked again", async || asker.query("open").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_on_a_token_that_cannot_be_had() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let mut faults = vec![
        (Code::FailedPrecondition, "HUB_REJECTED", fault(401, "hub-says-4719")),
        (Code::FailedPrecondition, "HUB_REJECTED", fault(403, "{\"detail\": \"hub-says-4719\"}")),
        (Code::FailedPrecondition, "HUB_REJECTED", fault(404, "")),
        (
            Code::FailedPrecondition,
            "HUB_REJECTED",
            fault(200, r#"{"valid": false, "error": "audience_mismatch"}"#),
        ),
        (Code::Unavailable, "HUB_UNAVAILABLE", fault(500, "hub-says-4719")),
        (Code::Unavailable, "HUB_UNAVAILABLE", fault(503, "")),
        (Code::Unavailable, "HUB_UNAVAILABLE", fault(200, r#"{"valid": "true"}"#)),
        (
            Code::Unavailable,
            "HUB_UNAVAILABLE",
            fault(200, r#"{"valid": false, "error": "idp_not_configured"}"#),
        ),
        (Code::Unauthenticated, "UNAUTHENTICATED", fault(200, r#"{"valid": true, "sub": "2"}"#)),
        (Code::Unauthenticated, "UNAUTHENTICATED", fault(200, r#"{"valid": true, "email": ""}"#)),
        (Code::Unauthenticated, "UNAUTHENTICATED", fault(200, r#"{"valid": true, "email": "no address"}"#)),
        (Code::Unauthenticated, "UNAUTHENTICATED", fault(200, r#"{"valid": false}"#)),
        (
            Code::Unauthenticated,
            "UNAUTHENTICATED",
            fault(200, r#"{"valid": false, "error": "token_expired"}"#),
        ),
    ];
    faults.extend(UNREADABLE.map(|body| (Code::Unavailable, "HUB_UNAVAILABLE", fault(200, body))));
    for (code, expected, fault) in faults {
        let what = format!("{} {:.60}", fault.status, fault.body);
        hub.fail("verify", fault);
        let mut asker = bearer(&space, &hub::token("2")).await;
        let refused = asker.query("open").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, expected), "{what}");
        assert!(!format!("{refused:?}").contains("4719"), "{refused:?}");
        // What went wrong is not remembered.
        hub.recover();
        asker.query("open").await.unwrap_or_else(|status| panic!("{what}: {status:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_asks_for_patience_is_passed_on() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    hub.fail("verify", Fault { status: 429, headers: &[("retry-after", "30")], body: String::new() });
    let refused = bearer(&space, &hub::token("2")).await.query("open").await.unwrap_err();
    assert_eq!(reason(&refused), "HUB_UNAVAILABLE");
    assert_eq!(refused.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs(), 30);
    assert_eq!(hub.verifications(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_hangs_is_waited_for_ten_seconds() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let mut known = bearer(&space, &hub::token("2")).await;
    known.query("open").await.unwrap();
    hub.hold();
    // One waits for its word on a token, one for keys that it may have meanwhile.
    let mut fresh = bearer(&space, &hub::token("2")).await;
    let mut unknown = bearer(&space, &hub::signed(&hub::header(), &hub::claims("2"), 1)).await;
    let begun = Instant::now();
    let waiting = async { tokio::join!(fresh.query("open"), unknown.query("open")) };
    let meanwhile = async {
        eventually("both are asked about", async || hub.verifications() == 2 && hub.fetches() == 2).await;
        known.query("open").await.unwrap();
        begun.elapsed()
    };
    let ((fresh, unknown), meanwhile) = tokio::join!(waiting, meanwhile);
    let waited = begun.elapsed().as_secs_f64();
    assert!(meanwhile.as_secs_f64() < 9.0 && (9.0..15.0).contains(&waited), "{meanwhile:?}, {waited} s");
    for refused in [fresh.unwrap_err(), unknown.unwrap_err()] {
        assert_eq!(reason(&refused), "HUB_UNAVAILABLE", "{refused:?}");
    }
    hub.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_gone() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let mut known = bearer(&space, &hub::token("2")).await;
    known.query("open").await.unwrap();
    hub.die().await;
    known.query("open").await.unwrap();
    let mut owner = space.admin().await;
    owner.query("open").await.unwrap();
    for (sub, key, expected) in [
        // Only the hub knows whose it is.
        ("2", 0, "HUB_UNAVAILABLE"),
        // It may have a new key.
        ("2", 1, "HUB_UNAVAILABLE"),
    ] {
        let token = hub::signed(&hub::header(), &hub::claims(sub), key);
        let refused = bearer(&space, &token).await.query("open").await.unwrap_err();
        assert_eq!(reason(&refused), expected, "key {key}");
    }
    let mut old = hub::claims("2");
    old["exp"] = (hub::now() - 60).into();
    let refused =
        bearer(&space, &hub::signed(&hub::header(), &old, 0)).await.query("open").await.unwrap_err();
    assert_eq!(reason(&refused), "UNAUTHENTICATED", "what is old is old without the hub");
}

/// SyftHub repeats a 5xx and reads refusals from 403.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_rest_the_status_says_whose_fault_it_is() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let ask = async |slug: &str, sub: &str| {
        let credential = format!("Bearer {}", hub::token(sub));
        let rest = Rest::with(&space, &[("authorization", &credential)]);
        let answer = rest.query(slug, rest::question()).await;
        (answer.status, answer.json()["detail"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask("open", "2").await.0, 200);
    let guests = "Guests may query only endpoints without policies: sign in at the marketplace";
    assert_eq!(ask("guarded", "guest").await, (403, guests.to_owned()));
    for (status, body, expected, said) in [
        (401, "", 424, "The marketplace refuses this space: its credential was refused"),
        (500, "", 503, "The marketplace is unavailable: it failed"),
        (200, r#"{"valid": false}"#, 401, "A valid credential is required"),
    ] {
        hub.fail("verify", fault(status, body));
        assert_eq!(ask("open", "2").await, (expected, said.to_owned()));
    }
}

/// Whoever waits for the hub waits no longer than the client does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_does_not_wait_longer_than_it_wants() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    hub.hold();
    let (token, asked) = (format!("Bearer {}", hub::token("2")), Instant::now());
    let hurried = Rest::with(&space, &[("authorization", &token), ("grpc-timeout", "300m")]);
    hurried.query("open", rest::question()).await.expect(504);
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    hub.release();
    Rest::with(&space, &[("authorization", &token)]).query("open", rest::question()).await.expect(200);
}
