//! Documents of `local` datasets: the truth that every search index is derived from.

use sea_orm_migration::prelude::*;

use crate::columns::{belongs_to, boolean, index, integer, json, text, time, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(documents()).await?;
        // An index catches up by walking the revisions it has not seen.
        manager.create_index(index("documents", &["dataset_id", "revision", "document_id"])).await
    }
}

fn documents() -> TableCreateStatement {
    Table::create()
        .table("documents")
        .col(uuid("dataset_id"))
        .col(text("document_id"))
        .col(uuid("tenant_id"))
        .col(text("content"))
        .col(json("metadata"))
        .col(integer("revision"))
        .col(boolean("deleted"))
        .col(time("created_at"))
        .col(time("updated_at"))
        .primary_key(Index::create().col("dataset_id").col("document_id"))
        .foreign_key(&mut belongs_to("documents", "dataset_id", "datasets", ForeignKeyAction::Cascade))
        .to_owned()
}
