//! Good tokens: who their bearers are, what they may, and what finding it out costs.

use tonic::Code;

use super::{bearer, space};
use crate::support::{
    database::Database,
    eventually,
    hub::{self, Hub},
    on_both,
    space::{Space, reason},
    tenants::{call_raw, methods},
};

on_both! {
    async fn the_hub_says_who_it_is(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        bearer(&space, &hub::token("2")).await.query("guarded").await.unwrap();
        let refused = bearer(&space, &hub::token("3")).await.query("guarded").await.unwrap_err();
        assert_eq!(reason(&refused), "POLICY_VIOLATION");
        bearer(&space, &hub::token("3")).await.query("open").await.unwrap();
    }

    async fn guests_query_endpoints_without_policies(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut guest = bearer(&space, &hub::token("guest")).await;
        guest.query("open").await.unwrap();
        for (slug, code, expected) in [
            ("guarded", Code::PermissionDenied, "GUEST_NOT_ALLOWED"),
            ("hidden", Code::PermissionDenied, "ENDPOINT_NOT_PUBLISHED"),
            ("nowhere", Code::NotFound, "ENDPOINT_NOT_FOUND"),
        ] {
            let refused = guest.query(slug).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (code, expected), "{slug}");
            let refused = guest.stream(slug).await.unwrap_err();
            assert_eq!(reason(&refused), expected, "{slug}, streaming");
        }
        let series = "syft_queries_total{outcome=\"refused\",reason=\"GUEST_NOT_ALLOWED\"}";
        eventually("the refusals are counted", async || space.metric(series).await == 2.0).await;
        // An endpoint may say that it is for guests; its other policies still decide.
        let mut owner = space.admin().await;
        owner.policy("guarded", "allow_guests", serde_json::json!({})).await;
        guest.query("guarded").await.unwrap();
        owner.policy("guarded", "access", serde_json::json!({"denied_users": ["guest@syfthub.org"]})).await;
        assert_eq!(reason(&guest.query("guarded").await.unwrap_err()), "POLICY_VIOLATION");
        // Its policies gone, the endpoint is open.
        let listed = owner.policies.list_policies(syft_endpoints::proto::ListPoliciesRequest::default()).await;
        for policy in listed.unwrap().into_inner().policies {
            let request = syft_endpoints::proto::DeletePolicyRequest { id: policy.id };
            owner.policies.delete_policy(request).await.unwrap();
        }
        guest.query("guarded").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_may_query_and_nothing_else() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    for sub in ["2", "guest"] {
        let credential = format!("Bearer {}", hub::token(sub));
        for method in methods() {
            let refused = call_raw(&space, &method, &[("authorization", &credential)]).await;
            let queries = ["EndpointService/Query", "EndpointService/StreamQuery"].contains(&method.as_str());
            assert_eq!(reason(&refused) == "SCOPE_MISSING", !queries, "{method} as {sub}: {refused:?}");
            assert_ne!(refused.code(), Code::Unauthenticated, "{method} as {sub}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_known_costs_the_hub_nothing() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let mut asker = bearer(&space, &hub::token("2")).await;
    asker.query("open").await.unwrap();
    // Not even a changed catalog does, nor a hub that is gone.
    space.admin().await.dataset("more").await;
    hub.die().await;
    for _ in 0..20 {
        asker.query("open").await.unwrap();
    }
    assert_eq!((hub.fetches(), hub.verifications()), (1, 1));
    let other = bearer(&space, &hub::token("2")).await.query("open").await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::Unavailable, "HUB_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_forgotten_when_it_ends() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[("hub.clock_leeway_s", "0")]).await;
    let mut claims = hub::claims("2");
    claims["exp"] = (hub::now() + 3).into();
    let mut asker = bearer(&space, &hub::signed(&hub::header(), &claims, 0)).await;
    asker.query("open").await.unwrap();
    assert_eq!(hub.verifications(), 1);
    eventually("the token is refused", async || {
        asker.query("open").await.is_err_and(|status| reason(&status) == "UNAUTHENTICATED")
    })
    .await;
    assert!(hub::now() >= claims["exp"].as_i64().unwrap(), "it was refused before its time");
    assert_eq!(hub.verifications(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_who_come_at_once_with_one_token_cost_one_call() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    hub.hold();
    let asker = bearer(&space, &hub::token("2")).await;
    let asking = (0..100).map(|_| {
        let mut asker = asker.clone();
        async move { asker.query("open").await }
    });
    let all_wait = async {
        open_calls(&space, 100.0).await;
        hub.release();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(asking), all_wait);
    assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
    assert_eq!((hub.fetches(), hub.verifications()), (1, 1));
}

/// Whoever comes first makes the calls to the hub. It goes away, once while the keys are fetched and
/// once while the token is asked about; the second is served all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_first_and_goes_away_fails_nobody() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    for asked in ["its keys", "the token"] {
        hub.hold();
        let (fetches, verifications) = (hub.fetches(), hub.verifications());
        let token = hub::token("2");
        let (mut first, mut second) = (bearer(&space, &token).await, bearer(&space, &token).await);
        let mut leaving = Box::pin(first.query("open"));
        tokio::select! {
            _ = &mut leaving => panic!("nobody has been asked"),
            () = eventually(asked, async || hub.fetches() + hub.verifications() > fetches + verifications) => {}
        }
        let gone = async {
            open_calls(&space, 2.0).await;
            drop(leaving);
            open_calls(&space, 1.0).await;
            hub.release();
        };
        let (answer, ()) = tokio::join!(second.query("open"), gone);
        answer.unwrap_or_else(|status| panic!("{asked}: {status:?}"));
        assert_eq!(hub.fetches(), 1, "{asked}");
    }
}

async fn open_calls(space: &Space, count: f64) {
    let series = "syft_open_streams";
    eventually("the calls are there", async || space.metric(series).await == count).await;
}
