//! What a hub answers.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use serde::Deserialize;
use serde_json::Value;

use crate::error::UpstreamError;

/// Keys of one hub that are looked at.
const MAX_KEYS: usize = 32;
/// Bytes of a modulus: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of a hub.
pub struct Keys {
    pub keys: Vec<Key>,
    /// How long the hub says they may be kept.
    pub max_age: Option<Duration>,
}

/// A public key for RS256.
pub struct Key {
    pub id: String,
    pub modulus: Vec<u8>,
    pub exponent: Vec<u8>,
}

/// What a hub says of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is its bearer's; `email` is empty when the hub knows none.
    Good { email: String, guest: bool },
    /// It is nobody's, or its bearer's account has been closed.
    Bad,
}

/// An account.
#[derive(Debug, Deserialize)]
pub struct Profile {
    pub username: String,
    pub email: String,
}

#[derive(Deserialize)]
pub(super) struct KeysAnswer {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeyAnswer {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    n: String,
    e: String,
}

#[derive(Deserialize)]
pub(super) struct VerdictAnswer {
    valid: bool,
    email: Option<String>,
    role: Option<String>,
    error: Option<String>,
}

impl Keys {
    /// A key that we cannot use does not spoil the others.
    pub(super) fn read(headers: &HeaderMap, answer: KeysAnswer) -> Result<Self, UpstreamError> {
        let keys: Vec<Key> = answer.keys.into_iter().filter_map(Key::read).take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err(UpstreamError::unavailable("it has no keys of use"));
        }
        Ok(Self { keys, max_age: max_age(headers) })
    }
}

impl Key {
    fn read(answer: Value) -> Option<Self> {
        let answer: KeyAnswer = serde_json::from_value(answer).ok()?;
        let signs = answer.usage.is_none_or(|usage| usage == "sig");
        if answer.kty != "RSA" || !signs || answer.alg.is_some_and(|alg| alg != "RS256") {
            return None;
        }
        let modulus = BASE64.decode(answer.n).ok().filter(|bytes| MODULUS.contains(&bytes.len()))?;
        Some(Self { id: answer.kid, modulus, exponent: BASE64.decode(answer.e).ok()? })
    }
}

impl Verdict {
    pub(super) fn read(answer: VerdictAnswer) -> Result<Self, UpstreamError> {
        if answer.valid {
            let guest = answer.role.is_some_and(|role| role == "guest");
            return Ok(Self::Good { email: answer.email.unwrap_or_default(), guest });
        }
        match answer.error.as_deref() {
            // We have looked at the audience: it is for the account that we are said to have.
            Some("audience_mismatch") => Err(UpstreamError::rejected("its credential is another account's")),
            Some("idp_not_configured") => Err(UpstreamError::unavailable("it has no keys of use")),
            _ => Ok(Self::Bad),
        }
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut directives = headers.get(CACHE_CONTROL)?.to_str().ok()?.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}
