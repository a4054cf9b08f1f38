//! Repeats: which queries are the same query, asked again.

use sea_orm_migration::prelude::*;

use crate::columns::{index, integer, text, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(repeats()).await?;
        manager.create_index(index("repeats", &["until"])).await
    }
}

/// One row a query that may come again. Its key and its body are hashes: nothing of the caller or the question
/// can be read in them.
fn repeats() -> TableCreateStatement {
    Table::create()
        .table("repeats")
        .col(uuid("tenant_id"))
        .col(text("key"))
        .col(text("body"))
        // The query that runs, or ran last.
        .col(uuid("query_id"))
        // `running`, `answered`, `counted`.
        .col(text("state"))
        // How often it has come again.
        .col(integer("repeats"))
        // In microseconds on the database's clock: when a running one is given up, another forgotten.
        .col(integer("until"))
        .primary_key(Index::create().col("tenant_id").col("key"))
        .to_owned()
}
