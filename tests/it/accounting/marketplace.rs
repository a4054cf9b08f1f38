//! An account that its owner leaves to the marketplace.

use serde_json::{Value, json};
use syft_endpoints::proto::{
    ConnectMarketplaceRequest, CreatePolicyRequest, Policy, Query, QueryRequest, UpdatePolicyRequest,
};
use tonic::{Code, Status};

use super::{PAYER, UNIT};
use crate::support::{
    bank::{Bank, OWNER, PASSWORD},
    database::Database,
    eventually,
    hub::{self, Hub},
    on_both,
    space::{Clients, Space, asking, structure},
    upstream::Upstream,
};

async fn create(clients: &mut Clients, name: &str, configuration: Value) -> Result<Policy, Status> {
    let policy = Policy {
        name: name.to_owned(),
        policy_type: "accounting".to_owned(),
        configuration: Some(structure(configuration)),
        endpoint_slug: "ask".to_owned(),
        ..Policy::default()
    };
    let made = clients.policies.create_policy(CreatePolicyRequest { policy: Some(policy) }).await?;
    Ok(made.into_inner().policy.unwrap())
}

async fn pay(clients: &mut Clients, bank: &Bank) {
    let query = Query { transaction_token: Some(bank.token(PAYER)), ..asking("what?") };
    let request = QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
    clients.endpoints.query(request).await.unwrap();
}

fn says_why(refused: &Status, why: &str) {
    let text = format!("{refused:?}");
    assert_eq!(refused.code(), Code::InvalidArgument, "{text}");
    assert!(refused.message().contains("accounting_url") && text.contains(why), "{text}");
}

on_both! {
    async fn what_is_left_out_is_the_default_marketplaces(database: Database) {
        let (bank, hub, upstream) = (Bank::start().await, Hub::start().await, Upstream::says(&["a"]).await);
        let settings = [("hub.default_url", &*hub.url()), ("identity.owner_email", PAYER)];
        let space = Space::configured(database, &settings).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;

        let refused = create(&mut clients, "early", json!({"price": 1})).await.unwrap_err();
        says_why(&refused, "no marketplace is connected");
        let api_token = hub::API_TOKEN.to_owned();
        let connect = ConnectMarketplaceRequest { api_token, ..ConnectMarketplaceRequest::default() };
        clients.marketplaces.connect_marketplace(connect).await.unwrap();
        let refused = create(&mut clients, "early", json!({"price": 1})).await.unwrap_err();
        says_why(&refused, "has no accounting account");
        hub.know_accounting(json!({"url": null, "email": null, "password": null}));
        let refused = create(&mut clients, "early", json!({"price": 1})).await.unwrap_err();
        says_why(&refused, "has no accounting account");

        let url = format!("http://{}", bank.address);
        hub.know_accounting(json!({"url": url, "email": OWNER, "password": PASSWORD}));
        let made = create(&mut clients, "price", json!({"price": 1})).await.unwrap();
        let shown = format!("{made:?}");
        assert!(!shown.contains(PASSWORD) && shown.contains("[redacted]") && shown.contains(&url), "{shown}");
        pay(&mut clients, &bank).await;
        eventually("it is paid", async || bank.earned() == UNIT).await;

        // Half an account is none.
        let half = json!({"price": 1, "accounting_url": url});
        assert_eq!(create(&mut clients, "half", half).await.unwrap_err().code(), Code::InvalidArgument);
        // Another configuration has the account again.
        let mask = prost_types::FieldMask { paths: vec!["configuration".to_owned()] };
        let dearer = Policy { configuration: Some(structure(json!({"price": 2}))), ..made };
        let change = UpdatePolicyRequest { policy: Some(dearer), update_mask: Some(mask) };
        clients.policies.update_policy(change).await.unwrap();
        pay(&mut clients, &bank).await;
        eventually("it is paid", async || bank.earned() == 3 * UNIT).await;
    }

    /// The one that reserves is the one that confirms, though the first policy knows only an old password.
    async fn one_account_serves_a_charge_to_its_end(database: Database) {
        let (bank, upstream) = (Bank::start().await, Upstream::says(&["a"]).await);
        let space = Space::configured(database, &[("identity.owner_email", PAYER)]).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        let mut old = bank.charging(json!({"price": 5, "applied_to": ["eve@*"]}));
        old["accounting_password"] = json!("of old");
        create(&mut clients, "old", old).await.unwrap();
        create(&mut clients, "new", bank.charging(json!({"price": 1}))).await.unwrap();
        pay(&mut clients, &bank).await;
        assert_eq!((bank.earned(), bank.calls("confirm")), (UNIT, 1), "it was confirmed in another way");
    }
}
