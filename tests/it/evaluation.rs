//! What policies would decide is told, and nothing is counted for it.

use serde_json::{Value, json};
use syft_endpoints::proto::{
    EvaluatePoliciesRequest, EvaluatePoliciesResponse, Policy, PolicyDecision as Decision,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    database::Database,
    on_both,
    rest::Rest,
    space::{ADMIN_KEY, Clients, Space, asking, reason, structure},
};

async fn space(database: Database) -> (Space, Clients) {
    let space = Space::start(database).await;
    let mut owner = space.admin().await;
    let dataset = owner.dataset("docs").await;
    owner.endpoint("ask", Some(&dataset), None).await;
    (space, owner)
}

async fn evaluate(owner: &mut Clients, email: &str, text: &str) -> Result<EvaluatePoliciesResponse, Status> {
    let request = EvaluatePoliciesRequest {
        endpoint_slug: "ask".to_owned(),
        email: email.to_owned(),
        query: Some(asking(text)),
        ..EvaluatePoliciesRequest::default()
    };
    Ok(owner.policies.evaluate_policies(request).await?.into_inner())
}

fn told(answer: &EvaluatePoliciesResponse) -> Vec<(&str, Decision, &str)> {
    let verdicts = answer.verdicts.iter();
    verdicts
        .map(|verdict| (verdict.policy_type.as_str(), verdict.decision(), verdict.reason_code.as_str()))
        .collect()
}

on_both! {
    async fn every_policy_says_what_it_would_decide(database: Database) {
        let (_space, mut owner) = space(database).await;
        assert_eq!(evaluate(&mut owner, "bob@x.org", "?").await.unwrap().decision(), Decision::Admitted);
        owner.policy("ask", "access", json!({"denied_users": ["eve@x.org"]})).await;
        owner.policy("ask", "prompt_filter", json!({"words": ["zebra"], "apply_to": ["question"]})).await;
        owner.policy("ask", "rate_limit", json!({"limit": "2/h"})).await;
        let answer = evaluate(&mut owner, "Eve@x.org", "a zebra").await.unwrap();
        assert_eq!(answer.decision(), Decision::Refused);
        let expected = [
            ("access", Decision::Refused, "ACCESS_DENIED"),
            ("rate_limit", Decision::Admitted, ""),
            ("prompt_filter", Decision::Refused, "CONTENT_BLOCKED"),
        ];
        assert_eq!(told(&answer), expected);
    }

    async fn nothing_is_counted_and_what_was_counted_is_seen(database: Database) {
        let (_space, mut owner) = space(database).await;
        let limit = json!({"policy_type": "rate_limit", "configuration": {"limit": "2/h"}});
        let denied = json!({"policy_type": "access", "configuration": {"denied_users": ["*"]}});
        owner.policy("ask", "any_of", json!({"policies": [limit, denied]})).await;
        let me = "owner@localhost";
        owner.query("ask").await.unwrap();
        for _ in 0..5 {
            assert_eq!(evaluate(&mut owner, me, "?").await.unwrap().decision(), Decision::Admitted);
        }
        owner.query("ask").await.unwrap();
        assert_eq!(reason(&owner.query("ask").await.unwrap_err()), "RATE_LIMITED");
        assert_eq!(evaluate(&mut owner, me, "?").await.unwrap().decision(), Decision::Refused);
        assert_eq!(evaluate(&mut owner, "bob@x.org", "?").await.unwrap().decision(), Decision::Admitted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_need_not_be_stored() {
    let (space, mut owner) = space(Database::sqlite()).await;
    let rest = Rest::with(&space, &[("authorization", &format!("Bearer {ADMIN_KEY}"))]);
    let asked =
        |policies: Value, text: &str| json!({"policies": policies, "email": "bob@x.org", "messages": text});
    let given = json!([{"policy_type": "not", "configuration": {"policies": [
        {"policy_type": "access", "configuration": {"allowed_users": ["*@x.org"]}}
    ]}}]);
    let answer = rest.post("/api/v1/policies/evaluate", asked(given, "?")).await.expect(200);
    let verdict = json!({"policy_type": "not", "decision": "refused", "reason_code": "ACCESS_DENIED", "reason": "Access denied", "details": {}});
    assert_eq!(answer, json!({"decision": "refused", "policies": [verdict]}));
    let wrong = json!([{"policy_type": "prompt_filter", "configuration": {"patterns": ["("]}}]);
    assert_eq!(rest.post("/api/v1/policies/evaluate", asked(wrong, "?")).await.status, 400);
    let unknown = json!([{"policy_type": "none", "configuration": {}}]);
    let answer = rest.post("/api/v1/policies/evaluate", asked(unknown, "?")).await.expect(400);
    assert_eq!(answer["detail"], "policies.0.policy_type is not a type that this service knows");
    let both = EvaluatePoliciesRequest {
        endpoint_slug: "ask".to_owned(),
        policies: vec![Policy {
            policy_type: "access".to_owned(),
            configuration: Some(structure(json!({"a": 1}))),
            ..Policy::default()
        }],
        email: String::new(),
        query: Some(asking("?")),
        ..EvaluatePoliciesRequest::default()
    };
    let status = owner.policies.evaluate_policies(both).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields: Vec<_> = status
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|broken| broken.field)
        .collect();
    assert_eq!(fields, ["email", "policies", "policies.0.configuration"]);
    let status = owner
        .policies
        .evaluate_policies(EvaluatePoliciesRequest {
            endpoint_slug: "nowhere".to_owned(),
            email: "a@b.c".to_owned(),
            query: Some(asking("?")),
            ..EvaluatePoliciesRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "ENDPOINT_NOT_FOUND"));
}
