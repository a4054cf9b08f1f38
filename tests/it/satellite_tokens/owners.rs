//! The marketplace itself: how it comes into the database, whose it is, and what is kept of it.

use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use syft_endpoints::{
    domain::{Credential, NewMarketplace},
    proto::{CreateTenantRequest, Tenant},
    store::{self, SecretBox, Store},
};
use tonic::Code;

use super::{bearer, furnish, space};
use crate::support::{
    database::{Database, root},
    eventually,
    hub::{self, Hub},
    on_both,
    space::{ADMIN_KEY, Clients, Space, reason},
};

on_both! {
    async fn the_configured_one_is_stored_once_with_its_secret_sealed(database: Database) {
        let hub = Hub::start().await;
        let first = space(database, &hub, &[]).await;
        bearer(&first, &hub::token("2")).await.query("open").await.unwrap();
        let database = first.stop().await;
        let stored = rows(&database).await;
        assert!(stored.len() == 1 && stored[0].contains("$sealed"), "{stored:?}");
        assert!(!stored[0].contains(hub::API_TOKEN), "{stored:?}");
        // Again, under another spelling of the same URL.
        let url = format!("{}/", hub.url().to_uppercase().replace("HTTP", "http"));
        let settings = [("hub.url", url.as_str()), ("hub.username", "SpaceOwner"), ("hub.api_token", hub::API_TOKEN)];
        let again = Space::configured(database, &settings).await;
        bearer(&again, &hub::token("2")).await.query("open").await.unwrap();
        let database = again.stop().await;
        assert_eq!(rows(&database).await, stored, "it was written anew");
        // A token that was changed is stored, and only the last marketplace is the default one.
        let settings = [("hub.url", hub.url()), ("hub.username", hub::OWNER.to_owned()), ("hub.api_token", "other".to_owned())];
        let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
        let changed = Space::configured(database, &settings).await;
        let refused = bearer(&changed, &hub::token("2")).await.query("open").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "HUB_REJECTED"));
        let database = changed.stop().await;
        let settings = [("hub.url", "http://127.0.0.1:9"), ("hub.username", hub::OWNER), ("hub.api_token", "x")];
        let moved = Space::configured(database, &settings).await;
        let stored = rows(&moved.database).await;
        let states: Vec<_> = stored.iter().map(|row| row.split_once(';').unwrap().1).collect();
        assert_eq!(states, [" ", " active default"], "{stored:?}");
        // Named no longer, it is believed no longer.
        let known = Space::configured(moved.stop().await, &[]).await;
        let refused = bearer(&known, &hub::token("2")).await.query("open").await.unwrap_err();
        assert_eq!(reason(&refused), "UNAUTHENTICATED");
        assert!(rows(&known.database).await.iter().all(|row| row.ends_with("; ")));
    }

    async fn a_credential_that_does_not_open_keeps_nobody_else_out(database: Database) {
        let (hub, id) = (Hub::start().await, root(&database.store().await).await.id);
        let other_keys = SecretBox::parse(&SecretBox::generate().unwrap()).unwrap();
        let config = store::Config { url: database.url.clone(), ..store::Config::default() };
        let other = Store::connect(config, other_keys).await.unwrap();
        other.configure_marketplace(id, Some(account(&hub))).await.unwrap();
        let space = Space::start(database).await;
        // Nothing is configured here, and what was is active no longer.
        let sql = "UPDATE marketplaces SET is_active = TRUE, is_default = TRUE";
        space.database.raw().await.execute_unprepared(sql).await.unwrap();
        let mut owner = space.admin().await;
        furnish(&mut owner).await;
        owner.query("open").await.unwrap();
        let refused = bearer(&space, &hub::token("2")).await.query("open").await.unwrap_err();
        assert_eq!(reason(&refused), "HUB_REJECTED", "{refused:?}");
        // Configured anew, it is sealed with our own.
        let database = space.stop().await;
        let url = hub.url();
        let marketplace =
            [("hub.url", url.as_str()), ("hub.username", hub::OWNER), ("hub.api_token", hub::API_TOKEN)];
        let space = Space::configured(database, &marketplace).await;
        bearer(&space, &hub::token("2")).await.query("open").await.unwrap();
    }

    async fn replicas_that_start_together_store_one(database: Database) {
        let (hub, store) = (Hub::start().await, database.store().await);
        let id = root(&store).await.id;
        let replicas = (0..8).map(|_| store.configure_marketplace(id, Some(account(&hub))));
        for stored in futures_util::future::join_all(replicas).await {
            stored.unwrap();
        }
        assert_eq!(rows(&database).await.len(), 1);
    }

    async fn the_owner_is_who_the_marketplace_says(database: Database) {
        let hub = Hub::start().await;
        hub.fail("me", hub::Fault { status: 500, headers: &[], body: String::new() });
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        owner.policy("open", "access", json!({"allowed_users": ["owner@hub.example"]})).await;
        let refused = owner.query("open").await.unwrap_err();
        assert_eq!(reason(&refused), "POLICY_VIOLATION");
        hub.recover();
        eventually("the owner is known", async || owner.query("open").await.is_ok()).await;
        // It is kept: the next start does not depend on the hub.
        let database = space.stop().await;
        hub.die().await;
        let url = hub.url();
        let marketplace =
            [("hub.url", url.as_str()), ("hub.username", hub::OWNER), ("hub.api_token", hub::API_TOKEN)];
        let again = Space::configured(database, &marketplace).await;
        again.admin().await.query("open").await.unwrap();
        let named = [("identity.owner_email", "me@example.org")];
        let named = [marketplace.as_slice(), &named].concat();
        let named = Space::configured(again.stop().await, &named).await;
        assert_eq!(reason(&named.admin().await.query("open").await.unwrap_err()), "POLICY_VIOLATION");
    }

    async fn a_token_is_good_at_its_own_tenant_only(database: Database) {
        let (hub, other_hub) = (Hub::start().await, Hub::start().await);
        // The same name for another key: a name says nothing across hubs.
        other_hub.show_keys(&[(hub::KEY_ID, 1)]);
        let settings = [("identity.enable_multi_tenancy", "true"), ("upstream.private_addresses", "allow")];
        let url = hub.url();
        let marketplace =
            [("hub.url", url.as_str()), ("hub.username", hub::OWNER), ("hub.api_token", hub::API_TOKEN)];
        let space = Space::configured(database, &[marketplace.as_slice(), &settings].concat()).await;
        for (tenant, hub) in [("acme", Some(&hub)), ("umbrella", Some(&other_hub)), ("plain", None)] {
            let new = Tenant { name: tenant.to_owned(), ..Tenant::default() };
            let made = space.admin().await.access.create_tenant(CreateTenantRequest { tenant: Some(new) }).await;
            made.unwrap();
            if let Some(hub) = hub {
                let id = space.store.tenant(tenant).await.unwrap().id;
                space.store.configure_marketplace(id, Some(account(hub))).await.unwrap();
            }
            furnish(&mut with(&space, tenant, ADMIN_KEY).await).await;
        }
        let tokens = [hub::token("2"), hub::signed(&hub::header(), &hub::claims("2"), 1)];
        for (tenant, good) in [("acme", Some(0)), ("umbrella", Some(1)), ("plain", None), ("nowhere", None)] {
            for (n, token) in tokens.iter().enumerate() {
                let answer = with(&space, tenant, token).await.query("open").await;
                match answer {
                    Ok(_) => assert_eq!(Some(n), good, "token {n} at {tenant}"),
                    Err(refused) => {
                        assert_ne!(Some(n), good, "token {n} at {tenant}: {refused:?}");
                        let said = (refused.code(), refused.message());
                        assert_eq!(said, (Code::Unauthenticated, "A valid credential is required"));
                    }
                }
            }
        }
        let unnamed = bearer(&space, &tokens[0]).await.query("open").await.unwrap_err();
        assert_eq!(unnamed.code(), Code::InvalidArgument, "{unnamed:?}");
        assert!(unnamed.message().contains("x-tenant-name"), "{unnamed:?}");
    }
}

fn account(hub: &Hub) -> NewMarketplace {
    NewMarketplace {
        name: "Hub".to_owned(),
        username: hub::OWNER.to_owned(),
        url: hub.url(),
        issuers: vec![hub::ISSUER.to_owned()],
        email: String::new(),
        credential: Credential::ApiToken(hub::API_TOKEN.to_owned().into()),
    }
}

async fn with(space: &Space, tenant: &str, token: &str) -> Clients {
    space.clients(&[("authorization", &format!("Bearer {token}")), ("x-tenant-name", tenant)]).await
}

/// All marketplaces as they are stored, oldest first.
async fn rows(database: &Database) -> Vec<String> {
    let raw = database.raw().await;
    let sql = "SELECT url || ' ' || username || ' ' || CAST(credential AS TEXT) || ' ' \
               || CAST(updated_at AS TEXT) || '; ' || CASE WHEN is_active THEN 'active ' ELSE '' END \
               || CASE WHEN is_default THEN 'default' ELSE '' END AS row \
               FROM marketplaces ORDER BY id";
    let found = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    found.iter().map(|row| row.try_get("", "row").unwrap()).collect()
}
