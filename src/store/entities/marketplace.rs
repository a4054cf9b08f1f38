//! Table `marketplaces`.

use sea_orm::entity::prelude::*;

use super::Texts;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "marketplaces")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub username: String,
    pub url: String,
    pub satellite_id: Option<String>,
    pub issuers: Texts,
    pub email: String,
    pub credential: Json,
    pub is_configured: bool,
    pub is_default: bool,
    pub is_active: bool,
    pub announced_url: Option<String>,
    pub report_error: String,
    /// When it was disconnected; the row stays until it has forgotten all endpoints.
    pub removed_at: Option<TimeDateTimeWithTimeZone>,
    pub created_at: TimeDateTimeWithTimeZone,
    pub updated_at: TimeDateTimeWithTimeZone,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
