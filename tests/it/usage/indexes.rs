//! Which way SQLite takes to records. It does not know how many there are, so it follows the order that a page is
//! asked for unless an index has that order too.

use sea_orm::{ConnectionTrait, Statement};

use crate::support::database::Database;

#[tokio::test]
async fn what_names_records_finds_them() {
    let database = Database::sqlite();
    database.connect().await.migrate().await.unwrap();
    let raw = database.raw().await;
    for (condition, index) in [
        ("correlation_id = 'c1'", "correlation"),
        ("correlation_id = 'c1' AND started_micros >= 1", "correlation"),
        ("request_id = x'01'", "request"),
        ("endpoint_slug = 'ask'", "endpoint"),
        ("endpoint_slug = 'ask' AND (started_micros, id) < (9, x'01')", "endpoint"),
    ] {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT id, reason, answer FROM query_records WHERE tenant_id = x'01' AND {condition} \
             ORDER BY started_micros DESC, id DESC LIMIT 51"
        );
        let rows = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
        let wanted = format!("SEARCH query_records USING INDEX ix_query_records_{index} (");
        assert!(plan.len() == 1 && plan[0].starts_with(&wanted), "{condition}: {plan:?}");
    }
}
