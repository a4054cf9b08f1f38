//! Token limits hold: running queries and those that have ended never use more than is allowed, over
//! replicas, restarts and races, and what was not used returns.

mod counters;
mod outcomes;
mod processes;
mod wire;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

/// What all buckets hold: requests, tokens read, tokens written, and the same for what is held.
async fn counted(raw: &DatabaseConnection) -> [i64; 6] {
    let columns = ["requests", "input_tokens", "output_tokens", "held_requests", "held_input", "held_output"];
    let sums = columns.map(|column| format!("CAST(coalesce(sum({column}), 0) AS bigint) AS {column}"));
    let sql = format!("SELECT {} FROM token_buckets", sums.join(", "));
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    let row = row.unwrap();
    columns.map(|column| row.try_get("", column).unwrap())
}

async fn rows(raw: &DatabaseConnection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) AS n FROM {table}");
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "n").unwrap()
}

/// Makes everything that has been counted so much older.
async fn time_passes(raw: &DatabaseConnection, seconds: i64) {
    let columns = [
        ("token_counters", "last_at"),
        ("token_holds", "ends_at"),
        ("token_holds", "due_at"),
        ("token_buckets", "stale_at"),
    ];
    for (table, column) in columns {
        let sql = format!("UPDATE {table} SET {column} = {column} - {}", seconds * 1_000_000);
        raw.execute_unprepared(&sql).await.unwrap();
    }
    // Part of a key: row by row it would meet another on the way, but not among negative numbers.
    for sql in [
        format!("UPDATE token_buckets SET ends_at = {} - ends_at", seconds * 1_000_000),
        "UPDATE token_buckets SET ends_at = - ends_at".to_owned(),
    ] {
        raw.execute_unprepared(&sql).await.unwrap();
    }
}
