//! The change feed: what one replica writes takes effect on every other within a second.

use std::time::{Duration, Instant};

use syft_endpoints::proto::{Endpoint, UpdateEndpointRequest};

use crate::support::{
    database::{Database, endpoint, root},
    eventually, on_both,
    space::{ADMIN_KEY, Space, reason},
    upstream::Upstream,
};

on_both! {
    async fn another_replicas_write_moves_the_revision(database: Database) {
        let (here, there) = (database.store().await, database.store().await);
        let tenant = root(&here).await.id;
        eventually("the feeds agree", async || here.feed().catalog_revision() == there.feed().catalog_revision()).await;
        let before = there.feed().catalog_revision();
        here.create_endpoint(tenant, endpoint("new")).await.unwrap();
        // Whoever has written finds it at once.
        assert!(here.feed().catalog_revision() > before);
        let written = Instant::now();
        eventually("the other replica knows", async || there.feed().catalog_revision() > before).await;
        assert!(written.elapsed() < Duration::from_secs(5));
    }

    async fn an_unpublished_endpoint_and_a_revoked_key_are_refused_everywhere(database: Database) {
        let upstream = Upstream::says(&["a"]).await;
        let space = Space::start(database).await;
        let replica = replica_of(&space).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        let created = owner.access.create_api_key(syft_endpoints::proto::CreateApiKeyRequest {
            api_key: Some(syft_endpoints::proto::ApiKey {
                name: "k".to_owned(),
                email: "amy@example.org".to_owned(),
                scopes: vec![syft_endpoints::proto::Scope::Query.into()],
                ..Default::default()
            }),
        }).await.unwrap().into_inner();
        let key = format!("Bearer {}", created.secret);
        let mut amy = replica.clients(&[("authorization", &key)]).await;
        eventually("the replica answers", async || amy.clone().query("ask").await.is_ok()).await;

        let endpoint = Endpoint { slug: "ask".to_owned(), ..Endpoint::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["published".to_owned()] });
        owner.endpoints.update_endpoint(UpdateEndpointRequest { endpoint: Some(endpoint), update_mask }).await.unwrap();
        // Here at once, there soon.
        assert_eq!(reason(&owner.query("ask").await.unwrap_err()), "ENDPOINT_NOT_PUBLISHED");
        eventually("the replica refuses", async || {
            amy.clone().query("ask").await.is_err_and(|status| reason(&status) == "ENDPOINT_NOT_PUBLISHED")
        }).await;

        let id = created.api_key.unwrap().id;
        owner.access.revoke_api_key(syft_endpoints::proto::RevokeApiKeyRequest { id }).await.unwrap();
        eventually("the key is refused", async || {
            amy.clone().query("ask").await.is_err_and(|status| reason(&status) == "UNAUTHENTICATED")
        }).await;
        amy.query("ask").await.unwrap_err();
    }
}

/// A second service on the same database, with a data folder of its own.
async fn replica_of(space: &Space) -> Space {
    let database = Database { url: space.database.url.clone(), folder: tempfile::tempdir().unwrap() };
    let replica = Space::configured(database, &[("admin_api_key", ADMIN_KEY)]).await;
    let store = replica.store.clone();
    eventually("the replica follows", async || store.feed().catalog_revision().is_some()).await;
    replica
}
