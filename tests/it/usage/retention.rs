//! Records go when they are old, in batches, and no other ones.

use std::time::Duration;

use syft_endpoints::{
    domain::{QueryId, QueryRecord, TenantId},
    store::{RecordsConfig, Store},
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::{NoContext, Timestamp, Uuid};

use super::{record, store_all};
use crate::support::{
    database::{Database, root},
    eventually, on_both,
};

const DAY: u64 = 24 * 3600;

/// A record of a query that began so long ago.
fn aged(tenant: TenantId, seconds: u64) -> QueryRecord {
    let started = OffsetDateTime::now_utc() - Duration::from_secs(seconds);
    let at = Timestamp::from_unix(NoContext, u64::try_from(started.unix_timestamp()).unwrap(), 0);
    QueryRecord { id: QueryId(Uuid::new_v7(at)), ..record(tenant, started) }
}

async fn left(store: &Store, tenant: TenantId) -> usize {
    store.query_records(tenant, &Default::default(), None, 10_000).await.unwrap().len()
}

on_both! {
    async fn old_records_go_a_batch_at_a_time(database: Database) {
        let store = database.store().await;
        let tenants = [root(&store).await.id, store.create_tenant("other".to_owned(), "Other".to_owned()).await.unwrap().id];
        let age = Duration::from_secs(10 * DAY);
        let mut records: Vec<QueryRecord> =
            (0..25).map(|n| aged(tenants[n % 2], 10 * DAY + 60 + u64::try_from(n).unwrap())).collect();
        records.extend((0..6).map(|n| aged(tenants[n % 2], 10 * DAY - 60)));
        store_all(&store, &records).await;
        let mut batches = Vec::new();
        loop {
            let gone = store.forget_records(age, 10).await.unwrap();
            if gone == 0 {
                break;
            }
            batches.push(gone);
        }
        assert_eq!(batches, [10, 10, 5]);
        assert_eq!([left(&store, tenants[0]).await, left(&store, tenants[1]).await], [3, 3]);
        assert_eq!(store.forget_records(Duration::from_secs(u64::from(u32::MAX) * DAY), 10).await.unwrap(), 0);
    }

    async fn the_upkeep_forgets_what_the_configuration_says(database: Database) {
        let store = database.connect().await;
        store.migrate().await.unwrap();
        let tenant = root(&store).await.id;
        let mut records: Vec<QueryRecord> = (0..2_300).map(|_| aged(tenant, 8 * DAY)).collect();
        records.push(aged(tenant, 6 * DAY));
        store_all(&store, &records).await;
        let other = database.connect().await;
        other.follow(RecordsConfig { keep_days: 7, ..RecordsConfig::default() }, CancellationToken::new());
        eventually("old records are deleted", async || left(&store, tenant).await == 1).await;
    }

    async fn nothing_is_forgotten_for_zero_days(database: Database) {
        let store = database.connect().await;
        store.migrate().await.unwrap();
        let tenant = root(&store).await.id;
        store_all(&store, &[aged(tenant, 4_000 * DAY)]).await;
        let until = CancellationToken::new();
        let forever = RecordsConfig { keep_days: 0, ..RecordsConfig::default() };
        assert_eq!(store.forget_old_records(&forever, &until).await.unwrap(), 0);
        let longest = RecordsConfig { keep_days: u32::MAX, ..RecordsConfig::default() };
        assert_eq!(store.forget_old_records(&longest, &until).await.unwrap(), 0);
        assert_eq!(left(&store, tenant).await, 1);
        assert_eq!(store.forget_old_records(&RecordsConfig::default(), &until).await.unwrap(), 1);
    }
}
