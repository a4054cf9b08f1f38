//! What goes wrong at a hub, told apart by whether repeating can help.

use std::time::Duration;

use serde_json::json;
use syft_endpoints::{
    domain::Marketplace,
    error::UpstreamError,
    hub::{HubError, Registration},
    upstream::{Config, PrivateAddresses},
};
use tokio::time::Instant;

use super::{account, client, fault, publication, rejected, session, unavailable};
use crate::support::hub::{self, Fault, Trouble};

const HTML: &str = "<html><body>hub-says-4719</body></html>";

/// Asks whether something is listed, which is made twice if that may help.
async fn ask(hub: &hub::Hub) -> HubError {
    client().is_listed(&account(hub), "papers").await.unwrap_err()
}

#[tokio::test]
async fn what_may_pass_is_unavailable_and_tried_twice() {
    let hub = hub::Hub::start().await;
    for (status, body, reason, said) in [
        (500, r#"{"detail": "no luck"}"#, "it failed", Some("no luck")),
        (502, HTML, "it failed", None),
        (503, "", "it failed", None),
        (408, "", "it failed", None),
        (429, r#"{"detail": "slowly"}"#, "it is rate limited", Some("slowly")),
    ] {
        hub.forget_received();
        hub.fail("exists", fault(status, body));
        let error = ask(&hub).await;
        assert_eq!((unavailable(&error), error.status, error.said.as_deref()), (reason, Some(status), said));
        assert_eq!(hub.calls("exists"), 2, "{status}");
    }
    hub.recover();
    hub.fail_next("exists", 1, fault(500, HTML));
    assert!(!client().is_listed(&account(&hub), "papers").await.unwrap());
}

#[tokio::test]
async fn what_will_not_pass_is_rejected_and_tried_once() {
    let hub = hub::Hub::start().await;
    for (status, body, reason, said) in [
        (400, r#"{"detail": "bad"}"#, "it refused the request", Some("bad")),
        (401, r#"{"detail": "who?"}"#, "its credential was refused", Some("who?")),
        (403, r#"{"detail": "no"}"#, "its credential was refused", Some("no")),
        (404, HTML, "it does not know what was asked for", None),
        (409, r#"{"detail": "taken"}"#, "it refused the request", Some("taken")),
        (422, r#"{"detail": [{"loc": ["body", "x"], "msg": "y"}]}"#, "it refused the request", Some("x: y")),
    ] {
        hub.forget_received();
        hub.fail("exists", fault(status, body));
        let error = ask(&hub).await;
        assert_eq!((rejected(&error), error.status, error.said.as_deref()), (reason, Some(status), said));
        assert_eq!(hub.calls("exists"), 1, "{status}");
    }
}

#[tokio::test]
async fn a_refusal_that_quotes_a_long_request_is_read() {
    let hub = hub::Hub::start().await;
    let found =
        json!({"loc": ["body", "name"], "msg": "Field required", "input": {"readme": "é".repeat(50_000)}});
    hub.fail("publish", fault(422, &json!({ "detail": [found] }).to_string()));
    let error = client().publish(&account(&hub), &publication("papers")).await.unwrap_err();
    assert_eq!(error.said.as_deref(), Some("name: Field required"));
    assert!(!format!("{error:?}").contains('é'));
}

#[tokio::test]
async fn patience_that_is_asked_for_is_passed_on_or_had() {
    let hub = hub::Hub::start().await;
    let slowly = |headers| Fault { status: 429, headers, body: String::new() };
    // Whoever waited nine of ten seconds would hardly be told.
    for (asked, seconds) in [([("retry-after", "30")], 30), ([("retry-after", "9")], 9)] {
        hub.forget_received();
        hub.fail("exists", slowly(Box::leak(Box::new(asked))));
        let error = ask(&hub).await;
        assert_eq!((unavailable(&error), hub.calls("exists")), ("it is rate limited", 1));
        let UpstreamError::Unavailable { retry_after, .. } = error.fault else { panic!("{error:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(seconds)));
    }
    hub.recover();
    hub.fail_next("exists", 1, slowly(&[("retry-after", "1")]));
    let begun = Instant::now();
    assert!(!client().is_listed(&account(&hub), "papers").await.unwrap());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_no_answer() {
    let hub = hub::Hub::start().await;
    for (route, body) in
        [("exists", HTML), ("exists", "\"true\""), ("exists", ""), ("list", "{}"), ("list", "[7]")]
    {
        hub.fail(route, fault(200, body));
        let error = match route {
            "exists" => ask(&hub).await,
            _ => client().listed(&account(&hub)).await.unwrap_err(),
        };
        assert_eq!((unavailable(&error), error.status), ("its answer cannot be read", Some(200)), "{body}");
        assert_eq!(error.said, None, "{body}");
        assert!(!format!("{error:?}").contains("4719"), "{error:?}");
    }
    hub.recover();
    for (trouble, reason) in
        [(Trouble::Half, "its answer cannot be read"), (Trouble::Cut, "its answer broke off")]
    {
        hub.trouble("list", 1, trouble);
        let error = client().listed(&account(&hub)).await.unwrap_err();
        assert_eq!((unavailable(&error), error.status), (reason, Some(200)));
    }
    hub.fail("exists", fault(200, &format!("\"{}\"", "x".repeat(2 << 20))));
    assert_eq!(unavailable(&ask(&hub).await), "its answer is too large");
}

#[tokio::test]
async fn a_hub_that_cannot_be_reached_is_unavailable() {
    let hub = hub::Hub::start().await;
    let mut account = account(&hub);
    hub.die().await;
    for url in [hub.url(), "http://no-such-host.invalid".to_owned()] {
        account.url = url;
        let error = client().is_listed(&account, "papers").await.unwrap_err();
        assert_eq!((unavailable(&error), error.status), ("it cannot be reached", None));
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_tried_again() {
    let hub = hub::Hub::start().await;
    hub.trouble("exists", 1, Trouble::Vanish);
    assert!(!client().is_listed(&account(&hub), "papers").await.unwrap());
    hub.trouble("exists", 2, Trouble::Vanish);
    assert_eq!(unavailable(&ask(&hub).await), "it cannot be reached");
    assert_eq!(hub.calls("exists"), 4);
}

/// Ten seconds of a clock that stands still until both wait.
#[tokio::test]
async fn a_slow_hub_is_waited_for_ten_seconds_in_all() {
    for route in ["login", "exists"] {
        let hub = hub::Hub::start().await;
        let account = session(&hub);
        hub.hold_route(route);
        let (client, begun) = (client(), Instant::now());
        let asked = client.is_listed(&account, "papers");
        let stop_the_clock = async {
            eventually_asked(&hub, route).await;
            tokio::time::pause();
        };
        let (answer, ()) = tokio::join!(asked, stop_the_clock);
        assert_eq!(unavailable(&answer.unwrap_err()), "it did not answer in time");
        let waited = begun.elapsed().as_secs_f64();
        assert!((9.9..11.0).contains(&waited), "{route}: {waited} s");
        tokio::time::resume();
    }
}

/// The login takes six of the ten.
#[tokio::test]
async fn what_a_call_is_made_with_counts_too() {
    let (hub, client, begun) = (hub::Hub::start().await, client(), Instant::now());
    let account = session(&hub);
    hub.hold_route("login");
    let spend_the_time = async {
        eventually_asked(&hub, "login").await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(6)).await;
        tokio::time::resume();
        hub.release();
        hub.hold_route("exists");
        eventually_asked(&hub, "exists").await;
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(client.is_listed(&account, "papers"), spend_the_time);
    assert_eq!(unavailable(&answer.unwrap_err()), "it did not answer in time");
    let waited = begun.elapsed().as_secs_f64();
    assert!((9.9..11.0).contains(&waited), "{waited} s");
}

async fn eventually_asked(hub: &hub::Hub, route: &'static str) {
    let mut count = hub.watch();
    while hub.calls(route) == 0 {
        count.changed().await.unwrap();
    }
}

/// Each would do something twice, or spoil what it is made with.
#[tokio::test]
async fn what_must_not_be_repeated_is_sent_once() {
    let (hub, client) = (hub::Hub::start().await, client());
    let (url, new) = (hub.url(), registration());
    for trouble in [Trouble::Answer(fault(500, "")), Trouble::Vanish] {
        hub.forget_received();
        for route in ["register", "verify-otp", "resend-otp", "login"] {
            hub.trouble(route, 2, trouble.clone());
        }
        let failed = [
            client.register(&url, &new).await.map(|_| ()),
            client.verify_otp(&url, &new.email, "123456").await.map(|_| ()),
            client.resend_otp(&url, &new.email).await,
            client.is_listed(&session(&hub), "papers").await.map(|_| ()),
        ];
        for (route, failed) in ["register", "verify-otp", "resend-otp", "login"].into_iter().zip(failed) {
            unavailable(&failed.unwrap_err());
            assert_eq!(hub.calls(route), 1, "{route}");
        }
        hub.recover();
    }
}

fn registration() -> Registration {
    Registration {
        username: "newcomer".to_owned(),
        email: "newcomer@hub.example".to_owned(),
        full_name: "New Comer".to_owned(),
        password: "letters-and-1".into(),
    }
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_address_is_called_that_may_not_be() {
    let (hub, elsewhere) = (hub::Hub::start().await, hub::Hub::start().await);
    let to: &'static str = Box::leak(format!("{}/api/v1/endpoints/papers/exists", elsewhere.url()).into());
    let headers: &'static [(&str, &str)] = Box::leak(Box::new([("location", to)]));
    hub.fail("exists", Fault { status: 307, headers, body: String::new() });
    assert_eq!(rejected(&ask(&hub).await), "it answered with a redirect");
    assert_eq!(elsewhere.received().len(), 0);
    let guarded = Config { private_addresses: PrivateAddresses::Refuse, ..Config::default() };
    let guarded = syft_endpoints::hub::Hub::new(&guarded).unwrap();
    let error = guarded.is_listed(&account(&elsewhere), "papers").await.unwrap_err();
    assert_eq!(rejected(&error), "its address is not allowed");
    let odd = Marketplace { url: "ftp://hub.example".to_owned(), ..account(&hub) };
    assert_eq!(
        rejected(&guarded.is_listed(&odd, "papers").await.unwrap_err()),
        "its URL must begin with http:// or https://"
    );
    assert_eq!(elsewhere.received().len(), 0);
}
