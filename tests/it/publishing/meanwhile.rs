//! What is changed while marketplaces are being told of something else is not lost.

use sea_orm::ConnectionTrait;
use syft_endpoints::{
    domain::{EndpointChange, NewEndpoint, ResponseType, TenantId},
    error::{Error, Resource},
    store::Told,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::*;
use crate::support::on_both;

fn plain(slug: &str) -> NewEndpoint {
    NewEndpoint {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        summary: "old".to_owned(),
        description: String::new(),
        dataset_id: None,
        model_id: None,
        response_type: ResponseType::Both,
        published: true,
        tags: Vec::new(),
    }
}

/// A store with a marketplace, without anybody who tells it anything.
async fn quiet(database: &Database) -> (Store, TenantId, syft_endpoints::domain::MarketplaceId) {
    let (store, hub) = (database.store().await, Hub::start().await);
    let tenant = root(&store).await.id;
    let id = connect(&store, &hub).await.id;
    (store, tenant, id)
}

/// As if a claim had run out.
async fn claims_run_out(database: &Database) {
    let raw = database.raw().await;
    raw.execute_unprepared("UPDATE listings SET claimed_until = 0").await.unwrap();
    raw.close().await.unwrap();
}

on_both! {
    async fn an_endpoint_that_is_deleted_while_it_is_published_leaves_nothing_that_is_wanted(database: Database) {
        let (store, tenant, id) = quiet(&database).await;
        for round in 0..40 {
            let slug = format!("endpoint-{round}");
            store.create_endpoint(tenant, plain(&slug)).await.unwrap();
            let (wanted, deleted) = tokio::join!(
                store.want_listed(tenant, &slug, vec![id]),
                store.delete_endpoint(tenant, &slug),
            );
            deleted.unwrap();
            assert!(matches!(wanted, Ok(_) | Err(Error::EndpointNotFound(_))), "{wanted:?}");
        }
        let left = store.listings_on(tenant, id).await.unwrap();
        assert!(left.iter().all(|listing| listing.is_removal), "{left:?}");
    }

    async fn an_edit_that_comes_with_the_first_publication_is_told(database: Database) {
        let (store, tenant, id) = quiet(&database).await;
        for round in 0..40 {
            let slug = format!("endpoint-{round}");
            store.create_endpoint(tenant, plain(&slug)).await.unwrap();
            let edit = EndpointChange { summary: Some("new".to_owned()), ..EndpointChange::default() };
            let told = async {
                let listing = store.want_listed(tenant, &slug, vec![id]).await.unwrap().remove(0);
                (listing, store.plan(tenant, &slug).await.unwrap().endpoint.summary)
            };
            let ((told, summary), edited) = tokio::join!(told, store.update_endpoint(tenant, &slug, edit));
            edited.unwrap();
            let now = store.listings(tenant, &[told.id]).await.unwrap().remove(0);
            assert!(summary == "new" || now.revision > told.revision, "round {round}: nobody tells of the edit");
        }
    }

    async fn nothing_is_wanted_of_a_marketplace_that_has_just_been_disconnected(database: Database) {
        let (store, tenant, id) = quiet(&database).await;
        for slug in ["one", "two"] {
            store.create_endpoint(tenant, plain(slug)).await.unwrap();
        }
        store.want_listed(tenant, "one", vec![id]).await.unwrap();
        store.disconnect_marketplace(tenant, id).await.unwrap();
        for slug in ["one", "two"] {
            let late = store.want_listed(tenant, slug, vec![id]).await;
            assert!(matches!(late, Err(Error::NotFound(Resource::Marketplace, _))), "{late:?}");
        }
    }

    /// A process that was suspended goes on where it was, although another has done the work since.
    async fn who_has_lost_a_claim_leaves_nothing_wrong(database: Database) {
        let (store, tenant, id) = quiet(&database).await;
        let (late, other) = (Uuid::now_v7(), Uuid::now_v7());
        store.create_endpoint(tenant, plain("law")).await.unwrap();
        store.want_listed(tenant, "law", vec![id]).await.unwrap();
        let claimed = store.claim_listings(late, Vec::new(), 4).await.unwrap().remove(0);
        claims_run_out(&database).await;
        let again = store.claim_listings(other, Vec::new(), 4).await.unwrap().remove(0);
        assert!(store.settle_listing(other, &again, Told::Listed { alive: None }).await.unwrap());
        // What it has sent may have been older.
        assert!(!store.settle_listing(late, &claimed, Told::Listed { alive: None }).await.unwrap());
        let again = store.claim_listings(other, Vec::new(), 4).await.unwrap().remove(0);
        assert!(!again.is_removal && again.revision > claimed.revision);

        store.want_removed(tenant, "law", Vec::new()).await.unwrap();
        store.settle_listing(other, &again, Told::Listed { alive: None }).await.unwrap();
        let removal = store.claim_listings(other, Vec::new(), 4).await.unwrap().remove(0);
        assert!(store.settle_listing(other, &removal, Told::Gone).await.unwrap());
        // It lists again what has just been taken away.
        assert!(!store.settle_listing(late, &claimed, Told::Listed { alive: None }).await.unwrap());
        let again = store.claim_listings(other, Vec::new(), 4).await.unwrap().remove(0);
        assert!(again.is_removal && again.slug == "law");
    }

    async fn what_is_published_while_everything_is_replaced_stays(database: Database) {
        let hub = Hub::start().await;
        let (_space, mut owner) = space(database, &hub, &[]).await;
        published(&mut owner, "law").await;
        let dataset = owner.dataset("other").await;
        owner.endpoint("new", Some(&dataset), None).await;
        hub.hold_route("sync");
        let (tasks, mut caller) = (TaskTracker::new(), owner.clone());
        let replaced = tasks.spawn(async move { super::sync(&mut caller, true).await });
        eventually("it is sent", async || hub.calls("sync") > 0).await;
        published(&mut owner, "new").await;
        hub.release();
        let replaced = replaced.await.unwrap();
        assert!(replaced.success, "{replaced:?}");
        eventually("both are listed", async || hub.slugs() == ["law", "new"]).await;
    }
}
