//! Table `documents`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "documents")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub dataset_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub document_id: String,
    pub tenant_id: Uuid,
    pub content: String,
    pub metadata: Json,
    pub revision: i64,
    pub deleted: bool,
    /// The file that it came from, where there is one.
    pub file_id: Option<Uuid>,
    /// The revision that wrote what it says. That of the row grows also when it gets a vector.
    pub written: Option<i64>,
    pub created_at: TimeDateTimeWithTimeZone,
    pub updated_at: TimeDateTimeWithTimeZone,
    pub embedding: Option<Vec<u8>>,
    pub embedded_by: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
