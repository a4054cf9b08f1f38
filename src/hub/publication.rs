//! What a hub is told of an endpoint, in its own fields.

use serde::Serialize;
use serde_json::{Map, Value};

/// An endpoint as a hub lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Publication {
    pub name: String,
    pub description: String,
    /// `data_source`, `model` or `model_data_source`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub slug: String,
    pub visibility: &'static str,
    pub version: &'static str,
    pub readme: String,
    pub tags: Vec<String>,
    pub policies: Vec<ListedPolicy>,
    pub connect: Vec<Connection>,
}

/// A policy, without what is nobody's business.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedPolicy {
    #[serde(rename = "type")]
    pub kind: String,
    pub version: &'static str,
    pub enabled: bool,
    pub description: String,
    pub config: Map<String, Value>,
}

/// How an endpoint is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connection {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub enabled: bool,
    pub description: String,
    pub config: Map<String, Value>,
}

/// Whether an endpoint is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    pub slug: String,
    pub healthy: bool,
}
