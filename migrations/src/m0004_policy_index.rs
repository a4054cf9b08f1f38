//! The policies of one endpoint in their order, found by what the query names. Without it SQLite, which
//! knows nothing of how rows are spread, reads all policies of the tenant in order to avoid a sort.

use sea_orm_migration::prelude::*;

use crate::columns::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_index(index("policies", &["tenant_id", "endpoint_id", "id"])).await
    }
}
