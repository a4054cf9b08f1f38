//! A write that its caller abandons takes nobody else's with it. On Postgres, sqlx 0.9 returns a
//! connection whose `BEGIN` was dropped to the pool inside an open transaction; the next borrower's
//! acknowledged write is then rolled back. Writes on tasks of their own cannot be dropped.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use syft_endpoints::store::Store;

use crate::support::{
    database::{Database, endpoint, root},
    on_both,
};

const WRITES: usize = 300;

on_both! {
    async fn no_acknowledged_write_is_lost(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        let done = AtomicBool::new(false);
        let abandoning = |offset: u64| {
            let (store, done) = (&store, &done);
            async move {
                let mut micros = offset;
                while !done.load(Ordering::SeqCst) {
                    // Those who are abandoned run on; on a slow machine they would fill every place.
                    if store.writes_in_flight() > 64 {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    micros = (micros * 7 + 13) % 3000;
                    let write = store.revoke_api_key(tenant, syft_endpoints::domain::ApiKeyId::new());
                    let _ = tokio::time::timeout(Duration::from_micros(micros), write).await;
                }
            }
        };
        let writing = async {
            let lanes = (0..3).map(|lane| write(&store, tenant, lane));
            futures_util::future::join_all(lanes).await;
            done.store(true, Ordering::SeqCst);
        };
        tokio::join!(abandoning(1), abandoning(500), writing);
        let (mut stored, mut after) = (0, None);
        loop {
            let page = store.endpoints(tenant, after, 1000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id.0);
            stored += page.len();
        }
        assert_eq!(stored, WRITES, "acknowledged writes are gone");
    }
}

async fn write(store: &Store, tenant: syft_endpoints::domain::TenantId, lane: usize) {
    for n in (lane..WRITES).step_by(3) {
        store.create_endpoint(tenant, endpoint(&format!("e-{n}"))).await.unwrap();
    }
}
