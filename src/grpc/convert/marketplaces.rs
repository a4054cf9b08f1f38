//! Marketplaces, and what they list.

use super::resources::timestamp;
use crate::{
    catalog::{ConnectionDraft, ProofDraft, RegistrationDraft},
    domain::{Listing, ListingState, MarketplaceDetail},
    proto,
};

pub(in crate::grpc) fn marketplace(found: MarketplaceDetail) -> proto::Marketplace {
    let MarketplaceDetail { marketplace, tally } = found;
    let count = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    proto::Marketplace {
        id: marketplace.id.to_string(),
        name: marketplace.name,
        username: marketplace.username,
        url: marketplace.url,
        email: marketplace.email,
        is_default: marketplace.is_default,
        is_active: marketplace.is_active,
        is_configured: marketplace.is_configured,
        published: count(tally.published),
        pending: count(tally.pending),
        failed: count(tally.failed),
        report_time: tally.reported_at.map(timestamp),
        report_error: marketplace.report_error,
        create_time: Some(timestamp(marketplace.created_at)),
        update_time: Some(timestamp(marketplace.updated_at)),
    }
}

pub(in crate::grpc) fn registration_draft(request: proto::RegisterMarketplaceRequest) -> RegistrationDraft {
    RegistrationDraft {
        name: request.name,
        username: request.username,
        email: request.email,
        password: request.password.into(),
        url: request.url,
    }
}

pub(in crate::grpc) fn proof_draft(request: proto::VerifyOtpRequest) -> ProofDraft {
    ProofDraft {
        email: request.email,
        password: request.password.into(),
        code: request.code.into(),
        url: request.url,
    }
}

pub(in crate::grpc) fn connection_draft(request: proto::ConnectMarketplaceRequest) -> ConnectionDraft {
    ConnectionDraft {
        username: request.username,
        password: request.password.into(),
        api_token: request.api_token.into(),
        url: request.url,
    }
}

/// Ids of the marketplaces that are known to have the endpoint.
pub(super) fn published_to(listings: &[Listing]) -> Vec<String> {
    listings.iter().filter(|one| one.is_listed).map(|one| one.marketplace_id.to_string()).collect()
}

pub(super) fn listing(listing: Listing) -> proto::Listing {
    let state = match listing.state {
        ListingState::Published => proto::ListingState::Published,
        ListingState::Pending => proto::ListingState::Pending,
        ListingState::Failed => proto::ListingState::Failed,
    };
    proto::Listing {
        marketplace_id: listing.marketplace_id.to_string(),
        marketplace_name: listing.marketplace_name,
        state: state.into(),
        last_error: listing.last_error,
        is_removal: listing.is_removal,
        publish_time: listing.published_at.map(timestamp),
        report_time: listing.reported_at.map(timestamp),
        healthy: listing.healthy,
    }
}
