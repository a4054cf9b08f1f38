//! Listings: endpoints on marketplaces.

use time::OffsetDateTime;

use super::{EndpointId, ListingId, MarketplaceId, TenantId};

/// An endpoint that a marketplace lists, or is to list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    pub id: ListingId,
    pub tenant_id: TenantId,
    pub marketplace_id: MarketplaceId,
    pub marketplace_name: String,
    /// `None` when the endpoint has been deleted.
    pub endpoint_id: Option<EndpointId>,
    pub slug: String,
    /// Whether it is to be taken away, rather than to be there.
    pub is_removal: bool,
    pub state: ListingState,
    /// Whether the marketplace is known to have it.
    pub is_listed: bool,
    /// Grows with every change of what is wanted.
    pub revision: i64,
    /// How often in a row the marketplace could not be told.
    pub attempts: i64,
    /// What went wrong the last time; empty when nothing did. For the owner.
    pub last_error: String,
    /// When the marketplace was last told what the endpoint is like.
    pub published_at: Option<OffsetDateTime>,
    /// When it was last told whether the endpoint is alive, and what.
    pub reported_at: Option<OffsetDateTime>,
    pub healthy: bool,
}

/// Whether a marketplace knows what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingState {
    /// It does.
    Published,
    /// Not yet.
    Pending,
    /// It refuses for good.
    Failed,
}

impl ListingState {
    /// The name in stored rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Pending => "pending",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Published, Self::Pending, Self::Failed].into_iter().find(|state| state.name() == name)
    }
}
