//! What owners may say about prices.

use serde_json::json;
use syft_endpoints::proto::{CreatePolicyRequest, GetPolicyRequest, Policy};

use crate::support::{
    space::{Space, structure},
    upstream::Upstream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_are_checked_and_secrets_are_not_shown() {
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let account = json!({"accounting_url": "https://bank.example", "accounting_email": "canary-4741@x.org",
                         "accounting_password": "canary-4742"});
    let with = |pricing: serde_json::Value| {
        let mut all = account.clone();
        all.as_object_mut().unwrap().extend(pricing.as_object().unwrap().clone());
        CreatePolicyRequest {
            policy: Some(Policy {
                name: uuid::Uuid::now_v7().to_string(),
                policy_type: "accounting".to_owned(),
                configuration: Some(structure(all)),
                endpoint_slug: "ask".to_owned(),
                ..Policy::default()
            }),
        }
    };
    let good = [
        json!({"price": 0}),
        json!({"price": 0.5, "pricing_mode": "per_call", "currency": "USD", "api": "transaction"}),
        json!({"price": "0.000000000000000001"}),
        json!({"pricing_mode": "per_token", "input_price": 1e-7, "output_price": "2", "delivery": "streamed"}),
    ];
    for pricing in good {
        let made = clients.policies.create_policy(with(pricing.clone())).await.unwrap().into_inner();
        let id = made.policy.as_ref().unwrap().id.clone();
        let got = clients.policies.get_policy(GetPolicyRequest { id }).await.unwrap();
        let seen = format!("{made:?} {got:?}");
        assert!(!seen.contains("canary") && seen.contains("[redacted]"), "{seen}");
    }
    let bad = [
        json!({}),
        json!({"price": null}),
        json!({"price": -1}),
        json!({"price": 1e10}),
        json!({"price": "1,5"}),
        json!({"price": true}),
        json!({"price": 1, "pricing_mode": "per_mood"}),
        json!({"price": 1, "pricing_mode": "per_token"}),
        json!({"pricing_mode": "per_token", "input_price": 1}),
        json!({"pricing_mode": "per_token", "input_price": 1, "output_price": null}),
        json!({"price": 1, "currency": "dollars"}),
        json!({"price": 1, "tip": 1}),
        json!({"price": 1, "accounting_password": ""}),
    ];
    for pricing in bad {
        let refused = clients.policies.create_policy(with(pricing.clone())).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{pricing}");
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    }
}
