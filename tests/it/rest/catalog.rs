//! What owners do over REST, in the shapes of the Python Space.

use serde_json::{Value, json};

use super::{legal, settled};
use crate::support::{database::Database, on_both, rest::Rest, upstream::Upstream};

on_both! {
    async fn endpoints_are_made_shown_changed_and_deleted(database: Database) {
        let (space, _upstream) = legal(database, Upstream::says(&["a"]).await).await;
        let rest = Rest::admin(&space);
        let dataset = rest.get("/api/v1/datasets/law").await.expect(200)["id"].clone();
        let model = rest.get("/api/v1/models/gpt/").await.expect(200)["id"].clone();
        let new = json!({"name": "New", "slug": "New-One", "dataset_id": dataset, "model_id": model,
            "summary": "s", "description": "d", "tags": "law, old", "published": "true"});
        let made = rest.post("/api/v1/endpoints", new.clone()).await.expect(201);
        insta::assert_json_snapshot!("endpoint_made", settled(made));
        let taken = rest.post("/api/v1/endpoints/", new).await.expect(409);
        assert_eq!(taken, json!({"detail": "Endpoint 'new-one' already exists"}));
        let lost = json!({"name": "New", "slug": "new-one", "model_id": "0197b9e4-0000-7000-8000-000000000000"});
        assert_eq!(rest.post("/api/v1/endpoints/", lost).await.expect(409), taken, "the slug is told first");
        rest.post("/api/v1/policies", json!({"name": "p", "policy_type": "access", "configuration": {},
            "endpoint_id": rest.get("/api/v1/endpoints/new-one").await.expect(200)["id"]})).await.expect(201);
        insta::assert_json_snapshot!("endpoint_shown", settled(rest.get("/api/v1/endpoints/new-one").await.expect(200)));
        let listed = rest.get("/api/v1/endpoints").await.expect(200);
        assert_eq!(listed, rest.get("/api/v1/endpoints/").await.expect(200));
        assert_eq!(listed.as_array().unwrap().len(), 4);
        insta::assert_json_snapshot!("endpoint_listed", settled(listed[3].clone()));
        assert_eq!(rest.get("/api/v1/endpoints/New-One").await.status, 404, "look-ups match byte for byte");
        let slug = async |slug: &str| -> Value {
            rest.post("/api/v1/endpoints/validate-slug", json!({"slug": slug})).await.expect(200)
        };
        assert_eq!(slug("new-one").await, json!({"slug": "new-one", "local_available": false, "marketplaces": null}));
        assert_eq!(slug("other").await["local_available"], json!(true));
        let changed = rest.call("PATCH", "/api/v1/endpoints/new-one", Some(json!({"name": "Newer", "summary": ""}))).await.expect(200);
        assert_eq!((&changed["name"], &changed["summary"], &changed["description"]), (&json!("Newer"), &json!(""), &json!("d")));
        let gone = rest.call("DELETE", "/api/v1/endpoints/new-one/", None).await.expect(200);
        assert_eq!(gone, json!({"message": "Successfully deleted endpoint 'new-one'"}));
        assert_eq!(rest.get("/api/v1/endpoints/new-one").await.status, 404);
        assert_eq!(rest.get("/api/v1/policies").await.expect(200), json!([]), "policies go with their endpoint");
    }

    async fn datasets_and_models_are_made_shown_changed_and_deleted(database: Database) {
        let (space, _upstream) = legal(database, Upstream::says(&["a"]).await).await;
        let rest = Rest::admin(&space);
        for (kind, dtype, config) in [
            ("datasets", "local", json!({})),
            ("models", "openai", json!({"api_key": "s3cret", "model": "m", "base_url": "http://127.0.0.1:1/v1"})),
        ] {
            let base = format!("/api/v1/{kind}");
            let new = json!({"name": "one", "dtype": dtype, "configuration": config, "tags": "a,b"});
            let made = rest.post(&base, new.clone()).await.expect(201);
            insta::assert_json_snapshot!(format!("{kind}_made"), settled(made));
            assert_eq!(rest.post(&base, new).await.status, 409);
            let renamed = rest.call("PATCH", &format!("{base}/one"), Some(json!({"name": "two", "summary": "s"}))).await.expect(200);
            assert_eq!((&renamed["name"], &renamed["summary"], &renamed["tags"]), (&json!("two"), &json!("s"), &json!("a,b")));
            assert_eq!(rest.get(&format!("{base}/one")).await.status, 404);
            let health = rest.get(&format!("{base}/two/health")).await.expect(200);
            insta::assert_json_snapshot!(format!("{kind}_health"), health);
            assert_eq!(rest.call("PATCH", &format!("{base}/two"), Some(json!({}))).await.status, 422);
            let unknown = rest.post(&base, json!({"name": "x", "dtype": "none", "configuration": {}})).await;
            assert!(unknown.expect(400)["detail"].is_string());
            let wrong = rest.post(&base, json!({"name": "x", "dtype": dtype, "configuration": {"typo": "s3cret"}})).await;
            assert!(wrong.status == 400 && !wrong.text.contains("s3cret"), "{} {}", wrong.status, wrong.text);
            rest.call("DELETE", &format!("{base}/two"), None).await.expect(200);
            let used = if kind == "datasets" { "law" } else { "gpt" };
            let in_use = rest.call("DELETE", &format!("{base}/{used}"), None).await.expect(409);
            assert!(in_use["detail"].as_str().unwrap().contains("legal-qa"));
            let listed = rest.get(&base).await.expect(200);
            insta::assert_json_snapshot!(format!("{kind}_listed"), settled(listed));
            let types = rest.get(&format!("{base}/types")).await.expect(200);
            let first = types.as_array().unwrap().iter().find(|info| info["name"] == dtype).unwrap();
            assert_eq!(first, &rest.get(&format!("{base}/types/{dtype}")).await.expect(200));
            assert_eq!(first["config_schema"], rest.get(&format!("{base}/types/{dtype}/schema/")).await.expect(200));
            assert_eq!(first["enabled"], json!(true));
            assert_eq!(rest.get(&format!("{base}/types/none")).await.status, 404);
        }
    }

    async fn policies_are_made_shown_changed_and_deleted(database: Database) {
        let (space, _upstream) = legal(database, Upstream::says(&["a"]).await).await;
        let rest = Rest::admin(&space);
        let endpoint = rest.get("/api/v1/endpoints/chat").await.expect(200)["id"].clone();
        let new = json!({"name": "p", "policy_type": "access", "configuration": {"allowed_users": ["a@x.org"]}, "endpoint_id": endpoint});
        let made = rest.post("/api/v1/policies/", new.clone()).await.expect(201);
        insta::assert_json_snapshot!("policy_made", settled(made.clone()));
        assert_eq!(rest.post("/api/v1/policies/", new.clone()).await.status, 409);
        let path = format!("/api/v1/policies/{}", made["id"].as_str().unwrap());
        let merged = json!({"configuration": {"denied_users": ["b@x.org"]}});
        let changed = rest.call("PATCH", &path, Some(merged)).await.expect(200);
        assert_eq!(changed["configuration"]["allowed_users"], json!(["a@x.org"]), "{changed}");
        assert_eq!(changed["configuration"]["denied_users"], json!(["b@x.org"]));
        assert_eq!(rest.call("PATCH", &path, Some(json!({}))).await.expect(200), rest.get(&path).await.expect(200));
        let listed = rest.get(&format!("/api/v1/policies?endpoint_id={}", endpoint.as_str().unwrap())).await.expect(200);
        assert_eq!(listed.as_array().unwrap().len(), 1);
        insta::assert_json_snapshot!("policy_listed", settled(listed[0].clone()));
        let mut unknown = new.clone();
        unknown["policy_type"] = json!("none");
        assert!(rest.post("/api/v1/policies", unknown).await.expect(400)["detail"].is_string());
        let mut lost = new;
        lost["endpoint_id"] = json!("0197b9e4-0000-7000-8000-000000000000");
        assert_eq!(rest.post("/api/v1/policies", lost).await.status, 404);
        rest.call("DELETE", &path, None).await.expect(200);
        assert_eq!(rest.get(&path).await.status, 404);
    }

    async fn keys_are_made_listed_and_revoked(database: Database) {
        let (space, _upstream) = legal(database, Upstream::says(&["a"]).await).await;
        let rest = Rest::admin(&space);
        let new = json!({"name": "asker", "email": "amy@example.org", "scopes": ["query"], "expires_at": "2999-01-31T00:00:00Z"});
        let made = rest.post("/api/v1/keys/", new).await.expect(201);
        let bearer = format!("Bearer {}", made["secret"].as_str().unwrap());
        let asker = Rest::with(&space, &[("authorization", &bearer)]);
        asker.query("chat", crate::support::rest::question()).await.expect(200);
        let listed = rest.get("/api/v1/keys").await.expect(200);
        insta::assert_json_snapshot!("keys", settled(listed));
        let id = made["id"].as_str().unwrap();
        let revoked = rest.call("DELETE", &format!("/api/v1/keys/{id}"), None).await.expect(200);
        assert!(revoked["revoked_at"].is_string());
        assert_eq!(asker.query("chat", crate::support::rest::question()).await.status, 401);
        let late = json!({"name": "x", "email": "not", "scopes": [], "expires_at": "tomorrow"});
        assert_eq!(rest.post("/api/v1/keys", late).await.expect(422)["detail"][0]["type"], "datetime_parsing");
    }
}
