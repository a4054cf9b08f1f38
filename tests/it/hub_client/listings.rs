//! What an account lists is read whole, and replaced whole.

use serde_json::json;
use syft_endpoints::{domain::Marketplace, hub::Publication};

use super::{account, client, fault, publication, rejected, unavailable};
use crate::support::hub;

fn many(count: usize) -> Vec<Publication> {
    (0..count).map(|n| publication(&format!("papers-{n:03}"))).collect()
}

#[tokio::test]
async fn everything_is_read_page_by_page() {
    let (hub, client) = (hub::Hub::start().await, client());
    for (count, pages) in [(0, 1), (99, 1), (100, 2), (250, 3)] {
        hub.forget_received();
        for one in many(count) {
            hub.list(serde_json::to_value(one).unwrap());
        }
        let listed = client.listed(&account(&hub)).await.unwrap();
        assert_eq!((listed.len(), hub.calls("list")), (count, pages));
        assert!(hub.slugs().iter().all(|slug| listed[slug]["slug"] == slug.as_str()));
    }
    assert!(client.is_listed(&account(&hub), "papers-249").await.unwrap());
    assert!(!client.is_listed(&account(&hub), "papers-250").await.unwrap());
}

/// A readme may have 50000 characters, and a page a hundred of them.
#[tokio::test]
async fn long_readmes_are_read_too() {
    let (hub, client) = (hub::Hub::start().await, client());
    for one in many(50) {
        hub.list(serde_json::to_value(Publication { readme: "é".repeat(50_000), ..one }).unwrap());
    }
    assert_eq!(client.listed(&account(&hub)).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let (hub, client) = (hub::Hub::start().await, client());
    let page: Vec<_> = (0..100).map(|_| json!({"slug": "papers"})).collect();
    hub.fail("list", fault(200, &json!(page).to_string()));
    let error = client.listed(&account(&hub)).await.unwrap_err();
    assert_eq!((unavailable(&error), hub.calls("list")), ("it lists more than can be read", 100));
}

#[tokio::test]
async fn everything_is_replaced_or_nothing() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.list(serde_json::to_value(publication("of-another-space")).unwrap());
    let mut all = many(3);
    client.replace_all(&account(&hub), &all).await.unwrap();
    assert_eq!(hub.slugs(), ["papers-000", "papers-001", "papers-002"]);
    assert_eq!(hub.bodies("sync")[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["endpoints"]);
    all[1].slug = "api".to_owned();
    all[2].readme = "x".repeat(50_001);
    let error = client.replace_all(&account(&hub), &all).await.unwrap_err();
    assert_eq!((rejected(&error), error.status), ("it refused the request", Some(400)));
    assert_eq!(error.code.as_deref(), Some("VALIDATION_ERROR"));
    let said = error.said.unwrap();
    assert!(
        said.contains("1.slug: ") && said.contains("2.readme: String should have at most 50000"),
        "{said}"
    );
    let error = client.replace_all(&account(&hub), &many(101)).await.unwrap_err();
    assert!(error.said.unwrap().contains("at most 100 items"));
    assert_eq!(hub.slugs(), ["papers-000", "papers-001", "papers-002"]);
    hub.limit_sync(300);
    client.replace_all(&account(&hub), &many(300)).await.unwrap();
    client.replace_all(&account(&hub), &[]).await.unwrap();
    assert_eq!(hub.slugs().len(), 0);
}

#[tokio::test]
async fn with_satellites_only_our_part_is_replaced() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let (ours, other) = (hub.add_satellite("https://a.example"), hub.add_satellite("https://b.example"));
    let at = |id: Option<String>| Marketplace { satellite_id: id, ..account(&hub) };
    client.publish(&at(Some(ours.clone())), &publication("ours")).await.unwrap();
    client.publish(&at(Some(other.clone())), &publication("theirs")).await.unwrap();
    assert_eq!(hub.listed("ours").unwrap()["satellite_id"], ours);
    client.replace_all(&at(Some(ours)), &many(1)).await.unwrap();
    assert_eq!(hub.slugs(), ["papers-000", "theirs"]);
    // Whoever has several must say which.
    for error in [
        client.replace_all(&at(None), &many(1)).await.unwrap_err(),
        client.publish(&at(None), &publication("nobodys")).await.unwrap_err(),
    ] {
        assert_eq!((rejected(&error), error.status), ("it refused the request", Some(422)));
        assert_eq!(error.code.as_deref(), Some("SATELLITE_AMBIGUOUS"));
    }
}
