//! What owners manage: tenants, API keys, datasets, models, endpoints, policies.

use sea_orm_migration::prelude::*;

use crate::columns::{belongs_to, boolean, id, index, integer, json, nullable, text, time, unique, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite too: a start that is killed half-way leaves nothing.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in
            [tenants(), api_keys(), attachments("datasets"), attachments("models"), endpoints(), policies()]
        {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        manager.create_table(change_counter()).await?;
        let zero = Query::insert()
            .into_table("change_counter")
            .columns(["id", "revision"])
            .values_panic([1.into(), 0.into()])
            .to_owned();
        manager.execute(zero).await
    }
}

fn tenants() -> TableCreateStatement {
    Table::create()
        .table("tenants")
        .col(id())
        .col(text("name").unique_key())
        .col(text("display_name"))
        .col(boolean("active"))
        .col(time("created_at"))
        .col(time("updated_at"))
        .to_owned()
}

fn api_keys() -> TableCreateStatement {
    Table::create()
        .table("api_keys")
        .col(id())
        .col(uuid("tenant_id"))
        .col(text("name"))
        .col(text("email"))
        .col(text("secret_hash").unique_key())
        .col(json("scopes"))
        .col(nullable(time("expires_at")))
        .col(nullable(time("revoked_at")))
        .col(time("created_at"))
        .col(time("updated_at"))
        .foreign_key(&mut belongs_to("api_keys", "tenant_id", "tenants", ForeignKeyAction::Cascade))
        .to_owned()
}

/// Datasets and models have one shape: a typed configuration under a name.
fn attachments(table: &'static str) -> TableCreateStatement {
    let mut create = Table::create();
    create
        .table(table)
        .col(id())
        .col(uuid("tenant_id"))
        .col(text("name"))
        .col(text("dtype"))
        .col(json("configuration"))
        .col(text("summary"))
        .col(json("tags"))
        .col(time("created_at"))
        .col(time("updated_at"))
        .foreign_key(&mut belongs_to(table, "tenant_id", "tenants", ForeignKeyAction::Cascade));
    if table == "datasets" {
        create.col(integer("document_revision").default(0));
    }
    create.to_owned()
}

/// A dataset or model in use cannot be deleted: the database refuses, whatever the code forgets.
fn endpoints() -> TableCreateStatement {
    Table::create()
        .table("endpoints")
        .col(id())
        .col(uuid("tenant_id"))
        .col(text("slug"))
        .col(text("name"))
        .col(text("summary"))
        .col(text("description"))
        .col(nullable(uuid("dataset_id")))
        .col(nullable(uuid("model_id")))
        .col(text("response_type"))
        .col(boolean("published"))
        .col(json("tags"))
        .col(json("published_to"))
        .col(time("created_at"))
        .col(time("updated_at"))
        .foreign_key(&mut belongs_to("endpoints", "tenant_id", "tenants", ForeignKeyAction::Cascade))
        .foreign_key(&mut belongs_to("endpoints", "dataset_id", "datasets", ForeignKeyAction::Restrict))
        .foreign_key(&mut belongs_to("endpoints", "model_id", "models", ForeignKeyAction::Restrict))
        .to_owned()
}

fn policies() -> TableCreateStatement {
    Table::create()
        .table("policies")
        .col(id())
        .col(uuid("tenant_id"))
        .col(uuid("endpoint_id"))
        .col(text("name"))
        .col(text("policy_type"))
        .col(json("configuration"))
        .col(time("created_at"))
        .col(time("updated_at"))
        .foreign_key(&mut belongs_to("policies", "endpoint_id", "endpoints", ForeignKeyAction::Cascade))
        .to_owned()
}

fn indexes() -> [IndexCreateStatement; 8] {
    [
        index("api_keys", &["tenant_id", "id"]),
        unique("datasets", &["tenant_id", "name"]),
        unique("models", &["tenant_id", "name"]),
        unique("endpoints", &["tenant_id", "slug"]),
        index("endpoints", &["dataset_id"]),
        index("endpoints", &["model_id"]),
        unique("policies", &["endpoint_id", "name"]),
        index("policies", &["tenant_id", "id"]),
    ]
}

/// One row that every management write increments: replicas watch it to drop what they cached.
fn change_counter() -> TableCreateStatement {
    Table::create()
        .table("change_counter")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(integer("revision"))
        .to_owned()
}
