//! Sums that nobody waits for any more.

use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use syft_endpoints::domain::{RecordFilter, TenantId};
use tokio::time::{Instant, timeout};

use crate::support::database::Database;

#[tokio::test]
async fn abandoned_sums_leave_connections_to_queries() {
    let database = Database::sqlite();
    let store = database.store().await;
    let raw = database.raw().await;
    let sql = "INSERT INTO query_records (id, tenant_id, endpoint_slug, caller, preview, outcome, reason, documents, \
               prompt_tokens, completion_tokens, usage_estimated, duration_micros, started_micros) \
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) \
               SELECT randomblob(16), zeroblob(16), 'ask', 'user' || i, 0, 'completed', '', 0, 1, 1, 0, i, i FROM n";
    raw.execute_unprepared(sql).await.unwrap();
    let tenant = TenantId(uuid::Uuid::nil());
    let begun = Instant::now();
    store.usage_totals(tenant, &RecordFilter::default(), true).await.unwrap();
    let whole = begun.elapsed();
    for _ in 0..20 {
        let filter = RecordFilter::default();
        let gone =
            (0..2).map(|_| timeout(Duration::from_millis(5), store.usage_totals(tenant, &filter, true)));
        join_all(gone).await;
    }
    let begun = Instant::now();
    let answered = store.ping().await;

    assert!(answered.is_ok() && begun.elapsed() < whole, "{answered:?} after {:?}", begun.elapsed());
}
