//! Policies of one endpoint that one reservation cannot pay are refused when they are attached.

use serde_json::{Value, json};
use syft_endpoints::proto::{CreatePolicyRequest, EvaluatePoliciesRequest, Policy, UpdatePolicyRequest};
use tonic::{Code, Status};

use crate::support::{
    bank::Bank,
    database::Database,
    on_both,
    rest::Rest,
    space::{Clients, Space, asking, structure},
    upstream::Upstream,
};

fn named(name: &str, configuration: Value) -> Policy {
    Policy {
        name: name.to_owned(),
        policy_type: "accounting".to_owned(),
        configuration: Some(structure(configuration)),
        endpoint_slug: "ask".to_owned(),
        ..Policy::default()
    }
}

async fn create(clients: &Clients, policy: Policy) -> Result<Policy, Status> {
    let request = CreatePolicyRequest { policy: Some(policy) };
    let made = clients.clone().policies.create_policy(request).await?;
    Ok(made.into_inner().policy.unwrap())
}

async fn update(clients: &Clients, policy: Policy, paths: &[&str]) -> Result<(), Status> {
    let paths = paths.iter().map(ToString::to_string).collect();
    let mask = Some(prost_types::FieldMask { paths });
    let request = UpdatePolicyRequest { policy: Some(policy), update_mask: mask };
    clients.clone().policies.update_policy(request).await.map(|_| ())
}

/// It names the policy that it would stand beside, and no account.
fn names(refused: &Status, other: &str) {
    let text = format!("{refused:?}");
    assert_eq!(refused.code(), Code::InvalidArgument, "{text}");
    assert!(refused.message().contains(&format!("'{other}'")), "{text}");
    assert!(!text.contains("bank.example") && !text.contains("127.0.0.1"), "{text}");
}

on_both! {
    async fn another_account_or_currency_is_refused_when_it_is_attached(database: Database) {
        let (bank, other, upstream) = (Bank::start().await, Bank::start().await, Upstream::says(&["a"]).await);
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        let first = create(&clients, named("first", bank.charging(json!({"price": 1})))).await.unwrap();
        let mut others = vec![
            bank.charging(json!({"price": 1, "currency": "EUR"})),
            bank.charging(json!({"price": 1, "api": "transactions"})),
            other.charging(json!({"price": 1})),
        ];
        let mut stranger = bank.charging(json!({"price": 1}));
        stranger["accounting_email"] = json!("stranger@bank.example");
        others.push(stranger);
        for configuration in others {
            names(&create(&clients, named("second", configuration)).await.unwrap_err(), "first");
        }
        // What can be paid together may stand together.
        let second = create(&clients, named("second", bank.charging(json!({"price": 2})))).await.unwrap();
        let mut euros = named("second", json!({"currency": "EUR"}));
        euros.id = second.id.clone();
        names(&update(&clients, euros, &["configuration.*"]).await.unwrap_err(), "first");
        let endpoint_id = first.endpoint_id;
        let renamed = Policy { id: first.id, ..named("renamed", json!({})) };
        update(&clients, renamed, &["name"]).await.unwrap();

        let body = json!({"name": "third", "policy_type": "accounting", "endpoint_id": endpoint_id,
                          "configuration": bank.charging(json!({"price": 1, "currency": "EUR"}))});
        let refused = Rest::admin(&space).post("/api/v1/policies/", body).await.expect(400);
        let words = refused["detail"].as_str().unwrap();
        assert!(words.starts_with("configuration.currency ") && words.contains("'renamed'"), "{words}");
    }

    async fn of_two_that_come_at_once_one_is_refused(database: Database) {
        let (bank, upstream) = (Bank::start().await, Upstream::says(&["a"]).await);
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        let creating = ["USD", "EUR", "GBP", "CHF", "JPY", "SEK", "NOK", "DKK"].map(|currency| {
            let configuration = bank.charging(json!({"price": 1, "currency": currency}));
            let clients = clients.clone();
            async move { create(&clients, named(currency, configuration)).await }
        });
        let made = futures_util::future::join_all(creating).await;
        let stored: Vec<&Policy> = made.iter().flatten().collect();
        assert_eq!(stored.len(), 1, "{made:?}");
        for refused in made.iter().filter_map(|made| made.as_ref().err()) {
            names(refused, &stored[0].name);
        }
    }

    async fn a_dry_run_says_so_too(database: Database) {
        let bank = Bank::start().await;
        let space = Space::start(database).await;
        let given = |currency: &str| Policy {
            policy_type: "accounting".to_owned(),
            configuration: Some(structure(bank.charging(json!({"price": 1, "currency": currency})))),
            ..Policy::default()
        };
        let request = |currencies: &[&str]| EvaluatePoliciesRequest {
            policies: currencies.iter().map(|currency| given(currency)).collect(),
            email: "bob@example.org".to_owned(),
            query: Some(asking("what?")),
            ..EvaluatePoliciesRequest::default()
        };
        let mut clients = space.admin().await;
        clients.policies.evaluate_policies(request(&["USD", "USD"])).await.unwrap();
        let refused = clients.policies.evaluate_policies(request(&["USD", "EUR"])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}
