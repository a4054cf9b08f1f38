//! What queries leave behind: records, counted admissions, leases.

use sea_orm_migration::prelude::*;

use crate::columns::{boolean, id, index, integer, nullable, text, time, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [query_records(), rate_counters(), rate_slots(), leases()] {
            manager.create_table(table).await?;
        }
        manager.create_index(index("query_records", &["tenant_id", "id"])).await?;
        manager.create_index(index("rate_slots", &["policy_id", "key", "admitted_at"])).await
    }
}

/// One row a query. No foreign key to the endpoint: history outlives it.
fn query_records() -> TableCreateStatement {
    Table::create()
        .table("query_records")
        .col(id())
        .col(uuid("tenant_id"))
        .col(nullable(uuid("endpoint_id")))
        .col(text("endpoint_slug"))
        .col(text("caller"))
        .col(nullable(uuid("request_id")))
        .col(boolean("preview"))
        .col(text("outcome"))
        .col(text("reason"))
        .col(integer("documents"))
        .col(integer("prompt_tokens"))
        .col(integer("completion_tokens"))
        .col(boolean("usage_estimated"))
        .col(nullable(integer("cost_nano_units")))
        .col(nullable(integer("first_event_micros")))
        .col(integer("duration_micros"))
        .col(time("created_at"))
        .to_owned()
}

/// One row a (policy, key): the lock that orders its admissions, and the clock that never goes back.
/// No foreign key to the policy: one that is deleted meanwhile must not fail the others of a batch.
fn rate_counters() -> TableCreateStatement {
    Table::create()
        .table("rate_counters")
        .col(uuid("policy_id"))
        .col(text("key"))
        .col(integer("slots"))
        .col(integer("last_at"))
        .primary_key(Index::create().col("policy_id").col("key"))
        .to_owned()
}

/// The last N admissions of a (policy, key), in microseconds since 1970 on the database's clock.
fn rate_slots() -> TableCreateStatement {
    Table::create()
        .table("rate_slots")
        .col(uuid("policy_id"))
        .col(text("key"))
        .col(integer("slot"))
        .col(integer("admitted_at"))
        .primary_key(Index::create().col("policy_id").col("key").col("slot"))
        .to_owned()
}

/// Jobs that one replica runs: who holds each, until when, in microseconds on the database's clock.
fn leases() -> TableCreateStatement {
    Table::create()
        .table("leases")
        .col(text("name").primary_key())
        .col(uuid("holder"))
        .col(integer("fence"))
        .col(integer("expires_at"))
        .to_owned()
}
