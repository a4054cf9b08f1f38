//! Closed charges: they hold no account, and the oldest are found without reading them all.

use sea_orm_migration::prelude::*;

use crate::columns::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let forget = "UPDATE charges SET account = '' WHERE state <> 'open'";
        manager.get_connection().execute_unprepared(forget).await?;
        manager.create_index(index("charges", &["created_at"])).await
    }
}
