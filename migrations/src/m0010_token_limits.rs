//! Token limits: what callers have used and what running queries may yet use.

use sea_orm_migration::prelude::*;

use crate::columns::{id, index, integer, text, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [token_counters(), token_buckets(), token_holds()] {
            manager.create_table(table).await?;
        }
        manager.create_index(index("token_buckets", &["stale_at"])).await?;
        manager.create_index(index("token_holds", &["due_at"])).await
    }
}

/// One row a (policy, key): the lock that orders its admissions, and the clock that never goes back, in
/// microseconds since 1970. No foreign key to the policy: one that is deleted meanwhile must not fail the
/// others of a batch.
fn token_counters() -> TableCreateStatement {
    Table::create()
        .table("token_counters")
        .col(uuid("policy_id"))
        .col(text("key"))
        .col(integer("last_at"))
        .primary_key(Index::create().col("policy_id").col("key"))
        .to_owned()
}

/// What queries used that were admitted in the `grain` microseconds before `ends_at`, and what is held for
/// those of them that still run.
fn token_buckets() -> TableCreateStatement {
    Table::create()
        .table("token_buckets")
        .col(uuid("policy_id"))
        .col(text("key"))
        .col(integer("ends_at"))
        .col(integer("grain"))
        .col(integer("requests"))
        .col(integer("input_tokens"))
        .col(integer("output_tokens"))
        .col(integer("held_requests"))
        .col(integer("held_input"))
        .col(integer("held_output"))
        // From then on it is in no window.
        .col(integer("stale_at"))
        .primary_key(Index::create().col("policy_id").col("key").col("ends_at").col("grain"))
        .to_owned()
}

/// One row a query that runs, for each limit that it must keep: gone once it has been settled. One whose
/// `due_at` has passed belongs to a process that has died.
fn token_holds() -> TableCreateStatement {
    Table::create()
        .table("token_holds")
        .col(id())
        .col(uuid("policy_id"))
        .col(text("key"))
        .col(integer("ends_at"))
        .col(integer("grain"))
        .col(integer("requests"))
        .col(integer("input_tokens"))
        .col(integer("output_tokens"))
        .col(integer("due_at"))
        .to_owned()
}
