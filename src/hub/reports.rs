//! Reports of what is alive.

use serde::Serialize;
use serde_json::json;
use time::{Duration, format_description::well_known::Rfc3339};

use super::{Hub, HubError, Liveness, call::Call};
use crate::{domain::Marketplace, error::UpstreamError};

/// Endpoints in one report: the hubs' limit.
const MAX_ENDPOINTS: usize = 300;
/// Seconds for which hubs believe a report, as they cap them.
const TTL_S: std::ops::RangeInclusive<u32> = 1..=1_800;
/// How wrong the moment of a report may be.
const TOLERANCE: Duration = Duration::seconds(5);

#[derive(Serialize)]
struct Report<'a> {
    url: &'a str,
    ttl_seconds: u32,
    endpoints: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    satellite_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Item {
    slug: String,
    status: &'static str,
    checked_at: String,
}

impl Hub {
    /// Says which endpoints are alive, for `ttl_s` seconds from now on the hub's clock, which is learnt from
    /// its answers. At most 300 in one call; more are told in several. A call whose answer shows that the
    /// hub's clock was not what we took it for is made once more.
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
        for endpoints in endpoints.chunks(MAX_ENDPOINTS) {
            let taken = self.clocks.ahead(&marketplace.url).await;
            self.tell(marketplace, base_url, endpoints, ttl_s).await?;
            let learnt = self.clocks.ahead(&marketplace.url).await;
            if (learnt - taken).abs() > TOLERANCE {
                self.tell(marketplace, base_url, endpoints, ttl_s).await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        marketplace: &Marketplace,
        base_url: &str,
        endpoints: &[Liveness],
        ttl_s: u32,
    ) -> Result<(), HubError> {
        let checked_at = self.clocks.now(&marketplace.url).await.format(&Rfc3339);
        let checked_at =
            checked_at.map_err(|e| UpstreamError::unavailable("its clock is wrong").because(e))?;
        let item = |one: &Liveness| Item {
            slug: one.slug.clone(),
            status: if one.healthy { "healthy" } else { "unhealthy" },
            checked_at: checked_at.clone(),
        };
        let report = Report {
            url: base_url,
            ttl_seconds: ttl_s.clamp(*TTL_S.start(), *TTL_S.end()),
            endpoints: endpoints.iter().map(item).collect(),
            satellite_id: marketplace.satellite_id.as_deref(),
        };
        let call = Call::post(&["api", "v1", "endpoints", "health"]).json(&report);
        match self.ask(marketplace, call).await {
            Err(error) if error.status == Some(404) => self.beat(marketplace, base_url, ttl_s).await,
            answer => answer?.done(),
        }
    }

    /// What older hubs are told: that the space as a whole is alive. The oldest do not want to know, and
    /// switch nothing off.
    async fn beat(&self, marketplace: &Marketplace, base_url: &str, ttl_s: u32) -> Result<(), HubError> {
        let beat = json!({ "url": base_url, "ttl_seconds": ttl_s });
        let call = Call::post(&["api", "v1", "users", "me", "heartbeat"]).json(&beat);
        match self.ask(marketplace, call).await {
            Err(error) if error.status == Some(404) => Ok(()),
            answer => answer?.done(),
        }
    }
}
