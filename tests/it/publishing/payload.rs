//! What a marketplace is told of an endpoint: all that it needs, and nobody's business.

use serde_json::json;
use syft_endpoints::proto::{CreateEndpointRequest, ResponseType};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_of_the_hubs_form_and_names_nobody() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    let whole = Endpoint {
        slug: "law".to_owned(),
        name: "Copyright".to_owned(),
        summary: "What the law says".to_owned(),
        description: "# Law\n\nWith everything.".to_owned(),
        tags: vec!["Legal QA".to_owned(), "law".to_owned()],
        ..Endpoint::default()
    };
    for field in ["name", "summary", "description", "tags"] {
        change(&mut owner, whole.clone(), field).await;
    }
    owner
        .policy(
            "law",
            "access",
            json!({"allowed_users": ["canary@people.example"], "denied_users": ["x@canary.example"]}),
        )
        .await;
    owner.policy("law", "rate_limit", json!({"limit": "3/m", "applied_to": ["canary@people.example"]})).await;
    let tokens = json!({
        "period": "day", "output_tokens": 1000, "cost": "1.5", "input_price": "0.1", "output_price": "0.3",
        "applied_to": ["canary@people.example"],
    });
    owner.policy("law", "token_limit", tokens).await;
    owner.policy("law", "prompt_filter", json!({"patterns": ["canary@.*"], "words": ["x@canary"]})).await;
    let within = json!([
        {"policy_type": "access", "configuration": {"allowed_users": ["canary@people.example"]}},
        {"policy_type": "rate_limit", "configuration": {"limit": "5/m", "applied_to": ["x@canary.example"]}},
    ]);
    owner.policy("law", "any_of", json!({"policies": within})).await;
    published(&mut owner, "law").await;
    let mut body = hub.bodies("publish").remove(0);
    for policy in body["policies"].as_array_mut().unwrap() {
        policy["description"] = "[name]".into();
    }
    insta::assert_json_snapshot!(body);
    for call in hub.received() {
        assert!(!call.body.contains("canary@") && !call.body.contains("@canary"), "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_has_the_type_of_what_it_answers() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    let dataset = owner.dataset("d").await;
    let model = owner.model("m", "extractive", json!({})).await;
    let cases = [
        ("both-both", ResponseType::Both, true, true, "model_data_source"),
        ("both-model", ResponseType::Both, false, true, "model"),
        ("both-data", ResponseType::Both, true, false, "data_source"),
        ("raw-both", ResponseType::Raw, true, true, "data_source"),
        ("summary-both", ResponseType::Summary, true, true, "model"),
    ];
    for (slug, response_type, has_dataset, has_model, kind) in cases {
        let endpoint = Endpoint {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            dataset_id: has_dataset.then(|| dataset.id.clone()),
            model_id: has_model.then(|| model.id.clone()),
            response_type: response_type.into(),
            published: true,
            ..Endpoint::default()
        };
        owner.endpoints.create_endpoint(CreateEndpointRequest { endpoint: Some(endpoint) }).await.unwrap();
        published(&mut owner, slug).await;
        assert_eq!(shown(&hub, slug, "type").unwrap(), kind, "{slug}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_has_become_another_type_is_listed_anew() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    hub.list(json!({"slug": "law", "name": "as it was", "type": "model"}));
    published(&mut owner, "law").await;
    assert_eq!(shown(&hub, "law", "type").unwrap(), "data_source");
    assert_eq!(hub.slugs(), ["law"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_are_named_where_there_are_several() {
    let hub = Hub::start().await;
    let settings = [("identity.enable_multi_tenancy", "true"), ("upstream.private_addresses", "allow")];
    let space = on(Database::sqlite(), &hub, &settings).await;
    let admin = format!("Bearer {}", crate::support::space::ADMIN_KEY);
    let mut owner = space.clients(&[("authorization", &admin), ("x-tenant-name", "root")]).await;
    let dataset = owner.dataset("law").await;
    owner.endpoint("law", Some(&dataset), None).await;
    published(&mut owner, "law").await;
    assert_eq!(shown(&hub, "law", "connect").unwrap()[0]["config"]["tenant_name"], "root");
}
