//! Records that are older than what is asked of them now are taken along.

use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Statement, Value};
use syft_endpoints::{
    domain::{QueryId, RecordFilter},
    proto::SummarizeUsageRequest,
};
use time::macros::datetime;
use uuid::Uuid;

use super::cost;
use crate::support::{
    database::{Database, root},
    on_both,
    space::Space,
};

const RECORD: &str = "INSERT INTO query_records (id, tenant_id, endpoint_slug, caller, preview, outcome, reason, \
    documents, prompt_tokens, completion_tokens, usage_estimated, cost_nano_units, duration_micros, created_at) \
    VALUES ($1, $2, 'ask', 'bob@example.org', FALSE, 'completed', '', 0, 1, 2, FALSE, $3, 4, $4)";
const CHARGE: &str = "INSERT INTO charges (id, tenant_id, endpoint_id, policy_id, query_id, caller, nano_units, \
    currency, account, state, decision, attempts, created_at) \
    VALUES ($1, $2, $1, $1, $3, 'bob@example.org', 7, 'USD', '', 'confirmed', 'confirm', 0, $4)";

on_both! {
    async fn old_records_keep_their_time_and_learn_their_currency(database: Database) {
        {
            // As the service opens it, so that SQLite's file is there.
            let store = database.connect().await;
            store.ping().await.unwrap();
            store.close().await;
        }
        let raw = database.raw().await;
        Migrator::up(&raw, Some(7)).await.unwrap();
        let backend = raw.get_database_backend();
        let run = async |sql: &str, values: Vec<Value>| {
            raw.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.unwrap();
        };
        let tenant = Uuid::now_v7();
        let began = datetime!(2026-03-04 05:06:07.125 UTC);
        let sql = "INSERT INTO tenants (id, name, display_name, active, created_at, updated_at) \
                   VALUES ($1, 'root', 'root', TRUE, $2, $2)";
        run(sql, vec![tenant.into(), began.into()]).await;
        let (paid, unknown, free) = (QueryId::new(), QueryId::new(), QueryId::new());
        for (id, nano_units) in [(paid, Some(7_i64)), (unknown, Some(8)), (free, None)] {
            run(RECORD, vec![id.0.into(), tenant.into(), nano_units.into(), began.into()]).await;
        }
        run(CHARGE, vec![Uuid::now_v7().into(), tenant.into(), paid.0.into(), began.into()]).await;
        raw.close().await.unwrap();

        let space = Space::start(database).await;
        let tenant = root(&space.store).await.id;
        let found = space.store.query_records(tenant, &RecordFilter::default(), None, 10).await.unwrap();
        let of = |id: QueryId| found.iter().find(|record| record.id == id).unwrap();
        assert!(found.iter().all(|record| record.started_at == began), "{found:?}");
        assert_eq!(of(paid).cost, Some(cost(7, "USD")));
        assert_eq!(of(unknown).cost, Some(cost(8, "")));
        assert_eq!(of(free).cost, None);
        let summary = space.admin().await.usage.summarize_usage(SummarizeUsageRequest::default()).await;
        assert!(summary.is_ok());
    }
}
