//! Rate limits hold: exactly N in any window, over replicas, restarts and races.

mod model;

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::json;
use syft_endpoints::{
    domain::PolicyId,
    store::{Admission, RateCounters, Window},
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    database::Database,
    eventually, on_both,
    space::{Space, reason},
    upstream::Upstream,
};

fn window(policy: PolicyId, limit: u32) -> Window {
    Window { policy, key: "bob@example.org".to_owned(), limit, length: Duration::from_secs(3600) }
}

fn granted(admission: &Admission) -> bool {
    matches!(admission, Admission::Granted(_))
}

/// Makes everything that has been counted so much older.
async fn time_passes(raw: &DatabaseConnection, seconds: u64) {
    for (table, column) in [("rate_slots", "admitted_at"), ("rate_counters", "last_at")] {
        let sql = format!("UPDATE {table} SET {column} = {column} - {}", seconds * 1_000_000);
        raw.execute_unprepared(&sql).await.unwrap();
    }
}

async fn an_hour_passes(database: &Database) {
    time_passes(&database.raw().await, 3600).await;
}

on_both! {
    async fn racing_requests_of_three_replicas_get_exactly_n(database: Database) {
        let policy = PolicyId::new();
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(RateCounters::start(&database.store().await));
        }
        let barrier = Arc::new(tokio::sync::Barrier::new(120));
        let asking = (0..120).map(|i| {
            let (counters, barrier) = (replicas[i % 3].clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                counters.admit(vec![window(policy, 50)]).await.unwrap()
            }
        });
        let admissions = futures_util::future::join_all(asking).await;
        assert_eq!(admissions.iter().filter(|admission| granted(admission)).count(), 50);
        // A restart forgets nothing.
        let restarted = RateCounters::start(&database.store().await);
        let Admission::Refused { retry_after, .. } = restarted.admit(vec![window(policy, 50)]).await.unwrap() else {
            panic!("admitted after a restart")
        };
        assert!(retry_after > Duration::from_secs(3500) && retry_after <= Duration::from_secs(3600));
        an_hour_passes(&database).await;
        assert!(granted(&restarted.admit(vec![window(policy, 50)]).await.unwrap()));
    }

    async fn a_window_slides(database: Database) {
        let counters = RateCounters::start(&database.store().await);
        let (policy, raw) = (PolicyId::new(), database.raw().await);
        let window = || vec![Window { length: Duration::from_secs(1050), ..window(policy, 3) }];
        // Against the definition: at most 3 admissions in the 1050 seconds before now. Time moves by
        // hundreds of seconds, so the moments of this test itself decide nothing.
        let (mut admitted, mut now, mut seed) = (Vec::<u64>::new(), 0_u64, 7_u64);
        for step in 0..150 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let passes = [0, 0, 100, 300, 500, 1100][(seed >> 33) as usize % 6];
            time_passes(&raw, passes).await;
            now += passes;
            let recent = admitted.iter().filter(|at| now - **at < 1050).count();
            match counters.admit(window()).await.unwrap() {
                Admission::Granted(_) => {
                    assert!(recent < 3, "step {step}: admitted as the fourth");
                    admitted.push(now);
                }
                Admission::Refused { retry_after, .. } => {
                    assert_eq!(recent, 3, "step {step}: refused although there was room");
                    let free_at = admitted[admitted.len() - 3] + 1050;
                    let wait = retry_after.as_secs_f64();
                    assert!((wait - (free_at - now) as f64).abs() < 30.0, "step {step}: {wait}");
                }
            }
        }
        assert!(admitted.len() > 30, "{admitted:?}");
    }

    async fn all_windows_or_none(database: Database) {
        let counters = RateCounters::start(&database.store().await);
        let (wide, narrow) = (PolicyId::new(), PolicyId::new());
        let both = || vec![window(wide, 3), window(narrow, 1)];
        assert!(granted(&counters.admit(both()).await.unwrap()));
        for _ in 0..5 {
            let refused = counters.admit(both()).await.unwrap();
            assert!(matches!(refused, Admission::Refused { window: 1, .. }), "{refused:?}");
        }
        for expected in [true, true, false] {
            assert_eq!(granted(&counters.admit(vec![window(wide, 3)]).await.unwrap()), expected);
        }
    }

    async fn a_slot_given_back_can_be_taken_once(database: Database) {
        let counters = RateCounters::start(&database.store().await);
        let policy = PolicyId::new();
        let Admission::Granted(slots) = counters.admit(vec![window(policy, 1)]).await.unwrap() else { panic!() };
        assert!(!granted(&counters.admit(vec![window(policy, 1)]).await.unwrap()));
        counters.give_back(slots.clone()).await;
        assert!(granted(&counters.admit(vec![window(policy, 1)]).await.unwrap()));
        // The same slots again: they belong to another query now.
        counters.give_back(slots).await;
        assert!(!granted(&counters.admit(vec![window(policy, 1)]).await.unwrap()));
    }

    async fn a_changed_limit_counts_what_was_admitted_before(database: Database) {
        let counters = RateCounters::start(&database.store().await);
        let policy = PolicyId::new();
        for _ in 0..4 {
            assert!(granted(&counters.admit(vec![window(policy, 4)]).await.unwrap()));
        }
        for lowered in [2, 3] {
            assert!(!granted(&counters.admit(vec![window(policy, lowered)]).await.unwrap()), "{lowered}");
        }
        assert!(granted(&counters.admit(vec![window(policy, 5)]).await.unwrap()));
        assert!(!granted(&counters.admit(vec![window(policy, 5)]).await.unwrap()));
        an_hour_passes(&database).await;
        for expected in [true, true, false] {
            assert_eq!(granted(&counters.admit(vec![window(policy, 2)]).await.unwrap()), expected);
        }
    }

    async fn a_limit_refuses_over_the_wire_and_says_for_how_long(database: Database) {
        let upstream = Upstream::says(&["a"]).await;
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        let policy = clients.policy("ask", "rate_limit", json!({"limit": "2/h"})).await;
        clients.query("ask").await.unwrap();
        clients.query("ask").await.unwrap();
        let refused = clients.query("ask").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
        let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600), "{wait:?}");
        assert_eq!(upstream.count(), 2, "the model was asked for a refused query");
        assert!(refused.metadata().contains_key("x-policy-metadata-bin"));
        // Somebody else has a limit of their own; the policy gone, nobody has one.
        clients.policies.delete_policy(syft_endpoints::proto::DeletePolicyRequest { id: policy.id }).await.unwrap();
        clients.query("ask").await.unwrap();
    }

    async fn a_failed_query_is_counted_and_a_refused_one_is_not(database: Database) {
        let upstream = Upstream::start(vec![crate::support::upstream::status("401 Unauthorized", "", "")]).await;
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        clients.policy("ask", "rate_limit", json!({"limit": "2/h", "applied_to": ["OWNER@*"]})).await;
        let denied = clients.policy("ask", "access", json!({"denied_users": ["*"]})).await;
        for _ in 0..3 {
            let refused = clients.query("ask").await.unwrap_err();
            assert_eq!(reason(&refused), "POLICY_VIOLATION");
        }
        clients.policies.delete_policy(syft_endpoints::proto::DeletePolicyRequest { id: denied.id }).await.unwrap();
        eventually("both slots are spent", async || {
            let refused = clients.clone().query("ask").await.unwrap_err();
            reason(&refused) == "RATE_LIMITED"
        }).await;
        assert_eq!(upstream.count(), 2);
    }
}
