//! Tables as sea-orm sees them. Nothing outside `store` does.

pub(super) mod api_key;
pub(super) mod document;
pub(super) mod endpoint;
pub(super) mod listing;
pub(super) mod marketplace;
pub(super) mod policy;
pub(super) mod tenant;

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};

/// A list of texts in a JSON column.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Texts(pub Vec<String>);
