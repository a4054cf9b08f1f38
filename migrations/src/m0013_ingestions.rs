//! Ingestions: jobs that read files into datasets, the files that were read, and whose documents are whose.

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
        manager.create_table(jobs()).await?;
        manager.create_index(index("ingestion_jobs", &["tenant_id", "id"])).await?;
        manager.create_index(index("ingestion_jobs", &["dataset_id", "id"])).await?;
        manager.create_table(files()).await?;
        manager.create_index(unique("ingested_files", &["dataset_id", "name"])).await?;
        manager.create_index(index("ingested_files", &["job_id", "name"])).await?;
        // SQLite adds one column at a time.
        for column in [uuid("file_id"), integer("written")] {
            manager
                .alter_table(Table::alter().table("documents").add_column(nullable(column)).to_owned())
                .await?;
        }
        for partial in [
            // Jobs of one dataset run one after another: the index decides, whoever looks first.
            "CREATE UNIQUE INDEX ix_ingestion_jobs_running ON ingestion_jobs (dataset_id) WHERE state = 'running'",
            "CREATE INDEX ix_ingestion_jobs_open ON ingestion_jobs (id) WHERE state IN ('pending', 'running')",
            // Documents that came one by one belong to no file, and cost nothing here.
            "CREATE INDEX ix_documents_file_id ON documents (file_id) WHERE file_id IS NOT NULL",
        ] {
            manager.get_connection().execute_unprepared(partial).await?;
        }
        Ok(())
    }
}

/// One row for each job. `source` is sealed: URLs may have secrets in them. Of a running one, `holder` is the
/// process that runs it, until `held_until` in microseconds on the database's clock. `revision` grows with
/// everything that a watcher would want to see.
fn jobs() -> TableCreateStatement {
    Table::create()
        .table("ingestion_jobs")
        .col(id())
        .col(uuid("tenant_id"))
        .col(uuid("dataset_id"))
        .col(text("source"))
        // `pending`, `running`, `done`, `failed`, `stopped`.
        .col(text("state"))
        .col(integer("total"))
        .col(integer("done"))
        .col(integer("unchanged"))
        .col(integer("failed"))
        .col(integer("removed"))
        .col(text("error"))
        .col(integer("attempt"))
        .col(integer("revision"))
        .col(nullable(uuid("holder")))
        .col(integer("held_until"))
        .col(time("created_at"))
        .col(nullable(time("started_at")))
        .col(nullable(time("ended_at")))
        .foreign_key(&mut belongs_to("ingestion_jobs", "tenant_id", "tenants", ForeignKeyAction::Cascade))
        .foreign_key(&mut belongs_to("ingestion_jobs", "dataset_id", "datasets", ForeignKeyAction::Cascade))
        .to_owned()
}

/// One row for each file of a dataset: what is stored of it, and how its last reading went. The hash is
/// empty while the documents are not known to be those of the hashed bytes.
fn files() -> TableCreateStatement {
    Table::create()
        .table("ingested_files")
        .col(id())
        .col(uuid("tenant_id"))
        .col(uuid("dataset_id"))
        .col(text("name"))
        // `folder`, `url`, `upload`.
        .col(text("origin"))
        .col(text("format"))
        .col(text("hash"))
        .col(integer("size"))
        .col(integer("documents"))
        // `pending`, `running`, `done`, `failed`.
        .col(text("state"))
        .col(text("reason"))
        .col(boolean("unchanged"))
        // The job that has read it last, or is to; it may be gone.
        .col(nullable(uuid("job_id")))
        // Changes with each reading: who has an older one may write no more.
        .col(nullable(uuid("writer")))
        // How often this job has begun to read it.
        .col(integer("tries"))
        .col(time("updated_at"))
        .foreign_key(&mut belongs_to("ingested_files", "tenant_id", "tenants", ForeignKeyAction::Cascade))
        .foreign_key(&mut belongs_to("ingested_files", "dataset_id", "datasets", ForeignKeyAction::Cascade))
        .to_owned()
}
