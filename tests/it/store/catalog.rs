//! Endpoints, datasets, models and policies.

use serde_json::json;
use syft_endpoints::{
    domain::{Document, EndpointChange, EndpointRef, NewEndpoint, NewPolicy},
    error::{Error, Part, Resource},
    store::{Beside, NewDocument},
};

use crate::support::{
    database::{Database, attachment, endpoint, root},
    on_both,
};

fn policy(slug: &str, name: &str) -> NewPolicy {
    NewPolicy {
        endpoint: EndpointRef::Slug(slug.to_owned()),
        name: name.to_owned(),
        policy_type: "access".to_owned(),
        configuration: json!({"allowed_users": ["*"]}).as_object().unwrap().clone(),
    }
}

on_both! {
    async fn what_is_stored_is_what_is_read(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let mut new = attachment("docs", "local");
        new.configuration = json!({"language": "german", "n": 3, "nested": {"x": [1, null]}}).as_object().unwrap().clone();
        new.tags = vec!["a".to_owned(), "ü".to_owned()];
        let created = store.create_attachment(Part::Dataset, tenant, new, &[]).await.unwrap();
        let found = store.attachment(Part::Dataset, tenant, "docs").await.unwrap();
        assert!(created == found, "a dataset came back changed");
        let new = NewEndpoint { dataset_id: Some(created.id), description: "é\n".to_owned(), ..endpoint("one") };
        let created = store.create_endpoint(tenant, new).await.unwrap();
        assert_eq!(created, store.endpoint(tenant, "one").await.unwrap());
        let change = EndpointChange { name: Some("New".to_owned()), published: Some(false), ..Default::default() };
        let changed = store.update_endpoint(tenant, "one", change).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.published, changed.summary.as_str()), ("New", false, ""));
        assert!(changed.updated_at >= created.updated_at && changed.created_at == created.created_at);
        assert!(matches!(store.endpoint(tenant, "ONE").await, Err(Error::EndpointNotFound(_))));
    }

    async fn a_taken_name_is_refused_by_the_index(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let creating = (0..8).map(|_| store.create_endpoint(tenant, endpoint("same")));
        let created = futures_util::future::join_all(creating).await;
        assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1);
        let taken = |error: &Error| matches!(error, Error::AlreadyExists(Resource::Endpoint, name) if name == "same");
        assert!(created.iter().filter_map(|created| created.as_ref().err()).all(taken));
        for part in [Part::Dataset, Part::Model] {
            store.create_attachment(part, tenant, attachment("x", "t"), &[]).await.unwrap();
            let again = store.create_attachment(part, tenant, attachment("x", "t"), &[]).await;
            assert!(matches!(again, Err(Error::AlreadyExists(..))));
        }
        store.create_policy(tenant, policy("same", "p"), (&[], Beside::default())).await.unwrap();
        assert!(matches!(store.create_policy(tenant, policy("same", "p"), (&[], Beside::default())).await, Err(Error::AlreadyExists(..))));
    }

    async fn an_endpoint_takes_its_policies_and_leaves_the_rest(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let dataset = store.create_attachment(Part::Dataset, tenant, attachment("d", "local"), &[]).await.unwrap();
        let model = store.create_attachment(Part::Model, tenant, attachment("m", "extractive"), &[]).await.unwrap();
        let new = NewEndpoint { dataset_id: Some(dataset.id), model_id: Some(model.id), ..endpoint("one") };
        store.create_endpoint(tenant, new).await.unwrap();
        let policy = store.create_policy(tenant, policy("one", "p"), (&[], Beside::default())).await.unwrap();
        store.delete_endpoint(tenant, "one").await.unwrap();
        assert!(matches!(store.policy(tenant, policy.id).await, Err(Error::NotFound(..))));
        store.attachment(Part::Dataset, tenant, "d").await.unwrap();
        store.attachment(Part::Model, tenant, "m").await.unwrap();
        assert!(matches!(store.delete_endpoint(tenant, "one").await, Err(Error::EndpointNotFound(_))));
    }

    async fn what_endpoints_use_cannot_be_deleted(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        for (part, name) in [(Part::Dataset, "d"), (Part::Model, "m")] {
            let used = store.create_attachment(part, tenant, attachment(name, "t"), &[]).await.unwrap();
            for slug in ["b", "a"].map(|slug| format!("{slug}-{name}")) {
                let (dataset_id, model_id) = if part == Part::Dataset { (Some(used.id), None) } else { (None, Some(used.id)) };
                store.create_endpoint(tenant, NewEndpoint { dataset_id, model_id, ..endpoint(&slug) }).await.unwrap();
            }
            let Err(Error::InUse { by, .. }) = store.delete_attachment(part, tenant, name).await else {
                panic!("{name} was deleted while endpoints use it")
            };
            assert_eq!(by, [format!("a-{name}"), format!("b-{name}")]);
            for slug in by {
                store.delete_endpoint(tenant, &slug).await.unwrap();
            }
            store.delete_attachment(part, tenant, name).await.unwrap();
        }
    }

    async fn documents_are_replaced_listed_and_followed_by_revision(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let dataset = store.create_attachment(Part::Dataset, tenant, attachment("d", "local"), &[]).await.unwrap().id;
        let document = |id: &str, content: &str| {
            let (id, content) = (id.to_owned(), content.to_owned());
            NewDocument::from(Document { id, content, metadata: serde_json::Map::new() })
        };
        let batch = vec![document("b", "1"), document("a", "1"), document("b", "2")];
        assert_eq!(store.put_documents(tenant, dataset, None, batch).await.unwrap(), 1);
        assert_eq!(store.put_documents(tenant, dataset, None, vec![document("c", "1")]).await.unwrap(), 2);
        let listed = store.documents(dataset, None, 10).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|d| (d.id.as_str(), d.content.as_str())).collect();
        assert_eq!(listed, [("a", "1"), ("b", "2"), ("c", "1")]);
        assert_eq!(store.documents(dataset, Some("a"), 1).await.unwrap()[0].id, "b");
        assert_eq!(store.delete_documents(tenant, dataset, vec!["a".to_owned(), "zz".to_owned()]).await.unwrap(), 1);
        let since = store.documents_since(dataset, (1, "a"), 10).await.unwrap();
        let since: Vec<_> = since.iter().map(|d| (d.revision, d.document.id.as_str(), d.deleted)).collect();
        assert_eq!(since, [(1, "b", false), (2, "c", false), (3, "a", true)]);
        // Writers that race are committed in the order of their revisions.
        let racing = (0..16).map(|i| store.put_documents(tenant, dataset, None, vec![document(&format!("r{i}"), "x")]));
        let mut revisions: Vec<i64> = futures_util::future::join_all(racing).await.into_iter().map(Result::unwrap).collect();
        revisions.sort_unstable();
        assert_eq!(revisions, (4..20).collect::<Vec<_>>());
    }
}
