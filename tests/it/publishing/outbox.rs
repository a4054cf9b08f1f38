//! What a marketplace does not know yet is told it in the background, whatever happens meanwhile.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use syft_endpoints::proto::{DeletePolicyRequest, ListingState};

use super::*;
use crate::support::{
    hub::{Fault, Trouble},
    on_both,
};

fn broken(status: u16, body: &str) -> Fault {
    Fault { status, headers: &[], body: body.to_owned() }
}

/// As if nobody had looked for a while: what is claimed by the dead is free, and what waits is due.
async fn time_passes(database: &Database) {
    let raw = database.raw().await;
    raw.execute_unprepared("UPDATE listings SET claimed_until = 0").await.unwrap();
    raw.execute_unprepared("UPDATE listings SET due_at = 0 WHERE due_at IS NOT NULL").await.unwrap();
    raw.close().await.unwrap();
}

on_both! {
    async fn a_hub_that_fails_is_told_again(database: Database) {
        let hub = Hub::start().await;
        let (space, mut owner) = space(database, &hub, &[]).await;
        let faults = [
            broken(500, "{\"detail\": \"oops\"}"),
            broken(502, "<html><h1>Bad Gateway</h1></html>"),
            Fault { status: 429, headers: &[("retry-after", "20")], body: "{\"detail\": \"slow down\"}".to_owned() },
        ];
        for (round, fault) in faults.into_iter().enumerate() {
            hub.fail("exists", fault);
            summarize(&mut owner, "law", &format!("round {round}")).await;
            let result = publish(&mut owner, "law").await.remove(0);
            assert!(!result.success && result.is_pending && !result.error.is_empty(), "{result:?}");
            let stands = listing(&mut owner, "law").await.unwrap();
            assert_eq!((stands.state(), stands.last_error), (ListingState::Pending, result.error));
            hub.recover();
            time_passes(&space.database).await;
            reaches(&mut owner, "law", ListingState::Published).await;
            learns(&hub, "law", &format!("round {round}")).await;
        }
        assert_eq!(listing(&mut owner, "law").await.unwrap().last_error, "");
    }

    async fn a_hub_that_refuses_is_told_again_when_something_changes(database: Database) {
        let hub = Hub::start().await;
        let (_space, mut owner) = space(database, &hub, &[]).await;
        hub.fail("publish", broken(422, "{\"detail\": [{\"loc\": [\"body\", \"name\"], \"msg\": \"is a bad word\", \"input\": \"secret\"}]}"));
        let result = publish(&mut owner, "law").await.remove(0);
        assert!(!result.success && !result.is_pending && result.error.contains("is a bad word"), "{result:?}");
        assert!(!result.error.contains("secret"));
        reaches(&mut owner, "law", ListingState::Failed).await;
        assert!(endpoint(&mut owner, "law").await.published_to.is_empty());
        hub.recover();
        summarize(&mut owner, "law", "better").await;
        reaches(&mut owner, "law", ListingState::Published).await;
        // An edit that it would refuse is not even sent, and what it lists stays.
        summarize(&mut owner, "law", &"x".repeat(501)).await;
        let failed = reaches(&mut owner, "law", ListingState::Failed).await;
        assert!(failed.last_error.contains("summary"), "{failed:?}");
        assert_eq!(shown(&hub, "law", "description").unwrap(), "better");
        assert_eq!(endpoint(&mut owner, "law").await.published_to.len(), 1);
    }

    async fn what_is_to_be_told_survives_a_restart(database: Database) {
        let mut hub = Hub::start().await;
        let (space, mut owner) = space(database, &hub, &[]).await;
        hub.die().await;
        let result = publish(&mut owner, "law").await.remove(0);
        assert!(!result.success && result.is_pending, "{result:?}");
        drop(owner);
        let database = space.stop().await;
        hub.restart(1).await;
        time_passes(&database).await;
        let space = on(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        reaches(&mut owner, "law", ListingState::Published).await;
        // The hub signs with another key now.
        let token = format!("Bearer {}", hub.mint("2", hub::OWNER));
        space.clients(&[("authorization", &token)]).await.query("law").await.unwrap();
    }

    async fn a_replica_that_dies_between_the_hubs_word_and_its_own_leaves_nothing_undone(database: Database) {
        let hub = Hub::start().await;
        let dying = replica(&database, &hub);
        let mut owner = dying.admin().await;
        let dataset = owner.dataset("law").await;
        owner.endpoint("law", Some(&dataset), None).await;
        // The hub has listed it, and the replica has yet to write that down.
        hub.hold_route("health");
        let (mut received, mut caller) = (hub.watch(), owner.clone());
        let request = PublishEndpointRequest { slug: "law".to_owned(), all_marketplaces: true, ..Default::default() };
        tokio::select! {
            _ = caller.endpoints.publish_endpoint(request) => panic!("it was held"),
            _ = received.wait_for(|_| hub.calls("health") > 0) => {}
        }
        assert_eq!(hub.slugs(), ["law"]);
        dying.kill();
        hub.release();
        let next = replica(&database, &hub);
        let mut owner = next.admin().await;
        assert_eq!(listing(&mut owner, "law").await.unwrap().state(), ListingState::Pending, "the dead one has a claim");
        time_passes(&database).await;
        reaches(&mut owner, "law", ListingState::Published).await;
        assert_eq!((hub.calls("publish"), hub.slugs()), (1, vec!["law".to_owned()]), "it was changed, not listed anew");
        assert!(hub.calls("change") > 0);
    }

    async fn what_happens_to_an_endpoint_reaches_the_hub(database: Database) {
        let hub = Hub::start().await;
        let (_space, mut owner) = space(database, &hub, &[]).await;
        published(&mut owner, "law").await;
        let policy = owner.policy("law", "access", serde_json::json!({"denied_users": ["x@y.example"]})).await;
        eventually("the policy is shown", async || shown(&hub, "law", "policies").unwrap().as_array().unwrap().len() == 1).await;
        owner.policies.delete_policy(DeletePolicyRequest { id: policy.id }).await.unwrap();
        eventually("it is gone", async || shown(&hub, "law", "policies").unwrap() == serde_json::json!([])).await;
        let closed = Endpoint { slug: "law".to_owned(), published: false, ..Endpoint::default() };
        change(&mut owner, closed, "published").await;
        eventually("it is not alive", async || hub.reports().last().is_some_and(|report| !report.healthy)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_on_one_marketplace_does_not_touch_another() {
    let (slow, good) = (Hub::start().await, Hub::start().await);
    let (space, mut owner) = space(Database::sqlite(), &good, &[]).await;
    connect(&space.store, &slow).await;
    slow.trouble("exists", usize::MAX, Trouble::Half);
    let mut results = publish(&mut owner, "law").await;
    results.sort_by_key(|result| result.success);
    let names: Vec<_> = results.iter().map(|one| (one.marketplace_name.as_str(), one.success)).collect();
    assert_eq!(names, [(slow.address.to_string().as_str(), false), ("SyftHub", true)]);
    assert_eq!((good.slugs(), slow.slugs()), (vec!["law".to_owned()], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_gets_lost_is_no_loss() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    hub.trouble("publish", 1, Trouble::Vanish);
    hub.trouble("change", 1, Trouble::Cut);
    for _ in 0..2 {
        // Asked for again by the call itself, or by the outbox a second later.
        publish(&mut owner, "law").await;
        reaches(&mut owner, "law", ListingState::Published).await;
        assert_eq!(hub.slugs(), ["law"]);
    }
    hub.trouble("unpublish", 1, Trouble::Vanish);
    unpublish(&mut owner, "law").await;
    let is_gone = async || listing(&mut owner, "law").await.is_none() && hub.slugs().is_empty();
    eventually("it is gone", is_gone).await;
}

/// A hub that holds every answer: the call ends in time, and says that it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_hub_keeps_no_caller_for_ever() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    hub.hold_route("exists");
    let (mut caller, mut received) = (owner.clone(), hub.watch());
    let call = async { publish(&mut caller, "law").await.remove(0) };
    let held = async {
        received.wait_for(|_| hub.calls("exists") > 0).await.unwrap();
        // Longer than one call of the hub may take.
        let result = tokio::time::timeout(Duration::from_secs(30), std::future::pending::<()>()).await;
        assert!(result.is_err());
    };
    let result = tokio::select! { result = call => result, () = held => panic!("it waits for ever") };
    assert!(!result.success && result.is_pending && result.error.contains("in time"), "{result:?}");
    hub.release();
    published(&mut owner, "law").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketplace_that_is_disconnected_forgets_what_it_lists() {
    let (configured, hub) = (Hub::start().await, Hub::start().await);
    let (space, mut owner) = space(Database::sqlite(), &configured, &[]).await;
    let tenant = root(&space.store).await.id;
    let other = connect(&space.store, &hub).await;
    published(&mut owner, "law").await;
    assert_eq!(hub.slugs(), ["law"]);
    // It cannot be told at once.
    hub.fail("unpublish", broken(503, ""));
    space.store.disconnect_marketplace(tenant, other.id).await.unwrap();
    eventually("it was tried", async || hub.calls("unpublish") > 0).await;
    assert!(space.store.marketplace(tenant, other.id).await.is_err(), "nobody sees it");
    hub.recover();
    time_passes(&space.database).await;
    eventually("it has forgotten", async || hub.slugs().is_empty()).await;
    let raw = space.database.raw().await;
    let kept = "SELECT COUNT(*) AS kept FROM marketplaces";
    eventually("its row is gone, and its credential", async || {
        let row = raw.query_one_raw(sea_orm::Statement::from_string(raw.get_database_backend(), kept)).await;
        row.unwrap().unwrap().try_get::<i64>("", "kept").unwrap() == 1
    })
    .await;
    assert_eq!(configured.slugs(), ["law"]);
}

/// A space that no marketplace is configured for.
async fn without_marketplace(database: Database) -> Space {
    Space::configured(database, &[("public_url", PUBLIC_URL)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketplace_that_is_configured_no_longer_is_told_nothing_until_it_is_again() {
    let hub = Hub::start().await;
    let (space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    published(&mut owner, "law").await;
    drop(owner);
    let space = without_marketplace(space.stop().await).await;
    hub.forget_received();
    let mut owner = space.admin().await;
    summarize(&mut owner, "law", "new words").await;
    let stands = reaches(&mut owner, "law", ListingState::Failed).await;
    assert!(stands.last_error.contains("not active"), "{stands:?}");
    assert!(hub.received().is_empty(), "{:?}", hub.received());
    drop(owner);
    let _space = on(space.stop().await, &hub, &[]).await;
    learns(&hub, "law", "new words").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_url_that_comes_with_the_configuration_is_enough() {
    let hub = Hub::start().await;
    let (space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    published(&mut owner, "law").await;
    drop(owner);
    let space = on(space.stop().await, &hub, &[("public_url", "")]).await;
    let mut owner = space.admin().await;
    summarize(&mut owner, "law", "new words").await;
    reaches(&mut owner, "law", ListingState::Failed).await;
    drop(owner);
    let space = on(space.stop().await, &hub, &[]).await;
    time_passes(&space.database).await;
    learns(&hub, "law", "new words").await;
}
