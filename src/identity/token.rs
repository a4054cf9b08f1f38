//! Satellite tokens as text: what one must look like, and whether a key has signed it. Only RS256 is
//! ever verified, and no key that a token brings along is ever used.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::Marketplace;

/// Bytes of a token. The hub's have some 600.
const MAX_TOKEN: usize = 8 << 10;
/// Bytes of a key's name.
const MAX_KEY_ID: usize = 256;
const GUEST: &str = "guest";

/// A token that has been read and not verified: nothing in it is true yet.
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) key_id: String,
    claims: Claims,
    signed: &'a str,
    signature: &'a str,
}

/// Fields that are not named here, keys among them, are passed over.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// What the reader must understand. We understand nothing.
    crit: Option<Value>,
}

/// All required; one that comes twice is refused.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    aud: String,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    role: Option<String>,
}

/// Whether a credential has the shape of a token: what has not is not looked at.
pub(super) fn could_be_token(text: &str) -> bool {
    text.len() <= MAX_TOKEN && parts(text).is_some()
}

impl<'a> Token<'a> {
    /// `None` for what no hub would issue.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (header, claims, signature) = parts(text)?;
        let signed = &text[..header.len() + 1 + claims.len()];
        let (header, claims): (Header, Claims) = (read(header)?, read(claims)?);
        let named = (1..=MAX_KEY_ID).contains(&header.kid.len());
        if header.alg != "RS256" || !named || header.crit.is_some() || claims.sub.is_empty() {
            return None;
        }
        Some(Self { text, key_id: header.kid, claims, signed, signature })
    }

    /// Whether it has begun and not ended, on a clock that may be `leeway` seconds off.
    pub(super) fn is_current(&self, now: i64, leeway: i64) -> bool {
        let Claims { exp, iat, nbf, .. } = self.claims;
        let begun = iat.max(nbf.unwrap_or(iat)) <= now.saturating_add(leeway);
        begun && iat <= exp && now < exp.saturating_add(leeway)
    }

    /// Whether it says that it is for this account and from its hub.
    pub(super) fn names(&self, marketplace: &Marketplace) -> bool {
        marketplace.is_audience(&self.claims.aud) && marketplace.is_issuer(&self.claims.iss)
    }

    pub(super) fn is_signed_by(&self, key: &DecodingKey) -> bool {
        crypto::verify(self.signature, self.signed.as_bytes(), key, Algorithm::RS256).unwrap_or(false)
    }

    pub(super) fn is_guests(&self) -> bool {
        self.claims.sub == GUEST || self.claims.role.as_deref() == Some(GUEST)
    }

    /// When it ends, in seconds since 1970.
    pub(super) fn expires_at(&self) -> i64 {
        self.claims.exp
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (header, rest) = text.split_once('.')?;
    let (claims, signature) = rest.split_once('.')?;
    let whole = ![header, claims, signature].contains(&"") && !signature.contains('.');
    whole.then_some((header, claims, signature))
}

fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64.decode(part).ok()?).ok()
}
