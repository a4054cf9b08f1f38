//! What owners ask of records: when, how long to the first token, in which currency, under which correlation
//! id, and the text where it is kept.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{integer, nullable, text, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let zero = |mut column: ColumnDef| column.default(0).to_owned();
        let empty = |mut column: ColumnDef| column.default("").to_owned();
        for column in [
            // Microseconds since 1970: SQLite compares its times as texts, and cuts zeros off them.
            zero(integer("started_micros")),
            nullable(uuid("dataset_id")),
            nullable(text("correlation_id")),
            nullable(integer("first_token_micros")),
            // Empty where it is not known any more.
            empty(text("currency")),
            // Sealed.
            nullable(text("question")),
            nullable(text("answer")),
        ] {
            manager.alter_table(Table::alter().table("query_records").add_column(column).to_owned()).await?;
        }
        let database = manager.get_connection();
        let micros = match manager.get_database_backend() {
            DbBackend::Postgres => "(extract(epoch FROM created_at) * 1000000)::bigint",
            _ => "COALESCE(CAST(round(unixepoch(created_at, 'subsec') * 1000) AS INTEGER) * 1000, 0)",
        };
        for sql in [
            &format!("UPDATE query_records SET started_micros = {micros}"),
            "UPDATE query_records SET currency = COALESCE((SELECT max(currency) FROM charges \
             WHERE charges.tenant_id = query_records.tenant_id AND charges.query_id = query_records.id), '') \
             WHERE cost_nano_units IS NOT NULL",
            "ALTER TABLE query_records DROP COLUMN created_at",
            // Nobody has ever read by it. There is none by caller: it would make a record three times as dear.
            "DROP INDEX ix_query_records_tenant_id_id",
            "CREATE INDEX ix_query_records_started ON query_records (tenant_id, started_micros, id)",
            // All end in the order of pages: SQLite takes none that does not, however few records it would find.
            "CREATE INDEX ix_query_records_endpoint \
             ON query_records (tenant_id, endpoint_slug, started_micros, id)",
            // Only records that have such an id pay for these.
            "CREATE INDEX ix_query_records_correlation \
             ON query_records (tenant_id, correlation_id, started_micros, id) WHERE correlation_id IS NOT NULL",
            "CREATE INDEX ix_query_records_request \
             ON query_records (tenant_id, request_id, started_micros, id) WHERE request_id IS NOT NULL",
        ] {
            database.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
