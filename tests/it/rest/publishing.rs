//! Endpoints on marketplaces, over REST, in the words of the Python Space.

use serde_json::{Value, json};
use syft_endpoints::domain::MarketplaceId;

use super::settled;
use crate::support::{
    database::Database,
    hub::{Fault, Hub},
    on_both,
    rest::Rest,
    space::Space,
};

const NOBODYS: &str = "0197b9e4-0000-7000-8000-000000000000";

/// A space with the endpoint `law-qa` that is connected to some hubs.
struct Owner {
    space: Space,
    rest: Rest,
    /// Ids of its marketplaces.
    ids: Vec<String>,
}

impl Owner {
    async fn of(database: Database, hubs: &[&Hub]) -> Self {
        let space = Space::configured(database, &[("public_url", "https://space.example.org")]).await;
        let mut clients = space.admin().await;
        let dataset = clients.dataset("law").await;
        clients.endpoint("law-qa", Some(&dataset), None).await;
        let mut ids = Vec::new();
        let tenant = space.store.tenant("root").await.unwrap().id;
        for hub in hubs {
            let connected = space.store.connect_marketplace(tenant, hub.account()).await.unwrap();
            ids.push(connected.id.to_string());
        }
        Self { rest: Rest::admin(&space), space, ids }
    }

    async fn publish(&self, body: Value) -> Value {
        self.rest.post("/api/v1/endpoints/law-qa/publish", body).await.expect(200)
    }

    async fn slug(&self, body: Value) -> Value {
        let checked = self.rest.post("/api/v1/endpoints/validate-slug", body).await.expect(200);
        checked["marketplaces"].clone()
    }

    async fn sync(&self, body: Value) -> Value {
        self.rest.post("/api/v1/endpoints/sync", body).await.expect(200)["results"].clone()
    }
}

fn broken() -> Fault {
    Fault { status: 500, headers: &[("content-type", "text/html")], body: "<p>canary-4731</p>".to_owned() }
}

/// Without what differs from hub to hub: they are called what their address is.
fn nameless(value: Value, hubs: &[&Hub]) -> Value {
    let text = hubs.iter().enumerate().fold(value.to_string(), |text, (place, hub)| {
        text.replace(&hub.address.to_string(), &format!("hub {place}"))
    });
    settled(serde_json::from_str(&text).unwrap())
}

on_both! {
    async fn endpoints_are_published_shown_and_taken_off(database: Database) {
        let (one, two) = (Hub::start().await, Hub::start().await);
        let owner = Owner::of(database, &[&one, &two]).await;
        two.fail("publish", broken());
        let published = owner.publish(json!({"publish_to_all_marketplaces": "true", "marketplace_ids": [NOBODYS]})).await;
        assert_eq!(published["results"][0]["success"], json!(true), "{published}");
        assert_eq!(published["results"][1]["success"], json!(false), "{published}");
        assert!(!published.to_string().contains("canary"), "{published}");
        insta::assert_json_snapshot!("published", nameless(published, &[&one, &two]));
        assert_eq!((one.slugs(), two.slugs()), (vec!["law-qa".to_owned()], vec![]));
        let shown = owner.rest.get("/api/v1/endpoints/law-qa").await;
        let keys = ["\"id\"", "\"updated_at\"", "\"model\"", "\"dataset\"", "\"policies\"", "\"published_to\"", "\"listings\""];
        let places = keys.map(|key| shown.text.find(key).unwrap());
        assert!(places.is_sorted(), "new keys come last: {}", shown.text);
        let shown = shown.expect(200);
        assert_eq!(shown["published_to"], json!([owner.ids[0]]));
        insta::assert_json_snapshot!("listings", nameless(shown["listings"].clone(), &[&one, &two]));

        two.recover();
        let again = owner.publish(json!({"marketplace_ids": [owner.ids[1]]})).await;
        assert_eq!(again["results"].as_array().unwrap().len(), 1);
        assert_eq!((&again["results"][0]["success"], &again["results"][0]["error"]), (&json!(true), &Value::Null));
        let shown = owner.rest.get("/api/v1/endpoints/law-qa/").await.expect(200);
        assert_eq!(shown["published_to"], json!(owner.ids));
        assert_eq!((&shown["listings"][1]["state"], &shown["listings"][1]["last_error"]), (&json!("published"), &json!("")));

        let gone = owner.rest.call("DELETE", "/api/v1/endpoints/law-qa/unpublish", None).await.expect(200);
        insta::assert_json_snapshot!("unpublished", nameless(gone, &[&one, &two]));
        assert!(one.slugs().is_empty() && two.slugs().is_empty());
        let again = owner.rest.call("DELETE", "/api/v1/endpoints/law-qa/unpublish/", None).await.expect(400);
        assert_eq!(again, json!({"detail": "Endpoint is not published"}));
        let shown = owner.rest.get("/api/v1/endpoints/law-qa").await.expect(200);
        assert_eq!((&shown["published_to"], &shown["listings"], &shown["published"]), (&json!([]), &json!([]), &json!(true)));
    }

    async fn slugs_are_checked_where_they_are_to_be_used(database: Database) {
        let (one, two) = (Hub::start().await, Hub::start().await);
        let owner = Owner::of(database, &[&one, &two]).await;
        let [first, second] = [&owner.ids[0], &owner.ids[1]];
        assert_eq!(owner.slug(json!({"slug": "law-qa", "marketplace_ids": []})).await, Value::Null);
        assert_eq!(owner.slug(json!({"slug": "law-qa", "marketplace_ids": null, "check_all_marketplaces": 0})).await, Value::Null);
        assert_eq!(one.calls("exists"), 0, "nobody wanted it to be asked");
        owner.publish(json!({"marketplace_ids": [first]})).await;
        let told = |id: &str, available: Option<bool>, error: Option<&str>| {
            json!({"marketplace_id": id, "available": available, "error": error})
        };
        let everywhere = json!([told(first, Some(false), None), told(second, Some(true), None)]);
        assert_eq!(owner.slug(json!({"slug": "law-qa", "check_all_marketplaces": true, "marketplace_ids": [NOBODYS]})).await, everywhere);
        let upper = json!({"slug": "Law-QA", "check_all_marketplaces": true});
        let checked = owner.rest.post("/api/v1/endpoints/validate-slug", upper).await.expect(200);
        assert_eq!((&checked["slug"], &checked["local_available"]), (&json!("Law-QA"), &json!(true)), "taken as it is");
        assert_eq!(checked["marketplaces"], everywhere, "an endpoint of that slug would be `law-qa`");
        let named = owner.slug(json!({"slug": "law-qa", "marketplace_ids": [second, NOBODYS]})).await;
        assert_eq!(named, json!([told(NOBODYS, None, Some("Marketplace not found")), told(second, Some(true), None)]));

        // No endpoint can have it, so no marketplace is asked.
        let (asked, words) = (one.calls("exists"), "Slug must be at least 3 characters long");
        for unsaid in ["x", "", "-", "a--b", "../../me", "law-qa\n", "\u{0}"] {
            let checked = json!({"slug": unsaid, "check_all_marketplaces": true});
            let checked = owner.rest.post("/api/v1/endpoints/validate-slug", checked).await.expect(200);
            assert_eq!((&checked["slug"], &checked["local_available"]), (&json!(unsaid), &json!(true)));
            let told = checked["marketplaces"].as_array().unwrap();
            assert_eq!(told.len(), 2, "{checked}");
            for one in told {
                assert_eq!(one["available"], Value::Null, "{unsaid:?}: {one}");
                assert!(one["error"].as_str().unwrap().starts_with("Slug "), "{unsaid:?}: {one}");
            }
        }
        let named = owner.slug(json!({"slug": "x", "marketplace_ids": [NOBODYS, first]})).await;
        assert_eq!(named, json!([told(NOBODYS, None, Some("Marketplace not found")), told(first, None, Some(words))]));
        assert_eq!(one.calls("exists"), asked);

        two.die().await;
        let dead = owner.slug(json!({"slug": "free", "check_all_marketplaces": true})).await;
        assert_eq!(dead[0], told(first, Some(true), None), "one's fault is not the other's");
        assert_eq!(dead[1]["available"], Value::Null);
        assert!(!dead[1]["error"].as_str().unwrap().is_empty());
    }

    async fn marketplaces_are_brought_in_line_and_replaced_only_on_request(database: Database) {
        let (one, two) = (Hub::start().await, Hub::start().await);
        let owner = Owner::of(database, &[&one, &two]).await;
        owner.publish(json!({"publish_to_all_marketplaces": true})).await;
        let foreign = |slug: &str| json!({"name": slug, "slug": slug, "type": "model", "description": "another space's"});
        for hub in [&one, &two] {
            hub.list(foreign("foreign"));
            hub.list(foreign("law-qa"));
        }
        let synced = owner.sync(json!({})).await;
        insta::assert_json_snapshot!("synced", nameless(synced, &[&one, &two]));
        assert_eq!((one.slugs(), two.slugs()), (vec!["foreign".to_owned(), "law-qa".to_owned()], one.slugs()));
        assert_eq!(one.listed("law-qa").unwrap()["name"], "law-qa");
        assert_eq!((one.calls("sync"), two.calls("sync")), (0, 0), "the hub's own sync takes away what is not ours");

        let replaced = owner.sync(json!({"marketplace_ids": [owner.ids[1]], "replace_all": true})).await;
        assert_eq!(replaced[0]["slugs"], json!(["law-qa"]), "{replaced}");
        assert_eq!((one.slugs().len(), two.slugs()), (2, vec!["law-qa".to_owned()]), "only where it was asked for");
        two.fail("sync", Fault { status: 422, headers: &[], body: "{\"detail\": \"no\"}".to_owned() });
        let refused = owner.sync(json!({"marketplace_ids": [owner.ids[1]], "replace_all": true})).await;
        assert_eq!((&refused[0]["success"], &refused[0]["slugs"]), (&json!(false), &json!([])));
        assert!(refused[0]["error"].is_string(), "{refused}");
    }

    async fn refusals_have_the_python_spaces_words(database: Database) {
        let hub = Hub::start().await;
        let owner = Owner::of(database, &[&hub]).await;
        let rest = &owner.rest;
        let detail = |words: &str| json!({ "detail": words });
        let neither = detail("Either marketplace_ids or publish_to_all_marketplaces must be provided");
        for body in [json!({}), json!({"marketplace_ids": []}), json!({"marketplace_ids": null, "publish_to_all_marketplaces": "no"})] {
            assert_eq!(rest.post("/api/v1/endpoints/none/publish", body).await.expect(400), neither, "before the endpoint is looked for");
        }
        let body = json!({"marketplace_ids": [owner.ids[0], NOBODYS]});
        let lost = detail("Endpoint 'none' not found");
        assert_eq!(rest.post("/api/v1/endpoints/none/publish", body.clone()).await.expect(404), lost);
        assert_eq!(rest.call("DELETE", "/api/v1/endpoints/none/unpublish", None).await.expect(404), lost);
        let unknown = detail(&format!("Marketplaces not found: ['{NOBODYS}']"));
        assert_eq!(rest.post("/api/v1/endpoints/law-qa/publish", body).await.expect(404), unknown);
        assert_eq!(hub.calls("publish"), 0, "nothing is published if one is not found");
        assert_eq!(rest.post("/api/v1/endpoints/sync", json!({"marketplace_ids": [NOBODYS]})).await.expect(404), unknown);
        let two = json!({"marketplace_ids": [NOBODYS, "0197b9e4-0000-7000-8000-000000000001"]});
        let told = rest.post("/api/v1/endpoints/law-qa/publish", two).await.expect(404);
        assert_eq!(told, detail(&format!("Marketplaces not found: ['{NOBODYS}', '0197b9e4-0000-7000-8000-000000000001']")));
        let wrong = rest.post("/api/v1/endpoints/law-qa/publish", json!({"marketplace_ids": ["x"]})).await.expect(422);
        assert_eq!(wrong["detail"][0]["loc"], json!(["body", "marketplace_ids", 0]));

        let (store, id) = (&owner.space.store, MarketplaceId(owner.ids[0].parse().unwrap()));
        let tenant = store.tenant("root").await.unwrap().id;
        store.disconnect_marketplace(tenant, id).await.unwrap();
        let none = detail("No active marketplaces found");
        let everywhere = json!({"publish_to_all_marketplaces": true});
        assert_eq!(rest.post("/api/v1/endpoints/law-qa/publish", everywhere.clone()).await.expect(400), none);
        assert_eq!(rest.post("/api/v1/endpoints/sync", json!({})).await.expect(400), none);
        assert_eq!(owner.slug(json!({"slug": "law-qa", "check_all_marketplaces": true})).await, json!([]));

        let key = json!({"name": "asker", "email": "amy@example.org", "scopes": ["query"]});
        let key = rest.post("/api/v1/keys", key).await.expect(201);
        let asker = Rest::with(&owner.space, &[("authorization", &format!("Bearer {}", key["secret"].as_str().unwrap()))]);
        for (method, path) in [("POST", "law-qa/publish"), ("DELETE", "law-qa/unpublish"), ("POST", "sync"), ("POST", "validate-slug")] {
            assert_eq!(asker.call(method, &format!("/api/v1/endpoints/{path}"), Some(everywhere.clone())).await.status, 403, "{path}");
        }
    }

    /// What a fixed path is called an endpoint may be called too.
    async fn endpoints_may_be_called_what_paths_are_called(database: Database) {
        let hub = Hub::start().await;
        let owner = Owner::of(database, &[&hub]).await;
        let dataset = owner.rest.get("/api/v1/datasets/law").await.expect(200)["id"].clone();
        for slug in ["sync", "validate-slug"] {
            owner.rest.post("/api/v1/endpoints", json!({"name": slug, "slug": slug, "dataset_id": dataset, "published": true})).await.expect(201);
            for path in [format!("/api/v1/endpoints/{slug}"), format!("/api/v1/endpoints/{slug}/")] {
                assert_eq!(owner.rest.get(&path).await.expect(200)["slug"], slug);
                let renamed = owner.rest.call("PATCH", &path, Some(json!({"name": "new"}))).await.expect(200);
                assert_eq!((&renamed["slug"], &renamed["name"]), (&json!(slug), &json!("new")));
            }
            let everywhere = json!({"publish_to_all_marketplaces": true});
            owner.rest.post(&format!("/api/v1/endpoints/{slug}/publish"), everywhere).await.expect(200);
            assert!(hub.slugs().contains(&slug.to_owned()));
            owner.rest.call("DELETE", &format!("/api/v1/endpoints/{slug}"), None).await.expect(200);
            assert_eq!(owner.rest.get(&format!("/api/v1/endpoints/{slug}")).await.status, 404);
        }
        assert_eq!(owner.rest.call("PUT", "/api/v1/endpoints/sync", None).await.status, 405);
    }
}
