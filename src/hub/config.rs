//! The marketplace that a space starts with.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    domain::{Credential, NewMarketplace},
    upstream::parse_base_url,
};

/// The marketplace that a space starts with. Empty: none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the SyftHub is whose users may query, as `https://syfthub.openmined.org`. Empty: none.
    pub url: String,
    /// The owner's account there: the audience of its tokens.
    pub username: String,
    /// An API token of the account, `syft_pat_…`.
    #[serde(serialize_with = "hidden")]
    pub api_token: SecretString,
    /// What the hub's tokens call their issuer. Its URL is accepted too.
    pub issuers: Vec<String>,
    /// How far the hub's clock may be from ours, in seconds.
    pub clock_leeway_s: u32,
    /// Where the SyftHub is when an account is made or connected and no URL is said.
    pub default_url: String,
    /// How often hubs are told which published endpoints are alive, in milliseconds. They believe it for
    /// three times as long.
    pub report_interval_ms: u64,
    /// Endpoints in one call that replaces all that an account lists: the hub's limit.
    pub max_sync_endpoints: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: String::new(),
            api_token: SecretString::default(),
            issuers: vec!["https://hub.syft.com".to_owned()],
            clock_leeway_s: 5,
            default_url: "https://syfthub.openmined.org".to_owned(),
            report_interval_ms: 60_000,
            max_sync_endpoints: 100,
        }
    }
}

impl Config {
    /// The marketplace, if there is one.
    pub fn marketplace(&self) -> Option<NewMarketplace> {
        // In one spelling: a marketplace is known by its URL.
        let url = parse_base_url(&self.url).ok()?;
        Some(NewMarketplace {
            name: "SyftHub".to_owned(),
            username: self.username.to_lowercase(),
            url: url.as_str().trim_end_matches('/').to_owned(),
            issuers: self.issuers.clone(),
            email: String::new(),
            credential: Credential::ApiToken(self.api_token.clone()),
        })
    }

    /// What is wrong with it, for the operator: a marketplace is named whole or not at all.
    pub fn problems(&self) -> Vec<String> {
        let (api_token, mut problems) = (self.api_token.expose_secret(), Vec::new());
        let given = [&self.url, &self.username, api_token].map(|value| !value.is_empty());
        if given.contains(&true) && given.contains(&false) {
            problems.push("hub.url, hub.username and hub.api_token must be set together".to_owned());
        }
        let bare = |url: &reqwest::Url| url.query().is_none() && url.fragment().is_none();
        if !self.url.is_empty() && !parse_base_url(&self.url).is_ok_and(|url| bare(&url)) {
            problems.push("hub.url must be an http or https URL, without credentials".to_owned());
        }
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain(&self.username) || self.username.len() > 100 {
            problems.push("hub.username must be the name of an account".to_owned());
        }
        if !plain(api_token) || api_token.len() > 4096 {
            problems.push("hub.api_token must be a token".to_owned());
        }
        if self.issuers.iter().any(String::is_empty) {
            problems.push("hub.issuers must not have an empty name".to_owned());
        }
        if !parse_base_url(&self.default_url).is_ok_and(|url| bare(&url)) {
            problems.push("hub.default_url must be an http or https URL, without credentials".to_owned());
        }
        if !(100..=600_000).contains(&self.report_interval_ms) {
            // Hubs believe no report for longer than half an hour.
            problems.push("hub.report_interval_ms must be 100 to 600000".to_owned());
        }
        if !(1..=300).contains(&self.max_sync_endpoints) {
            problems.push("hub.max_sync_endpoints must be 1 to 300".to_owned());
        }
        if self.clock_leeway_s > 60 {
            problems.push("hub.clock_leeway_s must be 0 to 60".to_owned());
        }
        problems
    }
}

fn hidden<S: Serializer>(_secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("")
}
