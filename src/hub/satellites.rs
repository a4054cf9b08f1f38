//! Where this space is, as hubs are told.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Hub, HubError, ME, call::Call};
use crate::{domain::Marketplace, error::UpstreamError};

/// Characters of a satellite's id.
const MAX_ID: usize = 200;

#[derive(Deserialize)]
struct SatelliteAnswer {
    id: Id,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

impl Hub {
    /// Tells the hub where this space is. Newer hubs know satellites: returns the id of ours, which is asked
    /// for again when the marketplace has one. Older ones, which answer 404, are told the account's domain.
    /// Makes three calls at most.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn announce(
        &self,
        marketplace: &Marketplace,
        base_url: &str,
    ) -> Result<Option<String>, HubError> {
        let base_url = base_url.trim_end_matches('/');
        if let Some(id) = &marketplace.satellite_id {
            match self.move_satellite(marketplace, id, base_url).await {
                Ok(()) => return Ok(Some(id.clone())),
                // Another satellite is there; ours stays what it is.
                Err(error) if error.status == Some(409) => return Ok(Some(id.clone())),
                Err(error) if error.status == Some(404) => {}
                Err(error) => return Err(error),
            }
        }
        match self.add_satellite(marketplace, base_url).await {
            Err(error) if error.status == Some(404) => {
                self.set_domain(marketplace, base_url).await?;
                Ok(None)
            }
            Err(error) if error.status == Some(409) => {
                let fault = UpstreamError::rejected("its origin is registered as a station");
                Err(HubError { fault: fault.because("HTTP 409"), ..error })
            }
            added => added.map(Some),
        }
    }

    async fn move_satellite(
        &self,
        marketplace: &Marketplace,
        id: &str,
        base_url: &str,
    ) -> Result<(), HubError> {
        let path = ["api", "v1", "satellites", id];
        let call = Call::new(Method::PUT, &path).json(&json!({ "base_url": base_url }));
        self.ask(marketplace, call).await?.done()
    }

    async fn add_satellite(&self, marketplace: &Marketplace, base_url: &str) -> Result<String, HubError> {
        let body = json!({ "kind": "space", "base_url": base_url });
        let call = Call::post(&["api", "v1", "satellites"]).json(&body);
        let answer: SatelliteAnswer = self.ask(marketplace, call).await?.read()?;
        let id = match answer.id {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        };
        let is_one = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        is_one.then_some(id).ok_or_else(|| UpstreamError::unavailable("its answer cannot be read").into())
    }

    async fn set_domain(&self, marketplace: &Marketplace, base_url: &str) -> Result<(), HubError> {
        let call = Call::new(Method::PUT, &ME).json(&json!({ "domain": base_url }));
        self.ask(marketplace, call).await?.done()
    }
}
