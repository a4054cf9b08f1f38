//! Where hubs find this space.

use serde_json::json;
use syft_endpoints::proto::{GetPublicUrlRequest, SetPublicUrlRequest};
use tonic::Code;

use super::{bearer, by_token, connect, listed, space};
use crate::support::{
    database::Database,
    hub::{Fault, Hub},
    on_both,
    rest::Rest,
    space::Space,
};

const CONFIGURED: &str = "https://configured.example";
const CHOSEN: &str = "https://space.example:8443";

on_both! {
    async fn the_owners_word_counts_before_the_configurations(database: Database) {
        let space = Space::configured(database, &[("public_url", "https://configured.example/")]).await;
        let mut owner = space.admin().await;
        let rest = Rest::admin(&space);
        let get = async || rest.get("/api/v1/settings/public-url").await.expect(200)["public_url"].clone();
        assert_eq!(get().await, CONFIGURED);
        let set = SetPublicUrlRequest { public_url: format!("{CHOSEN}/") };
        let counts = owner.marketplaces.set_public_url(set).await.unwrap().into_inner();
        assert_eq!(counts.public_url, CHOSEN);
        assert_eq!(get().await, CHOSEN);
        for bad in ["ftp://x.org", "https://x.org/path", "https://u:p@x.org", "https://x.org?a", "x.org", "https://"] {
            let set = SetPublicUrlRequest { public_url: bad.to_owned() };
            let refused = owner.marketplaces.set_public_url(set).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
        }
        assert_eq!(get().await, CHOSEN);
        for nothing in [json!(null), json!("")] {
            let patch = async |url| rest.call("PATCH", "/api/v1/settings/public-url", Some(json!({"public_url": url}))).await.expect(200);
            assert_eq!(patch(json!(CHOSEN)).await, json!({"public_url": CHOSEN}));
            assert_eq!(patch(nothing).await, json!({"public_url": CONFIGURED}));
        }
        let unset = Space::start(space.stop().await).await;
        assert_eq!(Rest::admin(&unset).get("/api/v1/settings/public-url").await.expect(200), json!({"public_url": null}));
    }

    async fn a_hub_is_told_when_it_is_connected(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[("public_url", CONFIGURED)]).await;
        let mut owner = space.admin().await;
        connect(&mut owner, by_token()).await.unwrap();
        assert_eq!(hub.domain().as_deref(), Some(CONFIGURED));
        let root = space.store.tenant("root").await.unwrap().id;
        let stored = space.store.active_marketplaces(root).await.unwrap().remove(0);
        assert_eq!((stored.announced_url.as_deref(), stored.satellite_id), (Some(CONFIGURED), None));
    }

    async fn newer_hubs_give_the_space_a_name_that_tokens_are_for(database: Database) {
        let hub = Hub::start().await;
        hub.know_satellites(true);
        let space = space(database, &hub, &[("public_url", CONFIGURED)]).await;
        let mut owner = space.admin().await;
        let dataset = owner.dataset("docs").await;
        owner.endpoint("open", Some(&dataset), None).await;
        connect(&mut owner, by_token()).await.unwrap();
        let (id, url) = hub.satellites().remove(0);
        assert_eq!(url.trim_end_matches('/'), CONFIGURED);
        bearer(&space, &hub.mint("2", &id)).await.query("open").await.unwrap();
        // Connected again, it keeps its name.
        connect(&mut owner, by_token()).await.unwrap();
        assert_eq!(hub.satellites().len(), 1);
        bearer(&space, &hub.mint("3", &id)).await.query("open").await.unwrap();
    }

    async fn of_several_who_would_tell_a_hub_one_does(database: Database) {
        let hub = Hub::start().await;
        hub.know_satellites(true);
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let id = connect(&mut owner, by_token()).await.unwrap().id;
        assert!(hub.satellites().is_empty(), "it was told of no URL");
        let set = SetPublicUrlRequest { public_url: CHOSEN.to_owned() };
        owner.marketplaces.set_public_url(set).await.unwrap();
        let (lease, other) = (format!("announce/{id}"), uuid::Uuid::now_v7());
        space.store.acquire_lease(&lease, other, std::time::Duration::from_secs(600)).await.unwrap().unwrap();
        connect(&mut owner, by_token()).await.unwrap();
        assert_eq!(hub.calls("add-satellite"), 0, "two would have told it");
        space.store.release_lease(&lease, other).await.unwrap();
        for _ in 0..2 {
            connect(&mut owner, by_token()).await.unwrap();
            assert_eq!((hub.calls("add-satellite"), hub.calls("move-satellite")), (1, 0));
        }
    }

    async fn a_hub_that_cannot_be_told_is_connected_all_the_same(database: Database) {
        let hub = Hub::start().await;
        for route in ["add-satellite", "set-me"] {
            hub.fail(route, Fault { status: 500, headers: &[], body: String::new() });
        }
        let space = space(database, &hub, &[("public_url", CONFIGURED)]).await;
        let mut owner = space.admin().await;
        let connected = connect(&mut owner, by_token()).await.unwrap();
        assert_eq!(listed(&mut owner).await, [connected]);
        let root = space.store.tenant("root").await.unwrap().id;
        assert_eq!(space.store.active_marketplaces(root).await.unwrap()[0].announced_url, None);
        assert_eq!(owner.marketplaces.get_public_url(GetPublicUrlRequest {}).await.unwrap().into_inner().public_url, CONFIGURED);
    }
}
