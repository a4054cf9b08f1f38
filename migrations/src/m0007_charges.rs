//! Charges: what was reserved from callers' accounts, and what is to become of it.

use sea_orm_migration::prelude::*;

use crate::columns::{id, index, integer, nullable, text, time, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(charges()).await?;
        manager.create_index(index("charges", &["due_at"])).await?;
        manager.create_index(index("charges", &["tenant_id", "query_id"])).await
    }
}

/// One row a reservation, written before the accounting service is asked. No foreign keys: a charge is
/// settled although its policy, its endpoint or its tenant has gone meanwhile, so its account is in the row,
/// sealed. A row with a `due_at`, in microseconds on the database's clock, is work that nobody may be doing.
fn charges() -> TableCreateStatement {
    Table::create()
        .table("charges")
        .col(id())
        .col(uuid("tenant_id"))
        .col(uuid("endpoint_id"))
        .col(uuid("policy_id"))
        .col(uuid("query_id"))
        .col(text("caller"))
        .col(integer("nano_units"))
        .col(text("currency"))
        .col(text("account"))
        // `open`, `confirmed`, `cancelled`, `void`.
        .col(text("state"))
        // Empty, `confirm`, `cancel`, `forget`: set once.
        .col(text("decision"))
        .col(nullable(text("transaction_id")))
        .col(integer("attempts"))
        .col(nullable(integer("due_at")))
        .col(time("created_at"))
        .to_owned()
}
