//! Policies made of policies, over a real connection.

use serde_json::{Value, json};
use syft_endpoints::proto::{self, ApiKey, CreateApiKeyRequest, CreatePolicyRequest, Policy, Scope};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    database::Database,
    on_both,
    space::{Clients, Space, asking, reason, structure},
    upstream::Upstream,
};

async fn space(database: Database) -> (Space, Clients, Upstream) {
    let upstream = Upstream::says(&["a secret, ", "bob@example.org"]).await;
    let space = Space::start(database).await;
    let mut owner = space.admin().await;
    owner.asks("ask", upstream.address).await;
    (space, owner, upstream)
}

async fn caller(space: &Space, email: &str) -> Clients {
    let api_key = ApiKey {
        name: email.to_owned(),
        email: email.to_owned(),
        scopes: vec![Scope::Query.into()],
        ..ApiKey::default()
    };
    let request = CreateApiKeyRequest { api_key: Some(api_key) };
    let created = space.admin().await.access.create_api_key(request).await.unwrap().into_inner();
    space.clients(&[("authorization", &format!("Bearer {}", created.secret))]).await
}

async fn ask(clients: &mut Clients, text: &str) -> Result<String, Status> {
    let request = proto::QueryRequest { slug: "ask".to_owned(), query: Some(asking(text)), request_id: None };
    Ok(clients.endpoints.query(request).await?.into_inner().summary.unwrap().content)
}

fn child(policy_type: &str, configuration: Value) -> Value {
    json!({"policy_type": policy_type, "configuration": configuration})
}

async fn refused(owner: &mut Clients, policy_type: &str, configuration: Value) -> (String, String) {
    let policy = Policy {
        name: "p".to_owned(),
        policy_type: policy_type.to_owned(),
        configuration: Some(structure(configuration)),
        endpoint_slug: "ask".to_owned(),
        ..Policy::default()
    };
    let request = CreatePolicyRequest { policy: Some(policy) };
    let status = owner.policies.create_policy(request).await.unwrap_err();
    let violation = status.get_details_bad_request().unwrap().field_violations.remove(0);
    (violation.field, violation.description)
}

on_both! {
    async fn staff_may_ask_and_others_are_limited(database: Database) {
        let (space, mut owner, _upstream) = space(database).await;
        let staff = child("access", json!({"allowed_users": ["*@staff.org"]}));
        let limit = child("rate_limit", json!({"limit": "1/h"}));
        owner.policy("ask", "any_of", json!({"policies": [limit, staff]})).await;
        let (mut amy, mut bob) = (caller(&space, "amy@staff.org").await, caller(&space, "bob@x.org").await);
        for _ in 0..3 {
            ask(&mut amy, "?").await.unwrap();
        }
        ask(&mut bob, "?").await.unwrap();
        let status = ask(&mut bob, "?").await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
        // An owner who tries the endpoint passes the limit.
        for _ in 0..2 {
            let query = Some(asking("?"));
            let request = proto::PreviewQueryRequest { slug: "ask".to_owned(), query };
            owner.endpoints.preview_query(request).await.unwrap();
        }
    }

    async fn a_limit_that_a_sibling_overrules_gives_back(database: Database) {
        let (_space, mut owner, _upstream) = space(database).await;
        let block = |word: &str| child("prompt_filter", json!({"words": [word], "apply_to": ["question"]}));
        let limit = child("rate_limit", json!({"limit": "1/h"}));
        let both = child("all_of", json!({"policies": [limit, block("zebra")]}));
        owner.policy("ask", "any_of", json!({"policies": [both, block("plain")]})).await;
        for _ in 0..3 {
            // The limit admits, its sibling refuses; the other branch admits, and the slot returns.
            ask(&mut owner, "zebra").await.unwrap();
        }
        ask(&mut owner, "plain").await.unwrap();
        assert_eq!(reason(&ask(&mut owner, "plain").await.unwrap_err()), "POLICY_VIOLATION");
    }

    async fn children_are_sealed_at_rest(database: Database) {
        let (space, mut owner, _upstream) = space(database).await;
        let staff = child("access", json!({"allowed_users": ["canary@staff.org"]}));
        let made = owner.policy("ask", "not", json!({"policies": [staff]})).await;
        let shown = format!("{:?}", made.configuration);
        assert!(shown.contains("canary@staff.org"), "{shown}");
        let database = space.stop().await;
        let row: sea_orm::QueryResult = {
            use sea_orm::ConnectionTrait;
            let raw = database.raw().await;
            let statement = sea_orm::Statement::from_string(
                raw.get_database_backend(),
                "SELECT CAST(configuration AS TEXT) AS c FROM policies",
            );
            raw.query_one_raw(statement).await.unwrap().unwrap()
        };
        let stored: String = row.try_get("", "c").unwrap();
        assert!(stored.contains("$sealed") && !stored.contains("canary"), "{stored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filters_of_the_branch_that_admits_are_the_ones_that_count() {
    let (space, mut owner, _upstream) = space(Database::sqlite()).await;
    let staff = child("access", json!({"allowed_users": ["*@staff.org"]}));
    let masked = child("pii_filter", json!({"apply_to": ["answer"]}));
    owner.policy("ask", "any_of", json!({"policies": [staff, masked]})).await;
    let words =
        child("prompt_filter", json!({"words": ["secret"], "mode": "redact", "apply_to": ["answer"]}));
    owner.policy("ask", "all_of", json!({"policies": [words]})).await;
    let (mut amy, mut bob) = (caller(&space, "amy@staff.org").await, caller(&space, "bob@x.org").await);
    assert_eq!(ask(&mut amy, "?").await.unwrap(), "a [REDACTED], bob@example.org");
    assert_eq!(ask(&mut bob, "?").await.unwrap(), "a [REDACTED], [REDACTED]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nesting_is_bounded_and_children_are_checked() {
    let (_space, mut owner, _upstream) = space(Database::sqlite()).await;
    let nest = |inner: Value| child("all_of", json!({"policies": [inner]}));
    let deepest = nest(nest(child("access", json!({}))));
    owner.policy("ask", "any_of", json!({"policies": [deepest]})).await;
    let too_deep = nest(nest(nest(child("access", json!({})))));
    let (field, message) = refused(&mut owner, "any_of", json!({"policies": [too_deep]})).await;
    assert_eq!(message, "is not a type that can stand here");
    let deep =
        "policy.configuration.policies.0.configuration.policies.0.configuration.policies.0.policy_type";
    assert_eq!(field, deep);
    let pattern = child("prompt_filter", json!({"patterns": ["("]}));
    let (field, _) = refused(&mut owner, "all_of", json!({"policies": [pattern]})).await;
    assert_eq!(field, "policy.configuration.policies.0.configuration.patterns.0");
    let guests = child("allow_guests", json!({}));
    let (_, message) = refused(&mut owner, "all_of", json!({"policies": [guests]})).await;
    assert_eq!(message, "is not a type that can stand here");
    let two = json!({"policies": [child("access", json!({})), child("access", json!({}))]});
    assert_eq!(refused(&mut owner, "not", two).await.0, "policy.configuration.policies");
}
