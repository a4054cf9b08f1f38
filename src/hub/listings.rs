//! Endpoints on a hub: listed, changed and taken away.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Hub, HubError, Publication, call::Call};
use crate::{domain::Marketplace, error::UpstreamError};

const ENDPOINTS: [&str; 3] = ["api", "v1", "endpoints"];
/// Endpoints in one page, the hubs' limit, and pages that are read.
const PAGE: usize = 100;
const MAX_PAGES: usize = 100;
/// Bytes of one page, whose readmes may have 50000 characters each, and of all of them.
const MAX_PAGE: usize = 32 << 20;
const MAX_LISTED: usize = 64 << 20;
/// How often publishing changes its mind about whether an endpoint is listed.
const MAX_TURNS: usize = 4;

/// What an account lists, as the hub shows it, by slug.
pub type Listed = HashMap<String, Map<String, Value>>;

/// What a change came to.
enum Changed {
    Done,
    /// It is listed as another type, and remains so.
    OfAnotherType,
}

impl Hub {
    /// Whether the account lists an endpoint of this slug.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn is_listed(&self, marketplace: &Marketplace, slug: &str) -> Result<bool, HubError> {
        let path = ["api", "v1", "endpoints", slug, "exists"];
        self.ask(marketplace, Call::get(&path)).await?.read()
    }

    /// Everything that the account lists, in up to a hundred calls.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn listed(&self, marketplace: &Marketplace) -> Result<Listed, HubError> {
        let (mut listed, mut bytes) = (Listed::new(), 0);
        for page in 0..MAX_PAGES {
            let call =
                Call::get(&ENDPOINTS).with("skip", page * PAGE).with("limit", PAGE).expecting(MAX_PAGE);
            let answer = self.ask(marketplace, call).await?;
            bytes += answer.body.len();
            let records: Vec<Map<String, Value>> = answer.read()?;
            let is_last = records.len() < PAGE;
            listed.extend(records.into_iter().filter_map(|record| Some((slug(&record)?, record))));
            if is_last {
                return Ok(listed);
            }
            if bytes > MAX_LISTED {
                break;
            }
        }
        Err(UpstreamError::unavailable("it lists more than can be read").into())
    }

    /// Lists an endpoint, or changes what is listed, in several calls. May be repeated. One that is listed as
    /// another type is taken away and listed anew, for the hub cannot change types.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when the hub finds something wrong with it.
    pub async fn publish(&self, marketplace: &Marketplace, new: &Publication) -> Result<(), HubError> {
        let mut is_listed = self.is_listed(marketplace, &new.slug).await?;
        for _ in 0..MAX_TURNS {
            let done = match is_listed {
                true => self.change(marketplace, new).await,
                false => self.list(marketplace, new).await.map(|()| Changed::Done),
            };
            is_listed = match done {
                Ok(Changed::Done) => return Ok(()),
                Ok(Changed::OfAnotherType) => {
                    self.unpublish(marketplace, &new.slug).await?;
                    false
                }
                // Another task or another replica was faster.
                Err(error) if is_listed && error.status == Some(404) => false,
                Err(error) if !is_listed && is_taken(&error) => true,
                Err(error) => return Err(error),
            };
        }
        Err(UpstreamError::unavailable("somebody else lists and unlists the endpoint").into())
    }

    /// Takes an endpoint away. One that is not there has been.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn unpublish(&self, marketplace: &Marketplace, slug: &str) -> Result<(), HubError> {
        let path = ["api", "v1", "endpoints", "slug", slug];
        match self.ask(marketplace, Call::new(Method::DELETE, &path)).await {
            Err(error) if error.status == Some(404) => Ok(()),
            gone => gone?.done(),
        }
    }

    /// Replaces everything that the account lists, all or nothing.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when the hub finds something wrong with one of them.
    pub async fn replace_all(&self, marketplace: &Marketplace, all: &[Publication]) -> Result<(), HubError> {
        let mut body = json!({ "endpoints": all });
        if let Some(satellite_id) = &marketplace.satellite_id {
            body["satellite_id"] = satellite_id.as_str().into();
        }
        let path = ["api", "v1", "endpoints", "sync"];
        // The answer holds all that is listed.
        let call = Call::post(&path).json(&body).expecting(MAX_PAGE);
        self.ask(marketplace, call).await?.done()
    }

    /// Lists it for the first time.
    async fn list(&self, marketplace: &Marketplace, new: &Publication) -> Result<(), HubError> {
        let mut call = Call::post(&ENDPOINTS).json(new);
        if let Some(satellite_id) = &marketplace.satellite_id {
            call = call.with("satellite_id", satellite_id);
        }
        self.ask(marketplace, call).await?.done()
    }

    /// Changes what is listed, as far as the hub can.
    async fn change(&self, marketplace: &Marketplace, new: &Publication) -> Result<Changed, HubError> {
        let mut body = json!(new);
        for fixed in ["type", "slug"] {
            body.as_object_mut().map(|fields| fields.remove(fixed));
        }
        let path = ["api", "v1", "endpoints", "slug", &new.slug];
        let call = Call::new(Method::PATCH, &path).json(&body);
        let record: Map<String, Value> = self.ask(marketplace, call).await?.read()?;
        let is_another = record.get("type").is_some_and(|kind| kind != new.kind);
        Ok(if is_another { Changed::OfAnotherType } else { Changed::Done })
    }
}

fn slug(record: &Map<String, Value>) -> Option<String> {
    Some(record.get("slug")?.as_str()?.to_owned())
}

/// Whether it is listed already.
fn is_taken(error: &HubError) -> bool {
    let says_so = |said: &String| said.to_lowercase().contains("already exists");
    error.status == Some(400) && error.said.as_ref().is_some_and(says_so)
}
