//! Accounts on hubs: one a URL, one default a tenant, gone when they have forgotten everything.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use syft_endpoints::{
    domain::{Credential, EndpointId, Marketplace, MarketplaceId, NewMarketplace, TenantId},
    error::Error,
    store::Store,
};

use crate::support::{
    database::{Database, endpoint, marketplace, root},
    on_both,
};

const HUB: &str = "https://hub.example";

async fn started(database: &Database) -> (Store, TenantId, DatabaseConnection) {
    let store = database.store().await;
    let tenant = root(&store).await.id;
    (store, tenant, database.raw().await)
}

/// Puts an endpoint of this state onto a marketplace.
async fn list(store: &Store, raw: &DatabaseConnection, on: &Marketplace, tenant: TenantId, state: &str) {
    let slug = format!("{state}-{}", uuid::Uuid::now_v7());
    let made = store.create_endpoint(tenant, endpoint(&slug)).await.unwrap();
    insert(raw, on.id, (tenant, made.id), (&slug, state)).await;
}

async fn insert(
    raw: &DatabaseConnection,
    on: MarketplaceId,
    (tenant, endpoint): (TenantId, EndpointId),
    (slug, state): (&str, &str),
) {
    let sql = "INSERT INTO listings (id, tenant_id, marketplace_id, endpoint_id, slug, is_removal, state, \
               is_listed, revision, attempts, claimed_until, last_error, reported_at, healthy, created_at) \
               VALUES ($1, $2, $3, $4, $5, FALSE, $6, $7, 1, 5, 0, 'why', 1764000000000000, TRUE, $8)";
    let values: [sea_orm::Value; 8] = [
        uuid::Uuid::now_v7().into(),
        tenant.0.into(),
        on.0.into(),
        endpoint.0.into(),
        slug.into(),
        state.into(),
        (state == "published").into(),
        time::OffsetDateTime::now_utc().into(),
    ];
    let backend = raw.get_database_backend();
    raw.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.unwrap();
}

/// All listings, as `state revision attempts due, removal, listed`.
async fn listings(raw: &DatabaseConnection) -> Vec<String> {
    let sql = "SELECT state || ' ' || CAST(revision AS TEXT) || ' ' || CAST(attempts AS TEXT) || ' ' \
               || COALESCE(CAST(due_at AS TEXT), 'never') || CASE WHEN is_removal THEN ' removal' ELSE '' END \
               || CASE WHEN is_listed THEN ' listed' ELSE '' END AS row FROM listings ORDER BY slug";
    let found = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    found.iter().map(|row| row.try_get("", "row").unwrap()).collect()
}

async fn count(raw: &DatabaseConnection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) AS n FROM {table}");
    let backend = raw.get_database_backend();
    let row = raw.query_one_raw(Statement::from_string(backend, sql)).await.unwrap().unwrap();
    row.try_get("", "n").unwrap()
}

fn another(username: &str) -> NewMarketplace {
    NewMarketplace { username: username.to_owned(), email: String::new(), ..marketplace(HUB) }
}

on_both! {
    async fn one_account_a_url_and_one_default_a_tenant(database: Database) {
        let (store, tenant, _) = started(&database).await;
        let connect = async |url: &str| store.connect_marketplace(tenant, marketplace(url)).await.unwrap();
        let first = connect(HUB).await;
        assert!(first.is_default && first.is_active && !first.is_configured);
        let second = connect("https://other.example").await;
        assert!(!second.is_default && second.is_active);
        let again = connect(HUB).await;
        assert!(again.id == first.id && again.is_default && again.updated_at > first.updated_at);
        let ids = async |after, limit| -> Vec<MarketplaceId> {
            store.marketplaces(tenant, after, limit).await.unwrap().iter().map(|one| one.id).collect()
        };
        assert_eq!(ids(None, 9).await, [first.id, second.id]);
        assert_eq!(ids(None, 1).await, [first.id]);
        assert_eq!(ids(Some(first.id.0), 9).await, [second.id]);
        // Once the default one is gone, the next that is connected is it.
        store.disconnect_marketplace(tenant, first.id).await.unwrap();
        assert!(connect("https://third.example").await.is_default);
        assert!(!store.marketplace(tenant, second.id).await.unwrap().is_default);
        // Nobody else's.
        let other = store.create_tenant("acme".to_owned(), String::new()).await.unwrap().id;
        assert!(matches!(store.marketplace(other, second.id).await, Err(Error::NotFound(..))));
        assert!(matches!(store.disconnect_marketplace(other, second.id).await, Err(Error::NotFound(..))));
    }

    async fn those_that_connect_at_once_make_one_row_and_one_default(database: Database) {
        let (store, tenant, _) = started(&database).await;
        let urls = (0..12).map(|n| format!("https://hub-{}.example", n % 4));
        let connected = urls.map(|url| {
            let store = store.clone();
            async move { store.connect_marketplace(tenant, marketplace(&url)).await }
        });
        for connected in futures_util::future::join_all(connected).await {
            connected.unwrap();
        }
        let stored = store.marketplaces(tenant, None, 99).await.unwrap();
        assert_eq!((stored.len(), stored.iter().filter(|one| one.is_default).count()), (4, 1));
    }

    async fn another_account_knows_nothing_of_the_one_before(database: Database) {
        let (store, tenant, raw) = started(&database).await;
        let first = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        let noted = store.announced(tenant, first.id, Some("sat-1".to_owned()), "https://s.example".to_owned());
        noted.await.unwrap();
        list(&store, &raw, &first, tenant, "published").await;
        // The same one keeps what is known.
        let same = store.connect_marketplace(tenant, another("owner")).await.unwrap();
        assert_eq!((same.satellite_id.as_deref(), same.announced_url.as_deref()), (Some("sat-1"), Some("https://s.example")));
        assert_eq!(same.email, "owner@hub.example");
        assert_eq!(listings(&raw).await, ["published 1 5 never listed"]);
        let new = store.connect_marketplace(tenant, another("somebody")).await.unwrap();
        assert_eq!((new.id, new.username.as_str(), new.email.as_str()), (first.id, "somebody", ""));
        assert_eq!((new.satellite_id, new.announced_url), (None, None));
        assert_eq!(listings(&raw).await, ["pending 2 0 0"]);
        // What the account before was to forget, this one never had.
        raw.execute_unprepared("UPDATE listings SET is_removal = TRUE").await.unwrap();
        store.connect_marketplace(tenant, another("third")).await.unwrap();
        assert!(listings(&raw).await.is_empty());
    }

    async fn a_disconnected_one_is_gone_once_it_has_forgotten_everything(database: Database) {
        let (store, tenant, raw) = started(&database).await;
        let one = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        for state in ["failed", "pending", "published"] {
            list(&store, &raw, &one, tenant, state).await;
        }
        let tally = store.tallies(tenant).await.unwrap()[&one.id];
        assert_eq!((tally.published, tally.pending, tally.failed), (1, 1, 1));
        assert_eq!(tally.reported_at.unwrap().unix_timestamp(), 1_764_000_000);
        store.disconnect_marketplace(tenant, one.id).await.unwrap();
        assert!(matches!(store.marketplace(tenant, one.id).await, Err(Error::NotFound(..))));
        assert!(matches!(store.disconnect_marketplace(tenant, one.id).await, Err(Error::NotFound(..))));
        assert!(store.marketplaces(tenant, None, 9).await.unwrap().is_empty());
        assert!(store.active_marketplaces(tenant).await.unwrap().is_empty());
        assert_eq!(listings(&raw).await, ["pending 2 0 0 removal", "pending 2 0 0 removal", "pending 2 0 0 removal listed"]);
        assert_eq!(store.forget_marketplaces().await.unwrap(), 0);
        assert_eq!(count(&raw, "marketplaces").await, 1);
        // Connected again, it goes on forgetting.
        raw.execute_unprepared("UPDATE listings SET state = 'failed', due_at = NULL, attempts = 9").await.unwrap();
        let again = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        assert!(again.id == one.id && again.is_active && again.is_default);
        assert_eq!(listings(&raw).await, ["pending 3 0 0 removal", "pending 3 0 0 removal", "pending 3 0 0 removal listed"]);
        store.disconnect_marketplace(tenant, one.id).await.unwrap();
        raw.execute_unprepared("DELETE FROM listings").await.unwrap();
        assert_eq!(store.forget_marketplaces().await.unwrap(), 1);
        assert_eq!(count(&raw, "marketplaces").await, 0);
        // One that lists nothing is gone at once.
        let two = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        store.disconnect_marketplace(tenant, two.id).await.unwrap();
        assert_eq!(count(&raw, "marketplaces").await, 0);
        // One that cannot be made to forget is given up after a week, with its credential.
        let three = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        list(&store, &raw, &three, tenant, "published").await;
        store.disconnect_marketplace(tenant, three.id).await.unwrap();
        let days = |days| time::OffsetDateTime::now_utc() - time::Duration::days(days);
        for (removed_at, forgotten) in [(days(6), 0), (days(8), 1)] {
            let aged = "UPDATE marketplaces SET removed_at = $1";
            let aged = Statement::from_sql_and_values(raw.get_database_backend(), aged, [removed_at.into()]);
            raw.execute_raw(aged).await.unwrap();
            assert_eq!(store.forget_marketplaces().await.unwrap(), forgotten);
        }
        assert_eq!((count(&raw, "marketplaces").await, count(&raw, "listings").await), (0, 0));
    }

    async fn connected_again_it_is_told_again_of_what_it_does_not_know(database: Database) {
        let (store, tenant, raw) = started(&database).await;
        let one = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        for state in ["failed", "pending", "published"] {
            list(&store, &raw, &one, tenant, state).await;
        }
        store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        assert_eq!(listings(&raw).await, ["pending 2 0 0", "pending 2 0 0", "published 1 5 never listed"]);
    }

    async fn the_configured_one_is_changed_in_the_configuration(database: Database) {
        let (store, tenant, _) = started(&database).await;
        store.configure_marketplace(tenant, Some(marketplace(HUB))).await.unwrap();
        let known = store.marketplaces(tenant, None, 9).await.unwrap().remove(0);
        assert!(known.is_configured && known.is_default);
        let refused = store.connect_marketplace(tenant, another("somebody")).await;
        assert!(matches!(refused, Err(Error::MarketplaceConfigured(url)) if url == HUB));
        let refused = store.disconnect_marketplace(tenant, known.id).await;
        assert!(matches!(refused, Err(Error::MarketplaceConfigured(url)) if url == HUB));
        assert_eq!(store.marketplace(tenant, known.id).await.unwrap().username, "owner");
        // Configured no longer, it is an account like any other.
        store.configure_marketplace(tenant, None).await.unwrap();
        assert!(!store.marketplace(tenant, known.id).await.unwrap().is_active);
        let taken = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        assert!(taken.id == known.id && taken.is_active && taken.is_default && !taken.is_configured);
    }

    async fn what_is_noted_touches_tokens_only_when_they_may_be_for_another(database: Database) {
        let (store, tenant, _) = started(&database).await;
        let one = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        let revision = || store.feed().catalog_revision().unwrap();
        let before = revision();
        store.set_report_error(one.id, "it is unavailable".to_owned()).await.unwrap();
        store.announced(tenant, one.id, None, "https://s.example".to_owned()).await.unwrap();
        let noted = store.marketplace(tenant, one.id).await.unwrap();
        assert_eq!((revision(), noted.updated_at), (before, one.updated_at));
        assert_eq!((noted.report_error.as_str(), noted.announced_url.as_deref()), ("it is unavailable", Some("https://s.example")));
        store.announced(tenant, one.id, Some("sat-1".to_owned()), "https://t.example".to_owned()).await.unwrap();
        let noted = store.marketplace(tenant, one.id).await.unwrap();
        assert!(revision() > before && noted.updated_at > one.updated_at);
        assert_eq!((noted.satellite_id.as_deref(), noted.announced_url.as_deref()), (Some("sat-1"), Some("https://t.example")));
        let gone = MarketplaceId::new();
        assert!(matches!(store.announced(tenant, gone, None, String::new()).await, Err(Error::NotFound(..))));
        store.set_report_error(gone, "x".to_owned()).await.unwrap();
    }

    async fn a_new_public_url_is_told_of_every_endpoint(database: Database) {
        let (store, tenant, raw) = started(&database).await;
        let one = store.connect_marketplace(tenant, marketplace(HUB)).await.unwrap();
        list(&store, &raw, &one, tenant, "published").await;
        assert_eq!(store.public_url(tenant).await.unwrap(), None);
        let url = Some("https://space.example".to_owned());
        for _ in 0..2 {
            // The second time says nothing new.
            store.set_public_url(tenant, url.clone()).await.unwrap();
            assert_eq!(listings(&raw).await, ["pending 2 0 0 listed"]);
        }
        assert_eq!(store.public_url(tenant).await.unwrap(), url);
        let other = store.create_tenant("acme".to_owned(), String::new()).await.unwrap().id;
        store.set_public_url(other, Some("https://acme.example".to_owned())).await.unwrap();
        assert_eq!(store.public_url(tenant).await.unwrap(), url);
        store.set_public_url(tenant, None).await.unwrap();
        assert_eq!((store.public_url(tenant).await.unwrap(), listings(&raw).await), (None, vec!["pending 3 0 0 listed".to_owned()]));
    }

    async fn credentials_are_sealed(database: Database) {
        let (store, tenant, raw) = started(&database).await;
        for credential in [Credential::Password("s3cret-1".to_owned().into()), Credential::ApiToken("s3cret-1".to_owned().into())] {
            let new = NewMarketplace { credential, ..marketplace(HUB) };
            store.connect_marketplace(tenant, new).await.unwrap();
            let sql = "SELECT CAST(credential AS TEXT) AS text FROM marketplaces";
            let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
            let text: String = row.unwrap().try_get("", "text").unwrap();
            assert!(!text.contains("s3cret") && text.contains("$sealed"), "{text}");
        }
        let opened = store.active_marketplaces(tenant).await.unwrap().remove(0).credential;
        let Some(Credential::ApiToken(token)) = opened else { panic!("{opened:?}") };
        assert_eq!(secrecy::ExposeSecret::expose_secret(&token), "s3cret-1");
    }
}
