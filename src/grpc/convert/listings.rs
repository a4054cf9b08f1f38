//! What was told marketplaces.

use crate::{
    error::Error,
    listing::{Availability, Chosen, Outcome, Synced, marketplace_ids},
    proto,
};

/// The marketplaces that a request names, or all.
pub(in crate::grpc) fn chosen(ids: &[String], all: bool) -> Result<Chosen, Error> {
    let ids = marketplace_ids(ids)?;
    Ok(if all { Chosen::All } else { Chosen::These(ids) })
}

pub(in crate::grpc) fn outcome(outcome: Outcome) -> proto::MarketplaceResult {
    let (success, message, error) = match outcome.words {
        Ok(message) => (true, message, String::new()),
        Err(error) => (false, String::new(), error),
    };
    proto::MarketplaceResult {
        marketplace_id: outcome.marketplace_id.to_string(),
        marketplace_name: outcome.marketplace_name,
        success,
        message,
        error,
        is_pending: outcome.is_pending,
    }
}

pub(in crate::grpc) fn synced(synced: Synced) -> proto::SyncResult {
    proto::SyncResult {
        marketplace_id: synced.marketplace_id.to_string(),
        marketplace_name: synced.marketplace_name,
        success: synced.error.is_none(),
        slugs: synced.slugs,
        published: synced.published,
        removed: synced.removed,
        error: synced.error.unwrap_or_default(),
    }
}

pub(in crate::grpc) fn availability((id, free): Availability) -> proto::SlugAvailability {
    let (available, error) = match free {
        Ok(free) => (Some(free), String::new()),
        Err(error) => (None, error),
    };
    proto::SlugAvailability { marketplace_id: id.to_string(), available, error }
}
