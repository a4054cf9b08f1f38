//! Vectors of documents, each with what made it.

use sea_orm_migration::prelude::*;

use crate::columns::{nullable, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Little-endian numbers of 32 bits. Empty: nothing can be made of the text.
        let embedding = ColumnDef::new("embedding").blob().null().to_owned();
        // SQLite adds one column at a time.
        for column in [embedding, nullable(text("embedded_by"))] {
            manager.alter_table(Table::alter().table("documents").add_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
