//! The counters, past the policy.

use std::{sync::Arc, time::Duration};

use syft_endpoints::{
    domain::PolicyId,
    store::{Allowance, Amount, Cap, Frame, Grant, Hold, Period, Shortage, TokenCounters},
};

use super::{counted, rows, time_passes};
use crate::support::{database::Database, eventually, on_both};

const LEASE: Duration = Duration::from_secs(420);
const PERIODS: [(Period, i64); 4] =
    [(Period::Minute, 60), (Period::Hour, 3_600), (Period::Day, 86_400), (Period::Month, 30 * 86_400)];

fn allowance(policy: PolicyId, frame: Frame, caps: Vec<Cap>) -> Allowance {
    Allowance { policy, key: "bob@example.org".to_owned(), frame, caps }
}

/// So many tokens a sliding hour.
fn hourly(policy: PolicyId, most: u64) -> Vec<Allowance> {
    vec![allowance(policy, Frame::Rolling(Period::Hour), vec![Cap::output_tokens(most)])]
}

fn writes(output_tokens: i64) -> Amount {
    Amount { requests: 1, input_tokens: 2 * output_tokens, output_tokens }
}

async fn held(counters: &TokenCounters, allowances: Vec<Allowance>, need: Amount) -> Vec<Hold> {
    match counters.hold(allowances, need).await.unwrap() {
        Grant::Held(holds) => holds,
        Grant::Refused { shortage, .. } => panic!("refused: {shortage:?}"),
    }
}

async fn refused(counters: &TokenCounters, allowances: Vec<Allowance>, need: Amount) -> (usize, Shortage) {
    match counters.hold(allowances, need).await.unwrap() {
        Grant::Refused { allowance, shortage } => (allowance, shortage),
        Grant::Held(_) => panic!("admitted"),
    }
}

on_both! {
    async fn a_provider_that_counts_without_end_harms_nobody(database: Database) {
        let counters = TokenCounters::start(&database.store().await, LEASE);
        let (policy, other) = (PolicyId::new(), PolicyId::new());
        for _ in 0..3 {
            let holds = held(&counters, vec![allowance(policy, Frame::Rolling(Period::Hour), Vec::new())], writes(1)).await;
            let used = Amount { requests: 1, input_tokens: i64::MAX, output_tokens: i64::MAX };
            counters.settle(holds, used).await;
        }
        held(&counters, hourly(other, 10), writes(10)).await;
        let (_, short) = refused(&counters, hourly(policy, 1_000_000_000_000), writes(1)).await;
        assert!(short.used.output_tokens >= 1_000_000_000_000, "{short:?}");
    }

    async fn racing_requests_of_three_replicas_get_no_more_than_there_is(database: Database) {
        let policy = PolicyId::new();
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(TokenCounters::start(&database.store().await, LEASE));
        }
        let barrier = Arc::new(tokio::sync::Barrier::new(120));
        let asking = (0..120).map(|i| {
            let (counters, barrier) = (replicas[i % 3].clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                counters.hold(hourly(policy, 505), writes(10)).await.unwrap()
            }
        });
        let grants = futures_util::future::join_all(asking).await;
        assert_eq!(grants.iter().filter(|grant| matches!(grant, Grant::Held(_))).count(), 50);
        let raw = database.raw().await;
        assert_eq!(counted(&raw).await, [0, 0, 0, 50, 1_000, 500]);
        // A restart forgets nothing.
        let restarted = TokenCounters::start(&database.store().await, LEASE);
        let (_, short) = refused(&restarted, hourly(policy, 505), writes(6)).await;
        assert_eq!((short.used, short.held), (Amount::default(), Amount { requests: 50, input_tokens: 1_000, output_tokens: 500 }));
        // Running queries may leave room at any moment.
        assert_eq!(short.retry_after, Some(Duration::from_secs(1)));
        held(&restarted, hourly(policy, 505), writes(5)).await;
    }

    async fn what_was_not_used_returns_once(database: Database) {
        let counters = TokenCounters::start(&database.store().await, LEASE);
        let (policy, raw) = (PolicyId::new(), database.raw().await);
        let holds = held(&counters, hourly(policy, 100), writes(100)).await;
        refused(&counters, hourly(policy, 100), writes(1)).await;
        for _ in 0..2 {
            counters.settle(holds.clone(), writes(30)).await;
        }
        // Asked behind the settlements.
        held(&counters, hourly(policy, 100), writes(70)).await;
        assert_eq!(counted(&raw).await, [1, 60, 30, 1, 140, 70]);
        let (_, short) = refused(&counters, hourly(policy, 100), writes(1)).await;
        assert_eq!((short.used, short.held), (writes(30), writes(70)));
        // Too large for any moment.
        let (_, short) = refused(&counters, hourly(policy, 100), writes(101)).await;
        assert_eq!(short.retry_after, None);
    }

    async fn what_a_dead_process_held_returns_when_its_lease_ends(database: Database) {
        let store = database.store().await;
        let (policy, raw) = (PolicyId::new(), database.raw().await);
        let dead = TokenCounters::start(&store, LEASE);
        held(&dead, hourly(policy, 100), writes(100)).await;
        drop(dead);
        let counters = TokenCounters::start(&store, LEASE);
        store.sweep_tokens().await.unwrap();
        refused(&counters, hourly(policy, 100), writes(1)).await;
        time_passes(&raw, 360).await;
        store.sweep_tokens().await.unwrap();
        refused(&counters, hourly(policy, 100), writes(1)).await;
        time_passes(&raw, 120).await;
        store.sweep_tokens().await.unwrap();
        assert_eq!(counted(&raw).await, [1, 0, 0, 0, 0, 0], "the request counts, the tokens do not");
        assert_eq!(rows(&raw, "token_holds").await, 0);
        held(&counters, hourly(policy, 100), writes(100)).await;
    }

    async fn every_limit_counts_in_every_window_and_is_forgotten_after_it(database: Database) {
        let store = database.store().await;
        let counters = TokenCounters::start(&store, LEASE);
        let raw = database.raw().await;
        let need = Amount { requests: 1, input_tokens: 10, output_tokens: 4 };
        // Each has room for two, and costs 10 × 3 + 4 × 7.
        let caps = [Cap::requests(2), Cap::input_tokens(29), Cap::output_tokens(11), Cap::cost(173, 3, 7)];
        for (period, seconds) in PERIODS {
            for frame in [Frame::Rolling(period), Frame::Fixed(period)] {
                for cap in caps {
                    let policy = PolicyId::new();
                    let allowances = || vec![allowance(policy, frame, vec![cap])];
                    let first = held(&counters, allowances(), need).await;
                    counters.settle(first, need).await;
                    held(&counters, allowances(), need).await;
                    let (_, short) = refused(&counters, allowances(), need).await;
                    assert_eq!((short.cap, short.used, short.held), (cap, need, need), "{frame:?}");
                    let longest = Duration::from_secs(u64::try_from(seconds + seconds / 30).unwrap());
                    assert!(short.resets_after <= longest, "{frame:?}: {short:?}");
                }
                // Beyond the window and its last bucket; months of the calendar may be longer.
                time_passes(&raw, if period == Period::Month { 32 * 86_400 } else { seconds + seconds / 60 }).await;
            }
        }
        store.sweep_tokens().await.unwrap();
        assert_eq!(rows(&raw, "token_holds").await, 0, "long after their lease");
        assert_eq!(rows(&raw, "token_buckets").await, 0);
        assert_eq!(rows(&raw, "token_counters").await, 0);
    }

    async fn a_window_slides_and_stays_small(database: Database) {
        let store = database.store().await;
        let counters = TokenCounters::start(&store, Duration::from_secs(86_400 * 365));
        let (policy, raw) = (PolicyId::new(), database.raw().await);
        // Against the definition: at most 100 tokens in the hour before now, and what has left it counts for a
        // minute more at most. Time moves by whole minutes, so the moments of this test itself decide nothing,
        // but for those in which a minute passes by itself.
        let (mut admitted, mut now, mut seed) = (Vec::<(i64, i64)>::new(), 0_i64, 7_u64);
        for step in 0..120 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let passes = [0, 0, 1, 5, 20, 70][(seed >> 33) as usize % 6];
            let (need, used) = (i64::try_from(seed >> 40).unwrap() % 40, i64::try_from(seed >> 50).unwrap() % 40);
            if passes > 0 {
                eventually("all is settled", async || rows(&raw, "token_holds").await == 0).await;
                time_passes(&raw, passes * 60).await;
                now += passes;
            }
            let recent = |minutes: i64| -> i64 {
                admitted.iter().filter(|(at, _)| now - at < minutes).map(|(_, tokens)| tokens).sum()
            };
            match counters.hold(hourly(policy, 100), writes(need)).await.unwrap() {
                Grant::Held(holds) => {
                    assert!(recent(60) + need <= 100, "step {step}: admitted beyond the limit");
                    let used = used.min(need);
                    counters.settle(holds, writes(used)).await;
                    admitted.push((now, used));
                }
                Grant::Refused { .. } => {
                    assert!(recent(63) + need > 100, "step {step}: refused although there was room");
                }
            }
        }
        assert!(admitted.len() > 40, "{admitted:?}");
        eventually("all is settled", async || rows(&raw, "token_holds").await == 0).await;
        store.sweep_tokens().await.unwrap();
        let kept = rows(&raw, "token_buckets").await;
        assert!(kept <= 62, "{kept} buckets");
    }

    async fn all_limits_or_none(database: Database) {
        let counters = TokenCounters::start(&database.store().await, LEASE);
        let (wide, narrow, raw) = (PolicyId::new(), PolicyId::new(), database.raw().await);
        let both = || [hourly(wide, 30), hourly(narrow, 10)].concat();
        held(&counters, both(), writes(10)).await;
        for _ in 0..5 {
            assert_eq!(refused(&counters, both(), writes(10)).await.0, 1);
        }
        assert_eq!(counted(&raw).await, [0, 0, 0, 2, 40, 20]);
        held(&counters, hourly(wide, 30), writes(20)).await;
        refused(&counters, hourly(wide, 30), writes(1)).await;
    }

    async fn a_changed_limit_counts_what_was_used_before(database: Database) {
        let counters = TokenCounters::start(&database.store().await, LEASE);
        let policy = PolicyId::new();
        held(&counters, hourly(policy, 100), writes(60)).await;
        refused(&counters, hourly(policy, 50), writes(1)).await;
        held(&counters, hourly(policy, 70), writes(10)).await;
        // In another period and another frame too.
        for (period, _) in PERIODS {
            let allowances = vec![allowance(policy, Frame::Rolling(period), vec![Cap::output_tokens(79)])];
            refused(&counters, allowances, writes(10)).await;
        }
    }
}
