//! An accounting service: the calls that reserve, confirm, cancel and list.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Url};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::time::timeout;

use super::{
    ledger::{Ledger, Listed, Pages, Sought},
    money::decimal,
};
use crate::{
    domain::ChargeId,
    error::{Cause, UpstreamError},
    store::Decision,
    upstream::{self, Failed, Upstream, parse_base_url, read_body},
};

/// What comes before our id of a reservation in the name that the service keeps.
pub(super) const APP: &str = "syft/";

/// How the service's paths are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Api {
    /// `/transaction/create`, `/transaction/confirm`, `/transaction/cancel`, `/transactions`.
    #[default]
    Transaction,
    /// `/transactions`, `/transactions/{id}/confirm`, `/transactions/{id}/cancel`.
    Transactions,
}

/// An account of an accounting service.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) api: Api,
    pub(super) url: String,
    pub(super) email: String,
    pub(super) password: SecretString,
}

/// What is reserved.
pub(super) struct Order<'a> {
    pub(super) id: ChargeId,
    pub(super) payer: &'a str,
    pub(super) nano_units: i64,
    pub(super) slug: &'a str,
}

/// Why a call did not do what it should.
#[derive(Debug)]
pub(super) enum Fault {
    /// The service did nothing now, and says why.
    Refused(Reason),
    /// Whether it did anything is not known.
    Unknown(Cause),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The payer has not enough.
    Balance,
    /// It refuses our own credential, or cannot be called at all: the owner must act.
    Account,
    /// There is no such transaction.
    Gone,
    /// The token, most likely: too old, for another account, or used, and then perhaps by this very call, which
    /// something between us has repeated.
    Other,
}

/// What became of a transaction, as the service has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Confirmed,
    Cancelled,
}

/// Calls accounting services.
pub(super) struct Service {
    upstream: Upstream,
}

/// The transactions of an account.
struct List<'a> {
    service: &'a Service,
    account: &'a Account,
}

/// An answer of a service, with what it may hold.
#[derive(Deserialize)]
struct Made {
    transaction: Option<Listed>,
    #[serde(flatten)]
    bare: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Page {
    Wrapped { transactions: Vec<Listed> },
    Bare(Vec<Listed>),
}

impl Service {
    pub(super) fn new(config: &upstream::Config, limit: Duration) -> Result<Self, Cause> {
        let limit = u64::try_from(limit.as_millis())?;
        let config = upstream::Config {
            connect_timeout_ms: config.connect_timeout_ms.min(limit),
            first_token_timeout_ms: limit,
            idle_timeout_ms: limit,
            ..config.clone()
        };
        Ok(Self { upstream: Upstream::new(config)? })
    }

    /// Reserves, and returns what the service calls the reservation. Never repeated: a token serves once.
    pub(super) async fn create(
        &self,
        account: &Account,
        order: &Order<'_>,
        token: &str,
        limit: Duration,
    ) -> Result<String, Fault> {
        let amount = RawValue::from_string(decimal(order.nano_units)).map_err(unknown)?;
        let (path, token_field): (&[&str], _) = match account.api {
            Api::Transaction => (&["transaction", "create"], Some(token)),
            Api::Transactions => (&["transactions"], None),
        };
        let body = Creation {
            sender_email: order.payer,
            recipient_email: &account.email,
            amount: &amount,
            token: token_field,
            app_name: format!("{APP}{}", order.id),
            app_ep_path: order.slug,
        };
        let request = self.post(account, path)?.json(&body);
        let request = match account.api {
            Api::Transaction => account.enter(request),
            // Here the payer's token is what lets us in.
            Api::Transactions => request.bearer_auth(token),
        };
        let ours = account.api == Api::Transaction;
        let body = in_time(limit, self.ask(request, ours)).await?;
        let made: Made = serde_json::from_slice(&body).map_err(unreadable)?;
        let id = made.transaction.map(|made| made.id).or_else(|| made.bare.get("id").cloned());
        id.as_ref().and_then(name).ok_or_else(|| unknown("a transaction without an id"))
    }

    /// Confirms or cancels.
    pub(super) async fn resolve(
        &self,
        account: &Account,
        transaction: &str,
        decision: Decision,
        limit: Duration,
    ) -> Result<(), Fault> {
        let verb = match decision {
            Decision::Confirm => "confirm",
            Decision::Cancel | Decision::Forget => "cancel",
        };
        let request = match account.api {
            Api::Transaction => {
                self.post(account, &["transaction", verb])?.json(&json!({ "transactionId": transaction }))
            }
            Api::Transactions => self.post(account, &["transactions", transaction, verb])?.json(&json!({})),
        };
        in_time(limit, self.ask(account.enter(request), true)).await.map(|_| ())
    }

    /// Looks for reservations in the list of an account. Takes `limit`, or a page longer.
    pub(super) async fn ledger(
        &self,
        account: &Account,
        sought: Vec<Sought>,
        limit: Duration,
    ) -> Result<Ledger, Fault> {
        Ledger::read(&List { service: self, account }, sought, limit).await
    }

    async fn page(&self, account: &Account, skip: usize, limit: usize) -> Result<Vec<Listed>, Fault> {
        let mut url = account.place(&["transactions"])?;
        let (skip, limit) = (skip.to_string(), limit.to_string());
        url.query_pairs_mut().append_pair("skip", &skip).append_pair("limit", &limit);
        let request = self.upstream.request(Method::GET, &url).map_err(unusable)?;
        let body = self.ask(account.enter(request), true).await?;
        Ok(match serde_json::from_slice(&body).map_err(unreadable)? {
            Page::Wrapped { transactions } | Page::Bare(transactions) => transactions,
        })
    }

    fn post(&self, account: &Account, path: &[&str]) -> Result<RequestBuilder, Fault> {
        self.upstream.request(Method::POST, &account.place(path)?).map_err(unusable)
    }

    /// `ours`: whether a 401 concerns our credential.
    async fn ask(&self, request: RequestBuilder, ours: bool) -> Result<Vec<u8>, Fault> {
        let response = self.upstream.send_once(request).await.map_err(|failed| fault(failed, ours))?;
        let mut clocks = self.upstream.clocks();
        read_body(response, &mut clocks).await.map_err(unknown)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Creation<'a> {
    sender_email: &'a str,
    recipient_email: &'a str,
    amount: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    app_name: String,
    app_ep_path: &'a str,
}

impl Account {
    /// As it is kept, sealed, beside a charge.
    pub(super) fn written(&self) -> String {
        let password = self.password.expose_secret();
        json!({"api": self.api, "url": self.url, "email": self.email, "password": password}).to_string()
    }

    pub(super) fn read(written: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Written {
            api: Api,
            url: String,
            email: String,
            password: SecretString,
        }
        let Written { api, url, email, password } = serde_json::from_str(written).ok()?;
        Some(Self { api, url, email, password })
    }

    /// Whether both are one account, whatever enters it.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.api, &self.url, &self.email) == (other.api, &other.url, &other.email)
    }

    fn place(&self, path: &[&str]) -> Result<Url, Fault> {
        let mut url = parse_base_url(&self.url).map_err(unusable)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    fn enter(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.email, Some(self.password.expose_secret()))
    }
}

impl Pages for List<'_> {
    async fn page(&self, skip: usize, limit: usize) -> Result<Vec<Listed>, Fault> {
        self.service.page(self.account, skip, limit).await
    }
}

impl Status {
    /// A word that is not known is taken for pending: then the service is asked to end it, and says.
    pub(super) fn read(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "confirmed" | "completed" | "complete" | "success" => Self::Confirmed,
            "cancelled" | "canceled" | "rejected" | "failed" | "expired" => Self::Cancelled,
            _ => Self::Pending,
        }
    }
}

/// What we call the reservation, for those who read `policy_metadata`.
pub(super) fn reference(charge: ChargeId) -> String {
    format!("{APP}{charge}")
}

/// What the service calls a transaction, as text.
pub(super) fn name(id: &Value) -> Option<String> {
    match id {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

async fn in_time<T>(limit: Duration, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(unknown("it did not answer in time")))
}

/// Only an answer below 500 that asks for no patience says for certain that nothing was done.
fn fault(failed: Failed, ours: bool) -> Fault {
    match failed.status.map(|status| status.as_u16()) {
        Some(401) if ours => Fault::Refused(Reason::Account),
        Some(402) => Fault::Refused(Reason::Balance),
        Some(404 | 410) => Fault::Refused(Reason::Gone),
        Some(400..=499) if matches!(failed.error, UpstreamError::Rejected { .. }) => {
            let body = failed.body.to_ascii_lowercase();
            let is_short = body.contains("insufficient") || body.contains("balance");
            Fault::Refused(if is_short { Reason::Balance } else { Reason::Other })
        }
        // Such as an address that may not be called.
        None if matches!(failed.error, UpstreamError::Rejected { .. }) => Fault::Refused(Reason::Account),
        Some(status) => unknown(format!("HTTP {status}")),
        None => unknown(failed.error),
    }
}

/// No call can be made.
fn unusable(_: UpstreamError) -> Fault {
    Fault::Refused(Reason::Account)
}

pub(super) fn unknown(why: impl Into<Cause>) -> Fault {
    Fault::Unknown(why.into())
}

/// Says where, not what: the message would quote the answer.
fn unreadable(error: serde_json::Error) -> Fault {
    unknown(format!("its answer cannot be read: {:?} error in column {}", error.classify(), error.column()))
}
