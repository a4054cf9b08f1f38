//! The client of SyftHub against a scripted one.

mod accounts;
mod faults;
mod listings;
mod publishing;
mod reports;
mod satellites;
mod secrets;
mod sessions;

use syft_endpoints::{
    domain::{Credential, Marketplace, MarketplaceId},
    error::UpstreamError,
    hub::{Connection, Hub, HubError, ListedPolicy, Publication},
    upstream,
};
use time::OffsetDateTime;

use crate::support::hub::{self, API_TOKEN, Fault, OWNER, PASSWORD};

fn client() -> Hub {
    Hub::new(&upstream::Config::default()).unwrap()
}

/// The owner's account, entered with an API token.
fn account(hub: &hub::Hub) -> Marketplace {
    entered_with(hub, Credential::ApiToken(API_TOKEN.into()))
}

/// The owner's account, entered with its password.
fn session(hub: &hub::Hub) -> Marketplace {
    entered_with(hub, Credential::Password(PASSWORD.into()))
}

fn entered_with(hub: &hub::Hub, credential: Credential) -> Marketplace {
    Marketplace {
        id: MarketplaceId::new(),
        name: "SyftHub".to_owned(),
        username: OWNER.to_owned(),
        url: hub.url(),
        satellite_id: None,
        issuers: Vec::new(),
        email: String::new(),
        credential: Some(credential),
        announced_url: None,
        report_error: String::new(),
        is_default: true,
        is_active: true,
        is_configured: false,
        created_at: OffsetDateTime::now_utc(),
        updated_at: OffsetDateTime::now_utc(),
    }
}

fn publication(slug: &str) -> Publication {
    Publication {
        name: "Papers".to_owned(),
        description: "What we know".to_owned(),
        kind: "model",
        slug: slug.to_owned(),
        visibility: "public",
        version: "0.1.0",
        readme: "# Papers".to_owned(),
        tags: vec!["law".to_owned(), "copy-right".to_owned()],
        policies: vec![ListedPolicy {
            kind: "rate_limit".to_owned(),
            version: "1.0",
            enabled: true,
            description: "10 a minute".to_owned(),
            config: serde_json::Map::new(),
        }],
        connect: vec![Connection {
            kind: "http",
            enabled: true,
            description: String::new(),
            config: serde_json::Map::from_iter([("path".to_owned(), "/api/v1".into())]),
        }],
    }
}

fn fault(status: u16, body: &str) -> Fault {
    Fault { status, headers: &[], body: body.to_owned() }
}

/// The reason of a refusal that repeating cannot cure.
fn rejected(error: &HubError) -> &'static str {
    match error.fault {
        UpstreamError::Rejected { reason, .. } => reason,
        UpstreamError::Unavailable { .. } => panic!("it is not final: {error:?}"),
    }
}

/// The reason of a fault that repeating may cure.
fn unavailable(error: &HubError) -> &'static str {
    match error.fault {
        UpstreamError::Unavailable { reason, .. } => reason,
        UpstreamError::Rejected { .. } => panic!("it is final: {error:?}"),
    }
}
