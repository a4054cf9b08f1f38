//! Leases: one holder at a time, on the database's clock.

use std::time::Duration;

use uuid::Uuid;

use crate::support::{database::Database, eventually, on_both};

const TERM: Duration = Duration::from_secs(3600);

on_both! {
    async fn one_of_many_gets_it_and_the_next_gets_a_higher_fence(database: Database) {
        let store = database.store().await;
        let holders: Vec<Uuid> = (0..8).map(|_| Uuid::now_v7()).collect();
        let taking = holders.iter().map(|holder| store.acquire_lease("job", *holder, TERM));
        let taken: Vec<_> = futures_util::future::join_all(taking).await.into_iter().map(Result::unwrap).collect();
        let winner = taken.iter().position(Option::is_some).unwrap();
        assert_eq!(taken.iter().flatten().count(), 1);
        let first = taken[winner].clone().unwrap();
        let renewed = store.acquire_lease("job", holders[winner], TERM).await.unwrap().unwrap();
        assert_eq!(renewed.fence, first.fence, "a renewal is no change of holder");
        let other = holders[(winner + 1) % 8];
        store.release_lease("job", other).await.unwrap();
        assert_eq!(store.acquire_lease("job", other, TERM).await.unwrap(), None, "released by one who did not hold it");
        store.release_lease("job", holders[winner]).await.unwrap();
        let second = store.acquire_lease("job", other, TERM).await.unwrap().unwrap();
        assert!(second.fence > first.fence);
    }

    async fn a_lease_that_is_not_renewed_runs_out(database: Database) {
        let store = database.store().await;
        store.acquire_lease("job", Uuid::now_v7(), Duration::from_millis(50)).await.unwrap().unwrap();
        let next = Uuid::now_v7();
        eventually("it runs out", async || store.acquire_lease("job", next, TERM).await.unwrap().is_some()).await;
    }
}
