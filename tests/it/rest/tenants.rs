//! What another tenant has is not there, over every route, in the words for what nobody has.

use serde_json::{Value, json};

use crate::support::{
    database::{Database, marketplace},
    on_both,
    rest::{Answer, Rest, question},
    space::{ADMIN_KEY, Space},
};

/// Something that one tenant has, or something that nobody has.
#[derive(Clone)]
struct Names {
    slug: String,
    dataset: String,
    model: String,
    endpoint_id: String,
    dataset_id: String,
    model_id: String,
    policy_id: String,
    key_id: String,
    marketplace_id: String,
    job_id: String,
}

fn as_tenant(space: &Space, name: &str) -> Rest {
    Rest::with(space, &[("authorization", &format!("Bearer {ADMIN_KEY}")), ("x-tenant-name", name)])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Fills a tenant with one of everything.
async fn furnish(space: &Space, name: &str) -> Names {
    let rest = as_tenant(space, name);
    let dataset = json!({"name": "theirs", "dtype": "local", "configuration": {}});
    let dataset_id = text(&rest.post("/api/v1/datasets", dataset).await.expect(201)["id"]);
    let model = json!({"name": "theirs", "dtype": "extractive", "configuration": {}});
    let model_id = text(&rest.post("/api/v1/models", model).await.expect(201)["id"]);
    let endpoint = json!({"name": "e", "slug": "theirs", "dataset_id": dataset_id, "model_id": model_id, "published": true});
    let endpoint_id = text(&rest.post("/api/v1/endpoints", endpoint).await.expect(201)["id"]);
    let policy =
        json!({"name": "p", "policy_type": "access", "configuration": {}, "endpoint_id": endpoint_id});
    let policy_id = text(&rest.post("/api/v1/policies", policy).await.expect(201)["id"]);
    let key = json!({"name": "k", "email": "a@x.org", "scopes": ["query"]});
    let key_id = text(&rest.post("/api/v1/keys", key).await.expect(201)["id"]);
    let id = space.store.tenant(name).await.unwrap().id;
    let connected = space.store.connect_marketplace(id, marketplace("http://127.0.0.1:9")).await.unwrap();
    let marketplace_id = connected.id.to_string();
    let urls = json!({"urls": ["https://127.0.0.1.invalid/a.md"]});
    let job_id = text(&rest.post("/api/v1/ingestion/datasets/theirs/start", urls).await.expect(201)["id"]);
    let name = || "theirs".to_owned();
    Names {
        slug: name(),
        dataset: name(),
        model: name(),
        endpoint_id,
        dataset_id,
        model_id,
        policy_id,
        key_id,
        marketplace_id,
        job_id,
    }
}

fn nobodys() -> Names {
    let (name, id) = (|| "nobodys".to_owned(), || uuid::Uuid::now_v7().to_string());
    Names {
        slug: name(),
        dataset: name(),
        model: name(),
        endpoint_id: id(),
        dataset_id: id(),
        model_id: id(),
        policy_id: id(),
        key_id: id(),
        marketplace_id: id(),
        job_id: id(),
    }
}

/// For every route that names something of a tenant's: what names it.
fn requests(names: &Names) -> Vec<(&'static str, &'static str, String, Option<Value>)> {
    let change = || Some(json!({"name": "changed", "summary": "changed"}));
    let endpoint = |part: &str, id: &str| Some(json!({"name": "x", "slug": "fresh", part: id}));
    let policy =
        json!({"name": "x", "policy_type": "access", "configuration": {}, "endpoint_id": names.endpoint_id});
    let at = |base: &str, name: &str, rest: &str| format!("/api/v1/{base}/{name}{rest}");
    let (slug, dataset, model) = (&names.slug, &names.dataset, &names.model);
    vec![
        (
            "POST",
            "/api/v1/endpoints/",
            "/api/v1/endpoints/".into(),
            endpoint("dataset_id", &names.dataset_id),
        ),
        ("POST", "/api/v1/endpoints/", "/api/v1/endpoints/".into(), endpoint("model_id", &names.model_id)),
        ("GET", "/api/v1/endpoints/{slug}", at("endpoints", slug, ""), None),
        ("PATCH", "/api/v1/endpoints/{slug}", at("endpoints", slug, ""), change()),
        ("DELETE", "/api/v1/endpoints/{slug}", at("endpoints", slug, ""), None),
        (
            "POST",
            "/api/v1/endpoints/{slug}/publish",
            at("endpoints", slug, "/publish"),
            Some(json!({"marketplace_ids": [names.marketplace_id]})),
        ),
        (
            "POST",
            "/api/v1/endpoints/sync",
            "/api/v1/endpoints/sync".into(),
            Some(json!({"marketplace_ids": [names.marketplace_id]})),
        ),
        ("DELETE", "/api/v1/endpoints/{slug}/unpublish", at("endpoints", slug, "/unpublish"), None),
        ("POST", "/api/v1/endpoints/{slug}/query", at("endpoints", slug, "/query"), Some(question())),
        ("POST", "/api/v1/endpoints/{slug}/preview", at("endpoints", slug, "/preview"), Some(question())),
        ("GET", "/api/v1/datasets/{name}", at("datasets", dataset, ""), None),
        ("PATCH", "/api/v1/datasets/{name}", at("datasets", dataset, ""), change()),
        ("DELETE", "/api/v1/datasets/{name}", at("datasets", dataset, ""), None),
        ("GET", "/api/v1/datasets/{name}/health", at("datasets", dataset, "/health"), None),
        (
            "POST",
            "/api/v1/datasets/{name}/search",
            at("datasets", dataset, "/search"),
            Some(json!({"text": "a"})),
        ),
        ("GET", "/api/v1/models/{name}", at("models", model, ""), None),
        ("PATCH", "/api/v1/models/{name}", at("models", model, ""), change()),
        ("DELETE", "/api/v1/models/{name}", at("models", model, ""), None),
        ("GET", "/api/v1/models/{name}/health", at("models", model, "/health"), None),
        ("POST", "/api/v1/policies/", "/api/v1/policies/".into(), Some(policy)),
        ("GET", "/api/v1/policies/", format!("/api/v1/policies/?endpoint_id={}", names.endpoint_id), None),
        ("GET", "/api/v1/policies/{policy_id}", at("policies", &names.policy_id, ""), None),
        (
            "PATCH",
            "/api/v1/policies/{policy_id}",
            at("policies", &names.policy_id, ""),
            Some(json!({"name": "changed"})),
        ),
        ("DELETE", "/api/v1/policies/{policy_id}", at("policies", &names.policy_id, ""), None),
        (
            "POST",
            "/api/v1/policies/evaluate",
            "/api/v1/policies/evaluate".into(),
            Some(json!({"endpoint_id": names.endpoint_id, "email": "a@x.org", "messages": "?"})),
        ),
        ("DELETE", "/api/v1/keys/{key_id}", at("keys", &names.key_id, ""), None),
        ("GET", "/api/v1/marketplaces/{marketplace_id}", at("marketplaces", &names.marketplace_id, ""), None),
        (
            "DELETE",
            "/api/v1/marketplaces/{marketplace_id}",
            at("marketplaces", &names.marketplace_id, ""),
            None,
        ),
    ]
    .into_iter()
    .chain(ingestion_requests(names))
    .collect()
}

fn ingestion_requests(names: &Names) -> Vec<(&'static str, &'static str, String, Option<Value>)> {
    const DATASET: &str = "/api/v1/ingestion/datasets/{name}";
    const JOB: &str = "/api/v1/ingestion/jobs/{job_id}";
    let dataset = |rest: &str| DATASET.replace("{name}", &names.dataset) + rest;
    let job = |rest: &str| JOB.replace("{job_id}", &names.job_id) + rest;
    let start = Some(json!({"urls": ["https://x.invalid/a.md"]}));
    vec![
        ("POST", "/api/v1/ingestion/datasets/{name}/start", dataset("/start"), start),
        ("POST", "/api/v1/ingestion/datasets/{name}/stop", dataset("/stop"), None),
        ("POST", "/api/v1/ingestion/datasets/{name}/retry", dataset("/retry"), None),
        ("GET", "/api/v1/ingestion/datasets/{name}/status", dataset("/status"), None),
        ("GET", "/api/v1/ingestion/datasets/{name}/jobs", dataset("/jobs"), None),
        ("GET", "/api/v1/ingestion/datasets/{name}/files", dataset("/files"), None),
        ("POST", "/api/v1/ingestion/datasets/{name}/files", dataset("/files?name=a.md"), None),
        ("DELETE", "/api/v1/ingestion/datasets/{name}/files", dataset("/files?name=a.md"), None),
        ("GET", "/api/v1/ingestion/jobs/{job_id}", job(""), None),
        ("POST", "/api/v1/ingestion/jobs/{job_id}/stop", job("/stop"), None),
        ("POST", "/api/v1/ingestion/jobs/{job_id}/retry", job("/retry"), None),
        ("GET", "/api/v1/ingestion/jobs/{job_id}/watch", job("/watch"), None),
    ]
}

/// Routes that name nothing of a tenant's: lists, types, new things, settings, tenants themselves, health.
const OTHERS: [(&str, &str); 33] = [
    ("GET", "/api/v1/endpoints/"),
    ("POST", "/api/v1/endpoints/validate-slug"),
    ("GET", "/api/v1/datasets/"),
    ("POST", "/api/v1/datasets/"),
    ("GET", "/api/v1/datasets/types/"),
    ("GET", "/api/v1/datasets/types/{name}"),
    ("GET", "/api/v1/datasets/types/{name}/schema"),
    ("GET", "/api/v1/models/"),
    ("POST", "/api/v1/models/"),
    ("GET", "/api/v1/models/types/"),
    ("GET", "/api/v1/models/types/{name}"),
    ("GET", "/api/v1/models/types/{name}/schema"),
    ("GET", "/api/v1/policies/types/"),
    ("GET", "/api/v1/policies/types/{name}"),
    ("GET", "/api/v1/policies/types/{name}/schema"),
    ("GET", "/api/v1/keys/"),
    ("POST", "/api/v1/keys/"),
    ("GET", "/api/v1/marketplaces/"),
    ("POST", "/api/v1/marketplaces/register"),
    ("POST", "/api/v1/marketplaces/verify-otp"),
    ("POST", "/api/v1/marketplaces/resend-otp"),
    ("POST", "/api/v1/marketplaces/connect"),
    ("GET", "/api/v1/marketplaces/check-username/{username}"),
    ("GET", "/api/v1/settings/public-url"),
    ("PATCH", "/api/v1/settings/public-url"),
    ("GET", "/api/v1/tenants"),
    ("POST", "/api/v1/tenants"),
    ("GET", "/api/v1/tenants/{name}"),
    ("GET", "/api/v1/health"),
    // What they show of others: `usage/tenants.rs`.
    ("GET", "/api/v1/usage"),
    ("GET", "/api/v1/analytics/summary"),
    ("GET", "/api/v1/analytics/time-series"),
    ("GET", "/api/v1/analytics/top-users"),
];

/// An answer, with the names struck out that were asked for.
fn words(answer: &Answer, names: &Names) -> (u16, String) {
    let ids = [
        &names.endpoint_id,
        &names.dataset_id,
        &names.model_id,
        &names.policy_id,
        &names.key_id,
        &names.marketplace_id,
        &names.job_id,
    ];
    let names = [&names.slug, &names.dataset, &names.model].into_iter().chain(ids);
    (answer.status, names.fold(answer.text.clone(), |text, name| text.replace(name.as_str(), "NAME")))
}

on_both! {
    async fn what_another_tenant_has_is_told_like_what_nobody_has(database: Database) {
        let space = Space::configured(database, &[("identity.enable_multi_tenancy", "true")]).await;
        let root = Rest::admin(&space);
        for name in ["acme", "umbrella"] {
            root.post("/api/v1/tenants", json!({"name": name})).await.expect(201);
        }
        let (acme, umbrella) = (as_tenant(&space, "acme"), as_tenant(&space, "umbrella"));
        let theirs = furnish(&space, "acme").await;
        let nobodys = nobodys();
        let document = root.get("/openapi.json").await.expect(200);
        let mut missing: Vec<(String, String)> = document["paths"].as_object().unwrap().iter()
            .flat_map(|(path, operations)| operations.as_object().unwrap().keys()
                .map(move |method| (method.to_uppercase(), path.clone())))
            .collect();
        for ((method, route, path, body), (_, _, nowhere, nothing)) in
            requests(&theirs).into_iter().zip(requests(&nobodys))
        {
            let theirs_told = words(&umbrella.call(method, &path, body).await, &theirs);
            let nobodys_told = words(&umbrella.call(method, &nowhere, nothing).await, &nobodys);
            assert_eq!(theirs_told, nobodys_told, "{method} {path}");
            assert_eq!(theirs_told.0, 404, "{method} {path}: {}", theirs_told.1);
            missing.retain(|known| *known != (method.to_owned(), route.to_owned()));
        }
        missing.retain(|(method, path)| !OTHERS.contains(&(method.as_str(), path.as_str())));
        assert!(missing.is_empty(), "routes without a row in this matrix: {missing:?}");
        // Lists show nothing of it, and nothing of it has suffered.
        for list in ["endpoints", "datasets", "models", "policies", "keys", "marketplaces"] {
            assert_eq!(umbrella.get(&format!("/api/v1/{list}")).await.expect(200), json!([]), "{list}");
        }
        for (method, _, path, body) in requests(&theirs).into_iter().filter(|request| request.0 == "GET") {
            assert_eq!(acme.call(method, &path, body).await.status, 200, "{path}");
        }
    }
}
