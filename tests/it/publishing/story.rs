//! The whole story, and what a call says of each marketplace.

use syft_endpoints::proto::{
    CheckSlugRequest, ConnectMarketplaceRequest, CreatePolicyRequest, DeleteEndpointRequest, ListingState,
    Policy, PublishEndpointRequest,
};
use tonic::Code;

use super::*;
use crate::support::{
    on_both,
    space::{reason, structure},
};

on_both! {
    async fn published_queried_edited_and_taken_away(database: Database) {
        let hub = Hub::start().await;
        let space = Space::configured(database, &[("public_url", PUBLIC_URL)]).await;
        let mut owner = space.admin().await;
        let dataset = owner.dataset("law").await;
        owner.endpoint("law", Some(&dataset), None).await;
        let account = ConnectMarketplaceRequest { url: hub.url(), username: hub::OWNER_EMAIL.to_owned(),
            password: hub::PASSWORD.to_owned(), ..Default::default() };
        let id = owner.marketplaces.connect_marketplace(account).await.unwrap().into_inner().marketplace.unwrap().id;
        let results = publish(&mut owner, "law").await;
        assert_eq!((results[0].success, results[0].marketplace_id.as_str()), (true, id.as_str()), "{results:?}");
        assert!(results[0].message.starts_with("Published successfully to"), "{results:?}");
        // Where the space is comes first, then the endpoint, then that it is alive.
        let order: Vec<&str> = hub.received().iter().map(|call| call.route).filter(|route| !["jwks", "me"].contains(route)).collect();
        assert_eq!(order, ["login", "login", "add-satellite", "set-me", "exists", "publish", "health"]);
        assert_eq!(hub.domain().unwrap(), PUBLIC_URL);
        assert!(hub.reports().last().unwrap().healthy);
        let found = endpoint(&mut owner, "law").await;
        assert_eq!((found.published_to, found.listings[0].state()), (vec![id], ListingState::Published));
        assert!(found.listings[0].healthy && found.listings[0].publish_time.is_some());

        let token = format!("Bearer {}", hub.mint("2", hub::OWNER));
        space.clients(&[("authorization", &token)]).await.query("law").await.unwrap();

        summarize(&mut owner, "law", "New words").await;
        learns(&hub, "law", "New words").await;
        let limit = Policy { name: "calm".to_owned(), policy_type: "rate_limit".to_owned(), endpoint_slug: "law".to_owned(),
            configuration: Some(structure(serde_json::json!({"limit": "5/m"}))), ..Policy::default() };
        owner.policies.create_policy(CreatePolicyRequest { policy: Some(limit) }).await.unwrap();
        eventually("the policy is shown", async || shown(&hub, "law", "policies").unwrap()[0]["config"]["limit"] == "5/m").await;
        assert_eq!(hub.calls("publish"), 1, "an edit makes nothing anew");

        let results = unpublish(&mut owner, "law").await;
        assert!(results[0].success, "{results:?}");
        assert!(hub.slugs().is_empty());
        let found = endpoint(&mut owner, "law").await;
        assert!(found.published_to.is_empty() && found.listings.is_empty() && found.published);
        assert!(unpublish(&mut owner, "law").await.is_empty());
        let synced = sync(&mut owner, false).await;
        assert_eq!((synced.success, synced.slugs), (true, vec![]));
    }

    async fn an_endpoint_that_is_deleted_disappears_there(database: Database) {
        let hub = Hub::start().await;
        let (_space, mut owner) = space(database, &hub, &[]).await;
        published(&mut owner, "law").await;
        owner.endpoints.delete_endpoint(DeleteEndpointRequest { slug: "law".to_owned() }).await.unwrap();
        eventually("it is gone", async || hub.slugs().is_empty()).await;
    }

    async fn newer_hubs_are_told_of_a_satellite_once(database: Database) {
        let hub = Hub::start().await;
        hub.know_satellites(true);
        let (space, mut owner) = space(database, &hub, &[]).await;
        let dataset = owner.datasets.get_dataset(syft_endpoints::proto::GetDatasetRequest { name: "law".to_owned() }).await.unwrap();
        owner.endpoint("more", dataset.into_inner().dataset.as_ref(), None).await;
        let (mut one, mut other) = (owner.clone(), owner.clone());
        tokio::join!(published(&mut one, "law"), published(&mut other, "more"));
        let satellites = hub.satellites();
        assert_eq!(satellites.len(), 1);
        assert_eq!(hub.calls("add-satellite"), 1);
        assert!(hub.received().iter().any(|call| call.route == "publish" && call.path.ends_with(&format!("satellite_id={}", satellites[0].0))));
        assert_eq!(hub.bodies("health").last().unwrap()["satellite_id"], satellites[0].0);
        // Tokens may be for it now.
        let token = format!("Bearer {}", hub.mint("2", &satellites[0].0));
        space.clients(&[("authorization", &token)]).await.query("law").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_published_is_said_before_anything_is_sent() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    let dataset = owner.dataset("other").await;
    let long = "a".repeat(64);
    for slug in ["health", long.as_str()] {
        owner.endpoint(slug, Some(&dataset), None).await;
        let result = publish(&mut owner, slug).await.remove(0);
        assert!(!result.success && !result.is_pending && result.error.contains("slug"), "{result:?}");
        assert!(listing(&mut owner, slug).await.is_none(), "nothing is wanted");
    }
    let tags: Vec<String> = (0..11).map(|n| format!("t{n}")).collect();
    let bad = Endpoint {
        slug: "law".to_owned(),
        name: "n".repeat(101),
        summary: "s".repeat(501),
        description: "d".repeat(50_001),
        tags,
        ..Endpoint::default()
    };
    for field in ["name", "summary", "description", "tags"] {
        change(&mut owner, bad.clone(), field).await;
    }
    let result = publish(&mut owner, "law").await.remove(0);
    for field in ["name", "summary", "description", "tags"] {
        assert!(result.error.contains(field), "{result:?}");
    }
    assert!(hub.received().iter().all(|call| ["me", "jwks"].contains(&call.route)), "{:?}", hub.received());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_name_what_is_there() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    let mut asked = async |request| owner.endpoints.publish_endpoint(request).await.unwrap_err();
    let none = asked(PublishEndpointRequest { slug: "law".to_owned(), ..Default::default() }).await;
    assert_eq!((none.code(), reason(&none).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let no_slug = asked(PublishEndpointRequest {
        slug: "none".to_owned(),
        all_marketplaces: true,
        ..Default::default()
    });
    assert_eq!(reason(&no_slug.await), "ENDPOINT_NOT_FOUND");
    let unknown = uuid::Uuid::now_v7().to_string();
    let unknown = PublishEndpointRequest {
        slug: "law".to_owned(),
        marketplace_ids: vec![unknown],
        ..Default::default()
    };
    assert_eq!(reason(&asked(unknown).await), "RESOURCE_NOT_FOUND");
    let bad = PublishEndpointRequest {
        slug: "law".to_owned(),
        marketplace_ids: vec!["x".to_owned()],
        ..Default::default()
    };
    assert_eq!(asked(bad).await.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_public_url_nothing_is_published_until_there_is_one() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[("public_url", "")]).await;
    let result = publish(&mut owner, "law").await.remove(0);
    assert!(!result.success && result.error.contains("public URL"), "{result:?}");
    assert_eq!(hub.calls("publish"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marketplaces_say_whether_a_slug_is_free() {
    let hub = Hub::start().await;
    let (space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    let (id, unknown) = (marketplace(&space).await, uuid::Uuid::now_v7().to_string());
    let mut asked = async |slug: &str, ids: &[&String]| {
        let ids = ids.iter().map(|id| (*id).clone()).collect();
        let request =
            CheckSlugRequest { slug: slug.to_owned(), marketplace_ids: ids, all_marketplaces: false };
        owner.endpoints.check_slug(request).await.unwrap().into_inner()
    };
    assert!(asked("free", &[]).await.marketplaces.is_empty());
    assert_eq!(asked("free", &[&id]).await.marketplaces[0].available, Some(true));
    hub.list(serde_json::json!({"slug": "taken", "name": "x", "type": "model"}));
    let answer = asked("taken", &[&unknown, &id]).await;
    assert!(answer.available);
    assert_eq!(answer.marketplaces[0].error, "Marketplace not found");
    assert_eq!((answer.marketplaces[0].available, answer.marketplaces[1].available), (None, Some(false)));
}
