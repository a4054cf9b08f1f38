//! Marketplaces: accounts on SyftHubs, and where they find this space.

mod accounts;
mod canaries;
mod commands;
mod public_url;
mod refusals;

use syft_endpoints::proto::{
    ConnectMarketplaceRequest, DeleteMarketplaceRequest, ListMarketplacesRequest, Marketplace,
    RegisterMarketplaceRequest,
};
use tonic::Status;

use crate::support::{
    database::Database,
    hub::{self, Hub},
    space::{Clients, Space},
};

/// A space that takes `hub` for the default one.
async fn space(database: Database, hub: &Hub, settings: &[(&'static str, &str)]) -> Space {
    let url = hub.url();
    Space::configured(database, &[&[("hub.default_url", url.as_str())], settings].concat()).await
}

fn by_password(username: &str, password: &str) -> ConnectMarketplaceRequest {
    let (username, password) = (username.to_owned(), password.to_owned());
    ConnectMarketplaceRequest { username, password, ..ConnectMarketplaceRequest::default() }
}

fn by_token() -> ConnectMarketplaceRequest {
    ConnectMarketplaceRequest { api_token: hub::API_TOKEN.to_owned(), ..ConnectMarketplaceRequest::default() }
}

fn registration(username: &str, email: &str) -> RegisterMarketplaceRequest {
    RegisterMarketplaceRequest {
        name: "Space Owner".to_owned(),
        username: username.to_owned(),
        email: email.to_owned(),
        password: hub::PASSWORD.to_owned(),
        url: String::new(),
    }
}

async fn connect(clients: &mut Clients, request: ConnectMarketplaceRequest) -> Result<Marketplace, Status> {
    let connected = clients.marketplaces.connect_marketplace(request).await?.into_inner();
    Ok(connected.marketplace.unwrap())
}

async fn delete(clients: &mut Clients, id: &str) -> Result<(), Status> {
    clients.marketplaces.delete_marketplace(DeleteMarketplaceRequest { id: id.to_owned() }).await?;
    Ok(())
}

async fn listed(clients: &mut Clients) -> Vec<Marketplace> {
    let request = ListMarketplacesRequest::default();
    clients.marketplaces.list_marketplaces(request).await.unwrap().into_inner().marketplaces
}

async fn bearer(space: &Space, token: &str) -> Clients {
    space.clients(&[("authorization", &format!("Bearer {token}"))]).await
}
