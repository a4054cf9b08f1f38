//! Endpoints on marketplaces.

mod lapses;
mod meanwhile;
mod outbox;
mod payload;
mod races;
mod reports;
mod story;
mod sync;

use serde_json::Value;
use syft_endpoints::{
    proto::{
        Endpoint, GetEndpointRequest, Listing, ListingState, MarketplaceResult, PublishEndpointRequest,
        SyncEndpointsRequest, SyncResult, UnpublishEndpointRequest, UpdateEndpointRequest,
    },
    store::Store,
};

use crate::support::{
    database::{Database, root},
    eventually,
    hub::{self, Hub},
    process::Process,
    space::{Clients, Space},
};

pub const PUBLIC_URL: &str = "https://space.example";

/// A space whose marketplace is `hub`, with the endpoint `law`.
async fn space(database: Database, hub: &Hub, settings: &[(&'static str, &str)]) -> (Space, Clients) {
    let space = on(database, hub, settings).await;
    let mut owner = space.admin().await;
    let dataset = owner.dataset("law").await;
    owner.endpoint("law", Some(&dataset), None).await;
    (space, owner)
}

/// A space whose marketplace is `hub`.
async fn on(database: Database, hub: &Hub, settings: &[(&'static str, &str)]) -> Space {
    let url = hub.url();
    let marketplace = [
        ("hub.url", url.as_str()),
        ("hub.username", hub::OWNER),
        ("hub.api_token", hub::API_TOKEN),
        ("public_url", PUBLIC_URL),
    ];
    Space::configured(database, &[&marketplace, settings].concat()).await
}

/// Connects the space to another marketplace.
async fn connect(store: &Store, hub: &Hub) -> syft_endpoints::domain::Marketplace {
    store.connect_marketplace(root(store).await.id, hub.account()).await.unwrap()
}

/// A replica of a space whose marketplace is `hub`, as a process of its own.
fn replica(database: &Database, hub: &Hub) -> Process {
    let config = database.folder.path().join("hub.toml");
    let text = format!(
        "public_url = \"{PUBLIC_URL}\"\n[hub]\nurl = \"{}\"\nusername = \"{}\"\napi_token = \"{}\"\n\
         report_interval_ms = 1000\n",
        hub.url(),
        hub::OWNER,
        hub::API_TOKEN
    );
    std::fs::write(&config, text).unwrap();
    Process::start(database, &["--config", config.to_str().unwrap()])
}

/// The id of the only marketplace, or of the oldest.
async fn marketplace(space: &Space) -> String {
    let found = space.store.active_marketplaces(root(&space.store).await.id).await.unwrap();
    found[0].id.to_string()
}

async fn publish(owner: &mut Clients, slug: &str) -> Vec<MarketplaceResult> {
    let request =
        PublishEndpointRequest { slug: slug.to_owned(), all_marketplaces: true, ..Default::default() };
    owner.endpoints.publish_endpoint(request).await.unwrap().into_inner().results
}

async fn published(owner: &mut Clients, slug: &str) {
    let results = publish(owner, slug).await;
    assert!(!results.is_empty() && results.iter().all(|result| result.success), "{results:?}");
}

async fn unpublish(owner: &mut Clients, slug: &str) -> Vec<MarketplaceResult> {
    let request = UnpublishEndpointRequest { slug: slug.to_owned(), marketplace_ids: Vec::new() };
    owner.endpoints.unpublish_endpoint(request).await.unwrap().into_inner().results
}

async fn sync(owner: &mut Clients, replace_all: bool) -> SyncResult {
    let request = SyncEndpointsRequest { marketplace_ids: Vec::new(), replace_all };
    owner.endpoints.sync_endpoints(request).await.unwrap().into_inner().results.remove(0)
}

async fn endpoint(owner: &mut Clients, slug: &str) -> Endpoint {
    let request = GetEndpointRequest { slug: slug.to_owned() };
    owner.endpoints.get_endpoint(request).await.unwrap().into_inner().endpoint.unwrap()
}

/// How an endpoint stands with its only marketplace.
async fn listing(owner: &mut Clients, slug: &str) -> Option<Listing> {
    endpoint(owner, slug).await.listings.pop()
}

async fn reaches(owner: &mut Clients, slug: &str, state: ListingState) -> Listing {
    let mut found = None;
    eventually(state.as_str_name(), async || {
        found = listing(owner, slug).await;
        found.as_ref().is_some_and(|listing| listing.state() == state)
    })
    .await;
    found.unwrap()
}

/// Changes a field of an endpoint.
async fn change(owner: &mut Clients, endpoint: Endpoint, field: &str) {
    let update_mask = Some(prost_types::FieldMask { paths: vec![field.to_owned()] });
    let request = UpdateEndpointRequest { endpoint: Some(endpoint), update_mask };
    owner.endpoints.update_endpoint(request).await.unwrap();
}

async fn summarize(owner: &mut Clients, slug: &str, summary: &str) {
    let endpoint = Endpoint { slug: slug.to_owned(), summary: summary.to_owned(), ..Endpoint::default() };
    change(owner, endpoint, "summary").await;
}

/// What the hub shows of a field.
fn shown(hub: &Hub, slug: &str, field: &str) -> Option<Value> {
    hub.listed(slug)?.get(field).cloned()
}

/// Waits until the hub shows this summary.
async fn learns(hub: &Hub, slug: &str, summary: &str) {
    eventually("the hub learns", async || {
        shown(hub, slug, "description").is_some_and(|shown| shown == summary)
    })
    .await;
}
