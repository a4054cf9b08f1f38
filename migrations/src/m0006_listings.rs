//! What marketplaces list, and what they have yet to be told: the outbox.

use sea_orm_migration::prelude::*;

use crate::columns::{belongs_to, boolean, id, index, integer, nullable, text, time, unique, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let added = [
            ("marketplaces", nullable(text("announced_url"))),
            ("marketplaces", text("report_error").default("").to_owned()),
            ("marketplaces", nullable(time("removed_at"))),
            ("tenants", nullable(text("public_url"))),
        ];
        for (table, column) in added {
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        // Nobody has ever written to it: what is listed where has a table of its own.
        let dropped = Table::alter().table("endpoints").drop_column("published_to").to_owned();
        manager.alter_table(dropped).await?;
        manager.create_table(listings()).await?;
        manager.create_index(unique("listings", &["marketplace_id", "slug"])).await?;
        manager.create_index(index("listings", &["endpoint_id"])).await?;
        manager.create_index(index("listings", &["due_at"])).await
    }
}

/// One row for each endpoint that a marketplace lists or is to list. What is wanted of it has a revision
/// that grows; a row with a `due_at` is work to be done. Moments that replicas compare are in microseconds
/// on the database's clock. A row outlives its endpoint until the marketplace has forgotten it.
fn listings() -> TableCreateStatement {
    Table::create()
        .table("listings")
        .col(id())
        .col(uuid("tenant_id"))
        .col(uuid("marketplace_id"))
        .col(nullable(uuid("endpoint_id")))
        .col(text("slug"))
        .col(boolean("is_removal"))
        .col(text("state"))
        .col(boolean("is_listed"))
        .col(integer("revision"))
        .col(integer("attempts"))
        .col(nullable(integer("due_at")))
        .col(nullable(uuid("claimed_by")))
        .col(integer("claimed_until"))
        .col(text("last_error"))
        .col(nullable(integer("published_at")))
        .col(nullable(integer("reported_at")))
        .col(boolean("healthy"))
        .col(time("created_at"))
        .foreign_key(&mut belongs_to("listings", "tenant_id", "tenants", ForeignKeyAction::Cascade))
        .foreign_key(&mut belongs_to("listings", "marketplace_id", "marketplaces", ForeignKeyAction::Cascade))
        .foreign_key(&mut belongs_to("listings", "endpoint_id", "endpoints", ForeignKeyAction::SetNull))
        .to_owned()
}
