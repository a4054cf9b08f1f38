//! The policy as its owner and its callers see it.

use std::time::Duration;

use serde_json::{Value, json};
use syft_endpoints::proto::{self, CreatePolicyRequest, PolicyDecision as Decision};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::counted;
use crate::support::{
    database::Database,
    eventually, on_both,
    rest::Rest,
    space::{ADMIN_KEY, Clients, Space, asking, reason, structure},
    upstream::{Upstream, answer_of, status},
};

async fn space(database: Database) -> (Space, Clients, Upstream) {
    let upstream = Upstream::says(&["a", "b"]).await;
    let space = Space::start(database).await;
    let mut owner = space.admin().await;
    owner.asks("ask", upstream.address).await;
    (space, owner, upstream)
}

/// Asks for so many tokens.
async fn ask(clients: &mut Clients, max_tokens: i32) -> Result<(), Status> {
    let query = proto::Query { max_tokens: Some(max_tokens), ..asking("?") };
    let request = proto::QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
    clients.endpoints.query(request).await.map(drop)
}

async fn evaluated(owner: &mut Clients, email: &str, max_tokens: i32) -> Decision {
    let request = proto::EvaluatePoliciesRequest {
        endpoint_slug: "ask".to_owned(),
        email: email.to_owned(),
        query: Some(proto::Query { max_tokens: Some(max_tokens), ..asking("?") }),
        ..proto::EvaluatePoliciesRequest::default()
    };
    owner.policies.evaluate_policies(request).await.unwrap().into_inner().decision()
}

/// Fields that a configuration of this type is refused for, and why.
async fn refused(owner: &mut Clients, configuration: Value) -> Vec<(String, String)> {
    let policy = proto::Policy {
        name: "p".to_owned(),
        policy_type: "token_limit".to_owned(),
        configuration: Some(structure(configuration)),
        endpoint_slug: "ask".to_owned(),
        ..proto::Policy::default()
    };
    let status =
        owner.policies.create_policy(CreatePolicyRequest { policy: Some(policy) }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|broken| (broken.field, broken.description)).collect()
}

on_both! {
    async fn a_limit_refuses_and_says_why_and_for_how_long(database: Database) {
        let (space, mut owner, upstream) = space(database).await;
        owner.policy("ask", "token_limit", json!({"period": "day", "output_tokens": 25})).await;
        // The model says that each answer has five tokens.
        for _ in 0..2 {
            ask(&mut owner, 15).await.unwrap();
        }
        // Over REST it is a refusal in words, as SyftHub reads it, with the numbers beside them.
        let rest = Rest::with(&space, &[("authorization", &format!("Bearer {ADMIN_KEY}"))]);
        let body = json!({"messages": "?", "max_tokens": 16});
        let answer = rest.post("/api/v1/endpoints/ask/query", body).await;
        assert_eq!(answer.status, 403);
        let entry = answer.json()["policy_metadata"]["entries"][0].clone();
        assert_eq!((entry["kind"].clone(), entry["reason_code"].clone()), (json!("rate_limit"), json!("RATE_LIMITED")));
        let mut details = entry["details"].clone();
        let reset = details.as_object_mut().unwrap().remove("reset_seconds").unwrap().as_u64().unwrap();
        assert!((86_390..=86_400 + 24 * 60).contains(&reset), "{reset}");
        let expected = json!({
            "unit": "output_tokens", "limit": 25, "used": 10, "reserved": 0, "needed": 16, "remaining": 15,
            "period": "day", "scope": "per_user",
        });
        assert_eq!(details, expected);
        let status = ask(&mut owner, 16).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
        let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(wait > Duration::from_secs(86_300), "{wait:?}");
        // What can never fit is not to be asked again.
        let status = ask(&mut owner, 26).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "POLICY_VIOLATION"));
        assert_eq!(upstream.count(), 2, "the model was asked for a refused query");
        ask(&mut owner, 15).await.unwrap();
    }

    async fn each_limit_refuses(database: Database) {
        let (_space, mut owner, _upstream) = space(database).await;
        // Bound: `?`, what may stand around it, and 10 tokens; used by an answer: 11 and 5.
        let bound = 1 + 8 + 16 + 64;
        for (configuration, admitted) in [
            (json!({"requests": 2}), 2),
            (json!({"input_tokens": bound + 11}), 2),
            (json!({"output_tokens": 20}), 3),
            // A cost of 11 × 0.0000001 + 5 × 0.0000003 each, and at most 89 and 10 times that before.
            (json!({"cost": "0.000017", "input_price": "0.0000001", "output_price": 0.000_000_3}), 2),
            (json!({"requests": 100, "output_tokens": 15}), 2),
        ] {
            for window in ["rolling", "fixed"] {
                let mut configuration = configuration.clone();
                configuration["period"] = json!("month");
                configuration["window"] = json!(window);
                let policy = owner.policy("ask", "token_limit", configuration.clone()).await;
                for n in 0..admitted {
                    // It does not see what is being settled.
                    eventually("it is foreseen", async || {
                        evaluated(&mut owner, "owner@localhost", 10).await == Decision::Admitted
                    }).await;
                    ask(&mut owner, 10).await.unwrap_or_else(|status| panic!("{configuration} {n}: {status:?}"));
                }
                assert_eq!(reason(&ask(&mut owner, 10).await.unwrap_err()), "RATE_LIMITED", "{configuration}");
                assert_eq!(evaluated(&mut owner, "owner@localhost", 10).await, Decision::Refused);
                assert_eq!(evaluated(&mut owner, "bob@example.org", 10).await, Decision::Admitted);
                owner.policies.delete_policy(proto::DeletePolicyRequest { id: policy.id }).await.unwrap();
            }
        }
    }

    async fn a_limit_that_a_sibling_overrules_gives_back(database: Database) {
        let (space, mut owner, _upstream) = space(database).await;
        let limit = json!({"policy_type": "token_limit", "configuration": {"period": "hour", "requests": 1}});
        let zebra = json!({"policy_type": "prompt_filter", "configuration": {"words": ["zebra"], "apply_to": ["question"]}});
        let both = json!({"policy_type": "all_of", "configuration": {"policies": [limit, zebra]}});
        let open = json!({"policy_type": "access", "configuration": {"allowed_users": ["*"]}});
        owner.policy("ask", "any_of", json!({"policies": [both, open]})).await;
        let raw = space.database.raw().await;
        for _ in 0..3 {
            // Access is asked first and admits: the limit is not asked at all.
            ask(&mut owner, 10).await.unwrap();
        }
        assert_eq!(counted(&raw).await, [0; 6]);
        owner.policy("ask", "all_of", json!({"policies": [limit, zebra]})).await;
        let query = proto::QueryRequest { slug: "ask".to_owned(), query: Some(asking("zebra")), request_id: None };
        for _ in 0..3 {
            let status = owner.endpoints.query(query.clone()).await.unwrap_err();
            assert_eq!(reason(&status), "POLICY_VIOLATION");
        }
        eventually("it is given back", async || counted(&raw).await == [0; 6]).await;
        ask(&mut owner, 10).await.unwrap();
        assert_eq!(reason(&ask(&mut owner, 10).await.unwrap_err()), "RATE_LIMITED");
        // An owner who tries the endpoint passes the limit.
        let request = proto::PreviewQueryRequest { slug: "ask".to_owned(), query: Some(asking("?")) };
        owner.endpoints.preview_query(request).await.unwrap();
    }

    async fn a_query_that_comes_again_is_counted_once(database: Database) {
        // It comes to nothing, is answered, and comes a third time.
        let upstream = Upstream::start(vec![status("401 Unauthorized", "", ""), answer_of(&["a", "b"])]).await;
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        owner.policy("ask", "token_limit", json!({"period": "day", "requests": 1, "output_tokens": 100})).await;
        let query = Some(proto::Query { max_tokens: Some(10), ..asking("?") });
        let request_id = Some(uuid::Uuid::now_v7().to_string());
        let request = proto::QueryRequest { slug: "ask".to_owned(), query, request_id };
        let raw = space.database.raw().await;
        let failed = owner.endpoints.query(request.clone()).await.unwrap_err();
        assert_eq!(reason(&failed), "MODEL_REJECTED");
        eventually("the request counts", async || counted(&raw).await == [1, 0, 0, 0, 0, 0]).await;
        for _ in 0..2 {
            owner.endpoints.query(request.clone()).await.unwrap();
            eventually("so do its tokens", async || counted(&raw).await == [1, 11, 5, 0, 0, 0]).await;
        }
        assert_eq!(reason(&ask(&mut owner, 10).await.unwrap_err()), "RATE_LIMITED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_says_what_is_limited() {
    let (_space, mut owner, _upstream) = space(Database::sqlite()).await;
    let field = |name: &str| format!("policy.configuration{name}");
    for (configuration, expected) in [
        (json!({"period": "day"}), vec![field("")]),
        (json!({"period": "day", "requests": null}), vec![field("")]),
        (json!({"period": "day", "cost": "1"}), vec![field(".input_price"), field(".output_price")]),
        (json!({"period": "day", "cost": "1", "input_price": 1}), vec![field(".output_price")]),
        (json!({"period": "day", "requests": 1, "input_price": 1, "output_price": 1}), vec![field(".cost")]),
        (json!({"period": "week", "requests": 1}), vec![field(".period")]),
        (json!({"period": "day", "requests": 0}), vec![field(".requests")]),
        (json!({"period": "day", "output_tokens": 1.5}), vec![field(".output_tokens")]),
        (json!({"period": "day", "cost": "-1", "input_price": 1, "output_price": 1}), vec![field(".cost")]),
        (json!({"requests": 1}), vec![field("")]),
    ] {
        let broken = refused(&mut owner, configuration.clone()).await;
        assert_eq!(
            broken.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>(),
            expected,
            "{configuration}: {broken:?}"
        );
    }
}
