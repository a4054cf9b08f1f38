//! The SyftHubs on which owners have accounts.

use sea_orm_migration::prelude::*;

use crate::columns::{belongs_to, boolean, id, json, nullable, text, time, unique, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(marketplaces()).await?;
        manager.create_index(unique("marketplaces", &["tenant_id", "url"])).await
    }
}

/// `credential` is an object whose secret fields are sealed, as configurations are: how an account is
/// entered may change, the table need not.
fn marketplaces() -> TableCreateStatement {
    Table::create()
        .table("marketplaces")
        .col(id())
        .col(uuid("tenant_id"))
        .col(text("name"))
        .col(text("username"))
        .col(text("url"))
        .col(nullable(text("satellite_id")))
        .col(json("issuers"))
        .col(text("email"))
        .col(json("credential"))
        .col(boolean("is_configured"))
        .col(boolean("is_default"))
        .col(boolean("is_active"))
        .col(time("created_at"))
        .col(time("updated_at"))
        .foreign_key(&mut belongs_to("marketplaces", "tenant_id", "tenants", ForeignKeyAction::Cascade))
        .to_owned()
}
