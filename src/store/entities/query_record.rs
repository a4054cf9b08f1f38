//! Table `query_records`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "query_records")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub endpoint_id: Option<Uuid>,
    pub endpoint_slug: String,
    pub caller: String,
    pub request_id: Option<Uuid>,
    pub preview: bool,
    pub outcome: String,
    pub reason: String,
    pub documents: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub usage_estimated: bool,
    pub cost_nano_units: Option<i64>,
    pub first_event_micros: Option<i64>,
    pub duration_micros: i64,
    pub created_at: TimeDateTimeWithTimeZone,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
