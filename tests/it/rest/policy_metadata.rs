//! What SyftHub reads of every way in which policies can end a query: who says something, what, and in which order.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    bank::Bank,
    database::Database,
    on_both,
    rest::{Rest, question},
    space::Space,
    upstream::Upstream,
};

const PAYER: &str = "bob@example.org";

/// Asks under a name, and says status, outcome and entries in a line each.
async fn asked(rest: &Rest, slug: &str, name: &str, token: Option<String>) -> Vec<String> {
    let mut body = question();
    if let Some(token) = token {
        body["transaction_token"] = json!(token);
    }
    let request = rest.request(Method::POST, &format!("/api/v1/endpoints/{slug}/query")).json(&body);
    let answer = rest.send(request.header("x-correlation-id", name)).await;
    let metadata = &answer.json()["policy_metadata"];
    let mut lines = vec![format!("{} {}", answer.status, metadata["outcome"].as_str().unwrap())];
    lines.extend(metadata["entries"].as_array().unwrap().iter().map(line));
    lines
}

/// `policy_type kind status`, and what else is not null.
fn line(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().map(ToOwned::to_owned);
    let amount = entry["amount"].as_f64().map(|amount| amount.to_string());
    let transaction = entry["transaction"]["reference"].as_str().map(|made| made[..5].to_owned());
    let required = ["policy_type", "kind", "status"].map(|field| text(field).expect("it is required"));
    let known = [
        &["payment", "access", "transform", "rate_limit"][..],
        &["charged", "refunded", "free", "rejected", "applied", "skipped"],
    ];
    assert!(known[0].contains(&required[1].as_str()) && known[1].contains(&required[2].as_str()), "{entry}");
    let optional = [amount, text("currency"), transaction, text("reason_code")];
    required.into_iter().chain(optional.into_iter().flatten()).collect::<Vec<_>>().join(" ")
}

on_both! {
    async fn every_policy_says_what_it_did(database: Database) {
        let (bank, upstream) = (Bank::start().await, Upstream::says(&["write to a@example.org"]).await);
        let space = Space::configured(database, &[("identity.owner_email", PAYER)]).await;
        let (mut clients, rest) = (space.admin().await, Rest::admin(&space));
        for slug in ["all", "denied", "asked", "blocked", "either", "free"] {
            clients.asks(slug, upstream.address).await;
        }
        let paid = bank.charging(json!({"price": 2}));
        for (policy_type, configuration) in [
            ("access", json!({"allowed_users": ["*"]})),
            ("rate_limit", json!({"limit": "1/h"})),
            ("pii_filter", json!({"mode": "redact", "apply_to": ["answer"]})),
            ("prompt_filter", json!({"mode": "redact", "words": ["zebra"], "apply_to": ["question"]})),
            ("attribution", json!({})),
            ("accounting", paid.clone()),
        ] {
            clients.policy("all", policy_type, configuration).await;
        }
        let token = || Some(bank.token(PAYER));
        let lines = asked(&rest, "all", "c1", token()).await;
        assert_eq!(lines, [
            "200 success",
            "attribution transform skipped",
            "prompt_filter transform skipped",
            "pii_filter transform applied",
            "accounting payment charged 2 USD syft/",
        ]);
        let lines = asked(&rest, "all", "c1", token()).await;
        assert_eq!(lines, [
            "200 success",
            "rate_limit rate_limit skipped REPEATED",
            "accounting payment skipped REPEATED",
            "attribution transform skipped",
            "prompt_filter transform skipped",
            "pii_filter transform applied",
        ]);
        let lines = asked(&rest, "all", "c2", token()).await;
        assert_eq!(lines, ["403 access_denied", "rate_limit rate_limit rejected RATE_LIMITED"]);

        clients.policy("denied", "access", json!({"denied_users": ["*"]})).await;
        assert_eq!(
            asked(&rest, "denied", "c1", None).await,
            ["403 access_denied", "access access rejected ACCESS_DENIED"]
        );
        clients.policy("asked", "prompt_filter", json!({"mode": "block", "words": ["copyright"]})).await;
        clients.policy("asked", "accounting", paid.clone()).await;
        assert_eq!(
            asked(&rest, "asked", "c1", token()).await,
            ["403 access_denied", "prompt_filter transform rejected CONTENT_BLOCKED"]
        );
        clients.policy("blocked", "pii_filter", json!({"mode": "block", "apply_to": ["answer"]})).await;
        clients.policy("blocked", "accounting", paid).await;
        assert_eq!(
            asked(&rest, "blocked", "c1", None).await,
            ["403 access_denied", "accounting payment rejected PAYMENT_REQUIRED"]
        );
        assert_eq!(asked(&rest, "blocked", "c2", token()).await, [
            "403 access_denied",
            "pii_filter transform rejected CONTENT_BLOCKED",
            "accounting payment refunded 2 USD syft/",
        ]);
        let children = json!({"policies": [
            {"policy_type": "access", "configuration": {"denied_users": ["*"]}},
            {"policy_type": "access", "configuration": {"allowed_users": ["eve@*"]}},
        ]});
        clients.policy("either", "any_of", children).await;
        assert_eq!(
            asked(&rest, "either", "c1", None).await,
            ["403 access_denied", "access access rejected ACCESS_DENIED"]
        );
        clients.policy("free", "accounting", bank.charging(json!({"price": 0}))).await;
        assert_eq!(asked(&rest, "free", "c1", None).await, ["200 success", "accounting payment free 0 USD"]);
    }
}
