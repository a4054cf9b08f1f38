//! Endpoints on a hub: published, taken away, and reported alive.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Hub, HubError, Liveness, Publication};
use crate::{domain::Marketplace, error::UpstreamError};

/// What an account lists, as the hub shows it, by slug.
pub type Listed = HashMap<String, Map<String, Value>>;

impl Hub {
    /// Tells the hub where this space is. Newer hubs know satellites: returns the id of ours, which is asked
    /// for again when the marketplace has one. Older ones, which answer 404, are told the account's domain.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn announce(
        &self,
        marketplace: &Marketplace,
        base_url: &str,
    ) -> Result<Option<String>, HubError> {
        let _ = (marketplace, base_url);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Whether the account lists an endpoint of this slug.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn is_listed(&self, marketplace: &Marketplace, slug: &str) -> Result<bool, HubError> {
        let _ = (marketplace, slug);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Everything that the account lists.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn listed(&self, marketplace: &Marketplace) -> Result<Listed, HubError> {
        let _ = marketplace;
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Lists an endpoint, or changes what is listed. May be repeated. One that is listed as another type is
    /// taken away and listed anew, for the hub cannot change types.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when the hub finds something wrong with it.
    pub async fn publish(&self, marketplace: &Marketplace, new: &Publication) -> Result<(), HubError> {
        let _ = (marketplace, new);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Takes an endpoint away. One that is not there has been.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn unpublish(&self, marketplace: &Marketplace, slug: &str) -> Result<(), HubError> {
        let _ = (marketplace, slug);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Replaces everything that the account lists, all or nothing.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when the hub finds something wrong with one of them.
    pub async fn replace_all(&self, marketplace: &Marketplace, all: &[Publication]) -> Result<(), HubError> {
        let _ = (marketplace, all);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Says which endpoints are alive, for `ttl_s` seconds from now on the hub's clock, which is learnt from
    /// its answers. At most 300 in one call; more are told in several.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn report(
        &self,
        marketplace: &Marketplace,
        base_url: &str,
        endpoints: &[Liveness],
        ttl_s: u32,
    ) -> Result<(), HubError> {
        let _ = (marketplace, base_url, endpoints, ttl_s);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }
}
