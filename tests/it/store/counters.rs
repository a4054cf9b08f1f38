//! Rate counters and callers who do not wait for them.

use std::time::Duration;

use futures_util::FutureExt;
use syft_endpoints::{
    domain::PolicyId,
    store::{Admission, RateCounters, Window},
};

use crate::support::{database::Database, eventually, on_both};

on_both! {
    async fn what_nobody_takes_is_given_back(database: Database) {
        let counters = RateCounters::start(&database.store().await);
        for _ in 0..10 {
            let policy = PolicyId::new();
            let key = "bob@example.org".to_owned();
            let window = || vec![Window { policy, key: key.clone(), limit: 1, length: Duration::from_secs(3600) }];
            // Asks, and is gone.
            assert!(counters.admit(window()).now_or_never().is_none());
            eventually("the slot is free", async || {
                matches!(counters.admit(window()).await, Ok(Admission::Granted(_)))
            })
            .await;
            let full = counters.admit(window()).await;
            assert!(matches!(full, Ok(Admission::Refused { .. })), "{full:?}");
        }
    }
}
