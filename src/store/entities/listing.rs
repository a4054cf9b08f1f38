//! Table `listings`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "listings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub marketplace_id: Uuid,
    pub endpoint_id: Option<Uuid>,
    pub slug: String,
    pub is_removal: bool,
    pub state: String,
    pub is_listed: bool,
    pub revision: i64,
    pub attempts: i64,
    pub due_at: Option<i64>,
    pub claimed_by: Option<Uuid>,
    pub claimed_until: i64,
    pub last_error: String,
    pub published_at: Option<i64>,
    pub reported_at: Option<i64>,
    pub healthy: bool,
    pub created_at: TimeDateTimeWithTimeZone,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
