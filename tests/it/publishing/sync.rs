//! Marketplaces brought in line, without what is not ours, and replaced only on request.

use serde_json::json;
use syft_endpoints::proto::ListingState;

use super::*;
use crate::support::on_both;

/// A space with the endpoints `one`, `two` and `three` on its marketplace, where another space has `theirs`.
async fn three(database: Database, hub: &Hub, settings: &[(&'static str, &str)]) -> (Space, Clients) {
    let space = on(database, hub, settings).await;
    let mut owner = space.admin().await;
    let dataset = owner.dataset("law").await;
    hub.list(json!({"slug": "theirs", "name": "theirs", "type": "model"}));
    for slug in ["one", "two", "three"] {
        owner.endpoint(slug, Some(&dataset), None).await;
        published(&mut owner, slug).await;
    }
    hub.forget_received();
    (space, owner)
}

on_both! {
    async fn only_what_is_missing_or_differs_is_told(database: Database) {
        let hub = Hub::start().await;
        let (_space, mut owner) = three(database, &hub, &[]).await;
        let synced = sync(&mut owner, false).await;
        assert!(synced.success, "{synced:?}");
        assert_eq!((synced.slugs.len(), synced.published.len(), synced.removed.len()), (3, 0, 0));
        assert_eq!((hub.calls("publish"), hub.calls("change"), hub.calls("sync")), (0, 0, 0));

        hub.unlist("one");
        hub.list(json!({"slug": "two", "name": "changed by hand", "type": "data_source"}));
        let synced = sync(&mut owner, false).await;
        assert_eq!((synced.success, synced.published), (true, vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(shown(&hub, "two", "name").unwrap(), "two");
        assert_eq!(hub.slugs(), ["one", "theirs", "three", "two"], "what others list stays");
        assert_eq!(hub.calls("sync"), 0);
    }

    async fn everything_is_replaced_on_request(database: Database) {
        let hub = Hub::start().await;
        let (_space, mut owner) = three(database, &hub, &[]).await;
        let synced = sync(&mut owner, true).await;
        assert!(synced.success, "{synced:?}");
        assert_eq!(hub.slugs(), ["one", "three", "two"]);
        assert_eq!((hub.calls("sync"), hub.calls("publish")), (1, 0));
        // The hub has forgotten that they are alive, and is told at once.
        assert_eq!(hub.bodies("health").last().unwrap()["endpoints"].as_array().unwrap().len(), 3);
        for slug in ["one", "two", "three"] {
            assert_eq!(listing(&mut owner, slug).await.unwrap().state(), ListingState::Published);
        }
        // Nothing is listed any more: then everything goes, on request.
        for slug in ["one", "two", "three"] {
            unpublish(&mut owner, slug).await;
        }
        hub.list(json!({"slug": "theirs", "name": "theirs", "type": "model"}));
        assert!(sync(&mut owner, false).await.success);
        assert_eq!(hub.slugs(), ["theirs"]);
        assert!(sync(&mut owner, true).await.success);
        assert!(hub.slugs().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_hub_takes_is_refused_before_anything_is_sent() {
    let hub = Hub::start().await;
    let (_space, mut owner) = three(Database::sqlite(), &hub, &[("hub.max_sync_endpoints", "2")]).await;
    let synced = sync(&mut owner, true).await;
    assert!(!synced.success && synced.error.contains('2'), "{synced:?}");
    assert!(hub.received().is_empty(), "{:?}", hub.received());
    assert_eq!(hub.slugs().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_the_hub_would_refuse_is_named_before_anything_is_sent() {
    let hub = Hub::start().await;
    let (_space, mut owner) = three(Database::sqlite(), &hub, &[]).await;
    summarize(&mut owner, "two", &"x".repeat(501)).await;
    reaches(&mut owner, "two", ListingState::Failed).await;
    hub.forget_received();
    let synced = sync(&mut owner, true).await;
    assert!(
        !synced.success && synced.error.contains("two") && synced.error.contains("summary"),
        "{synced:?}"
    );
    assert!(hub.received().is_empty(), "{:?}", hub.received());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_fails_changes_nothing() {
    let hub = Hub::start().await;
    let (_space, mut owner) = three(Database::sqlite(), &hub, &[]).await;
    hub.limit_sync(2);
    let synced = sync(&mut owner, true).await;
    assert!(!synced.success && !synced.error.is_empty(), "{synced:?}");
    assert_eq!(hub.slugs().len(), 4);
    assert!(sync(&mut owner, false).await.success, "nobody holds a claim");
    published(&mut owner, "one").await;
}
