//! Changes to what is stored: new names, and configurations that are merged.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use syft_endpoints::{
    domain::{
        AttachmentChange, Configuration, ConfigurationChange, EndpointRef, NewEndpoint, NewPolicy,
        PolicyChange,
    },
    error::{Error, Part, Resource},
    store::Beside,
};

use crate::support::{
    database::{Database, attachment, endpoint, root},
    eventually, on_both,
};

fn renamed(name: &str) -> AttachmentChange {
    AttachmentChange { name: Some(name.to_owned()), ..AttachmentChange::default() }
}

fn object(value: Value) -> Configuration {
    value.as_object().unwrap().clone()
}

fn merging(value: Value) -> PolicyChange {
    PolicyChange { name: None, configuration: Some(ConfigurationChange::Merge(object(value))) }
}

fn with_token(_: &str, _: &Configuration) -> Result<&'static [&'static str], Error> {
    Ok(&["token"])
}

on_both! {
    async fn a_new_name_is_free_everywhere_and_everything_else_stays(database: Database) {
        let (store, replica) = (database.store().await, database.store().await);
        let tenant = root(&store).await.id;
        for (part, resource) in [(Part::Dataset, Resource::Dataset), (Part::Model, Resource::Model)] {
            let created = store.create_attachment(part, tenant, attachment("old", "t"), &[]).await.unwrap();
            store.create_attachment(part, tenant, attachment("taken", "t"), &[]).await.unwrap();
            let (dataset_id, model_id) = if part == Part::Dataset { (Some(created.id), None) } else { (None, Some(created.id)) };
            let slug = format!("of-{resource}").to_lowercase();
            store.create_endpoint(tenant, NewEndpoint { dataset_id, model_id, ..endpoint(&slug) }).await.unwrap();
            eventually("the feeds agree", async || store.feed().catalog_revision() == replica.feed().catalog_revision()).await;
            let before = replica.feed().catalog_revision();

            let updated = store.update_attachment(part, tenant, "old", renamed("new")).await.unwrap();
            assert_eq!((updated.id, updated.name.as_str(), &updated.dtype), (created.id, "new", &created.dtype));
            assert!(updated == store.attachment(part, tenant, "new").await.unwrap(), "not what is stored");
            let gone = store.attachment(part, tenant, "old").await;
            assert!(matches!(gone, Err(Error::NotFound(of, name)) if of == resource && name == "old"));
            assert_eq!(store.endpoint_slugs(part, tenant, created.id).await.unwrap(), [slug]);
            eventually("the replica knows", async || replica.feed().catalog_revision() > before).await;

            let taken = store.update_attachment(part, tenant, "new", renamed("taken")).await;
            assert!(matches!(taken, Err(Error::AlreadyExists(of, name)) if of == resource && name == "taken"));
            let absent = store.update_attachment(part, tenant, "old", renamed("other")).await;
            assert!(matches!(absent, Err(Error::NotFound(of, name)) if of == resource && name == "old"));
            // Its own name is not taken, and the old one is free again.
            store.update_attachment(part, tenant, "new", renamed("new")).await.unwrap();
            store.create_attachment(part, tenant, attachment("old", "t"), &[]).await.unwrap();
        }
    }

    async fn of_merges_that_race_none_is_lost(database: Database) {
        let stores = [database.store().await, database.store().await];
        let tenant = root(&stores[0]).await.id;
        stores[0].create_endpoint(tenant, endpoint("one")).await.unwrap();
        let new = NewPolicy {
            endpoint: EndpointRef::Slug("one".to_owned()),
            name: "p".to_owned(),
            policy_type: "t".to_owned(),
            configuration: object(json!({"kept": [1, 2], "k0": "old"})),
        };
        let id = stores[0].create_policy(tenant, new, (&[], Beside::default())).await.unwrap().id;
        let racing = (0..16).map(|i| {
            let change = merging(json!({format!("k{i}"): i}));
            stores[i % 2].update_policy(tenant, id, change, (|_: &str, _: &Configuration| Ok(&[]), Beside::default()))
        });
        for done in futures_util::future::join_all(racing).await {
            done.unwrap();
        }
        let found = stores[0].policy(tenant, id).await.unwrap().configuration;
        assert_eq!(found.len(), 17);
        assert_eq!(found["kept"], json!([1, 2]));
        assert!((0..16).all(|i| found[&format!("k{i}")] == json!(i)), "{found:?}");
    }

    async fn a_merge_leaves_secrets_sealed_and_what_is_refused_changes_nothing(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let home = store.create_endpoint(tenant, endpoint("one")).await.unwrap();
        let new = NewPolicy {
            endpoint: EndpointRef::Id(home.id),
            name: "p".to_owned(),
            policy_type: "t".to_owned(),
            configuration: object(json!({"token": "s3cret", "nested": {"a": 1, "b": 2}})),
        };
        let created = store.create_policy(tenant, new, (&["token"], Beside::default())).await.unwrap();
        assert_eq!((created.endpoint_id, created.endpoint_slug.as_str()), (home.id, "one"));
        let change = merging(json!({"nested": {"a": 3}, "more": true}));
        let merged = store.update_policy(tenant, created.id, change, (with_token, Beside::default())).await.unwrap();
        // One level deep, no more.
        let expected = object(json!({"token": "s3cret", "nested": {"a": 3}, "more": true}));
        assert_eq!(merged.configuration, expected);
        assert!(merged.updated_at >= created.updated_at && merged.created_at == created.created_at);

        let refused = |policy_type: &str, whole: &Configuration| {
            assert_eq!((policy_type, whole.len(), &whole["token"]), ("t", 4, &json!("s3cret")));
            Err(Error::Invalid(Vec::new()))
        };
        let mut change = merging(json!({"wrong": 1}));
        change.name = Some("another".to_owned());
        let refused = store.update_policy(tenant, created.id, change, (refused, Beside::default())).await;
        assert!(matches!(refused, Err(Error::Invalid(_))));
        let found = store.policy(tenant, created.id).await.unwrap();
        assert!(found == merged, "something of a refused change is stored");

        let raw = database.raw().await;
        let sql = "SELECT CAST(configuration AS TEXT) AS text FROM policies";
        let row = raw.query_one_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
        let text: String = row.unwrap().try_get("", "text").unwrap();
        assert!(!text.contains("s3cret") && text.contains("$sealed"), "{text}");

        let replaced = PolicyChange {
            name: None,
            configuration: Some(ConfigurationChange::Replace(object(json!({"only": 1})))),
        };
        let replaced = store.update_policy(tenant, created.id, replaced, (with_token, Beside::default())).await.unwrap();
        assert_eq!(replaced.configuration, object(json!({"only": 1})));
    }
}
