//! Callers with a token of SyftHub.

mod callers;
mod canaries;
mod forgeries;
mod hub_trouble;
mod owners;

use serde_json::json;

use crate::support::{
    database::Database,
    hub::{self, Hub},
    space::{Clients, Space},
};

/// A space whose marketplace is `hub`, with the endpoints `open`, `guarded` by a policy, and `hidden`.
async fn space(database: Database, hub: &Hub, settings: &[(&'static str, &str)]) -> Space {
    let url = hub.url();
    let marketplace =
        [("hub.url", url.as_str()), ("hub.username", hub::OWNER), ("hub.api_token", hub::API_TOKEN)];
    let space = Space::configured(database, &[&marketplace, settings].concat()).await;
    furnish(&mut space.admin().await).await;
    space
}

async fn furnish(owner: &mut Clients) {
    let dataset = owner.dataset("docs").await;
    for slug in ["open", "guarded", "hidden"] {
        owner.endpoint(slug, Some(&dataset), None).await;
    }
    owner.policy("guarded", "access", json!({"allowed_users": ["asker@example.com", "*@syfthub.org"]})).await;
    let hidden = syft_endpoints::proto::Endpoint { slug: "hidden".to_owned(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["published".to_owned()] });
    let request = syft_endpoints::proto::UpdateEndpointRequest { endpoint: Some(hidden), update_mask };
    owner.endpoints.update_endpoint(request).await.unwrap();
}

async fn bearer(space: &Space, token: &str) -> Clients {
    space.clients(&[("authorization", &format!("Bearer {token}"))]).await
}
