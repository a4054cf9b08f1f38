//! Publishing may be repeated, by anybody, and ends with what was to be listed.

use std::collections::HashMap;

use syft_endpoints::hub::Publication;

use super::{account, client, fault, publication, rejected, session, unavailable};
use crate::support::hub::{self, Trouble};

/// How often each route was called.
fn calls(hub: &hub::Hub) -> HashMap<&'static str, usize> {
    let mut calls = HashMap::new();
    for call in hub.received() {
        *calls.entry(call.route).or_default() += 1;
    }
    calls
}

fn changed(slug: &str) -> Publication {
    Publication { name: "Other papers".to_owned(), tags: Vec::new(), ..publication(slug) }
}

#[tokio::test]
async fn what_is_new_is_listed_with_every_field() {
    let (hub, client) = (hub::Hub::start().await, client());
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    assert_eq!(calls(&hub), [("exists", 1), ("publish", 1)].into());
    let listed = hub.listed("papers").unwrap();
    let sent = serde_json::to_value(publication("papers")).unwrap();
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(&listed[name], value, "{name}");
    }
    assert!(hub.received()[1].path.ends_with("/endpoints"), "no satellite is named");
}

#[tokio::test]
async fn what_is_there_is_changed_without_what_never_changes() {
    let (hub, client) = (hub::Hub::start().await, client());
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    let id = hub.listed("papers").unwrap()["id"].clone();
    hub.forget_received();
    client.publish(&account(&hub), &changed("papers")).await.unwrap();
    assert_eq!(calls(&hub), [("exists", 1), ("change", 1)].into());
    let sent = &hub.bodies("change")[0];
    assert!(sent.get("type").is_none() && sent.get("slug").is_none(), "{sent}");
    let listed = hub.listed("papers").unwrap();
    assert_eq!(
        (&listed["id"], listed["name"].as_str(), &listed["tags"]),
        (&id, Some("Other papers"), &sent["tags"])
    );
}

#[tokio::test]
async fn what_another_lists_first_is_changed() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.list(serde_json::to_value(publication("papers")).unwrap());
    hub.fail_next("exists", 1, fault(200, "false"));
    client.publish(&account(&hub), &changed("papers")).await.unwrap();
    assert_eq!(calls(&hub), [("exists", 1), ("publish", 1), ("change", 1)].into());
    assert_eq!(hub.listed("papers").unwrap()["name"], "Other papers");
}

#[tokio::test]
async fn what_another_takes_away_meanwhile_is_listed() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.fail_next("exists", 1, fault(200, "true"));
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    assert_eq!(calls(&hub), [("exists", 1), ("change", 1), ("publish", 1)].into());
    assert!(hub.listed("papers").is_some());
}

#[tokio::test]
async fn what_changes_its_type_is_listed_anew() {
    let (hub, client) = (hub::Hub::start().await, client());
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    hub.forget_received();
    let other = Publication { kind: "model_data_source", ..changed("papers") };
    client.publish(&account(&hub), &other).await.unwrap();
    assert_eq!(calls(&hub), [("exists", 1), ("change", 1), ("unpublish", 1), ("publish", 1)].into());
    let listed = hub.listed("papers").unwrap();
    assert_eq!(
        (listed["type"].as_str(), listed["name"].as_str()),
        (Some("model_data_source"), Some("Other papers"))
    );
    // One that was killed in the middle is finished by the next.
    hub.fail_next("publish", 2, fault(500, ""));
    unavailable(&client.publish(&account(&hub), &publication("papers")).await.unwrap_err());
    assert_eq!(hub.slugs().len(), 0);
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    assert_eq!(hub.listed("papers").unwrap()["type"], "model");
}

#[tokio::test]
async fn what_the_hub_did_before_its_answer_was_lost_is_found() {
    for trouble in [Trouble::Vanish, Trouble::Cut] {
        let (hub, client) = (hub::Hub::start().await, client());
        hub.trouble("publish", 1, trouble.clone());
        let published = client.publish(&account(&hub), &publication("papers")).await;
        // Only before the first byte may a call be made again.
        if matches!(trouble, Trouble::Cut) {
            assert_eq!(unavailable(&published.unwrap_err()), "its answer broke off");
            client.publish(&account(&hub), &publication("papers")).await.unwrap();
        } else {
            published.unwrap();
        }
        assert_eq!((hub.calls("change"), hub.slugs()), (1, vec!["papers".to_owned()]));
    }
}

#[tokio::test]
async fn what_the_hub_refuses_stays_refused() {
    let (hub, client) = (hub::Hub::start().await, client());
    for body in
        [r#"{"detail": "slug is bad"}"#, "already exists", r#"{"detail": {"code": "already exists"}}"#]
    {
        hub.fail_next("publish", 1, fault(400, body));
        let error = client.publish(&account(&hub), &publication("papers")).await.unwrap_err();
        assert_eq!((rejected(&error), error.status), ("it refused the request", Some(400)), "{body}");
    }
    assert_eq!(hub.calls("change"), 0);
    let long = Publication {
        description: "x".repeat(501),
        tags: vec!["Two words".to_owned()],
        ..publication("api")
    };
    let error = client.publish(&account(&hub), &long).await.unwrap_err();
    let said = error.said.as_ref().unwrap();
    for wrong in ["description: String should have at most 500 characters", "tags.0: ", "slug: "] {
        assert!(said.contains(wrong), "{said}");
    }
    assert!(error.words().starts_with("rejected the request: it refused the request: "), "{}", error.words());
}

/// One that says now this and now that is not argued with for ever.
#[tokio::test]
async fn a_hub_that_contradicts_itself_is_given_up() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.fail("publish", fault(400, r#"{"detail": "slug already exists"}"#));
    let error = client.publish(&account(&hub), &publication("papers")).await.unwrap_err();
    unavailable(&error);
    assert!(hub.received().len() <= 6, "{:?}", calls(&hub));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_publish_at_once_agree() {
    for round in 0..10 {
        let (hub, kinds) = (hub::Hub::start().await, ["model", "data_source"]);
        hub.list(serde_json::to_value(publication("papers")).unwrap());
        // Of one type at the end, whichever they found.
        let new = Publication { kind: kinds[round % 2], ..changed("papers") };
        // Who gives up against the others tells it again, as the outbox does.
        let one = async || {
            let mut told = client().publish(&session(&hub), &new).await;
            for _ in 0..8 {
                if !told.as_ref().is_err_and(|error| !error.is_final()) {
                    break;
                }
                told = client().publish(&session(&hub), &new).await;
            }
            told
        };
        let (first, second, third) = tokio::join!(one(), one(), one());
        for published in [first, second, third] {
            published.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
        let listed = hub.listed("papers").unwrap();
        assert_eq!(
            (listed["type"].as_str(), listed["name"].as_str()),
            (Some(new.kind), Some("Other papers"))
        );
    }
}

#[tokio::test]
async fn what_is_not_there_has_been_taken_away() {
    let (hub, client) = (hub::Hub::start().await, client());
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    for _ in 0..2 {
        client.unpublish(&account(&hub), "papers").await.unwrap();
        assert_eq!(hub.slugs().len(), 0);
    }
    // The answer is lost, and the second attempt finds nothing.
    client.publish(&account(&hub), &publication("papers")).await.unwrap();
    hub.trouble("unpublish", 1, Trouble::Vanish);
    client.unpublish(&account(&hub), "papers").await.unwrap();
    hub.fail_next("unpublish", 1, fault(200, "<html>a portal</html>"));
    let error = client.unpublish(&account(&hub), "papers").await.unwrap_err();
    assert_eq!(unavailable(&error), "its answer cannot be read");
    hub.fail("unpublish", fault(403, ""));
    assert_eq!(
        rejected(&client.unpublish(&account(&hub), "papers").await.unwrap_err()),
        "its credential was refused"
    );
}
