//! What hubs sign.

use std::sync::OnceLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

pub const OWNER: &str = "spaceowner";
pub const ISSUER: &str = "https://hub.syft.com";
pub const KEY_ID: &str = "hub-key-1";

/// One of four keys, made once for all tests.
pub fn key(n: usize) -> &'static KeyPair {
    static KEYS: OnceLock<Vec<KeyPair>> = OnceLock::new();
    let make = || KeyPair::generate(KeySize::Rsa2048).unwrap();
    &KEYS.get_or_init(|| (0..4).map(|_| make()).collect())[n]
}

/// A public key as hubs show it.
pub fn jwk(id: &str, key: &KeyPair) -> Value {
    let (n, e) = components(key.public_key().as_ref());
    json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": BASE64.encode(n), "e": BASE64.encode(e)})
}

/// Modulus and exponent of a PKCS#1 key of 2048 bits.
fn components(der: &[u8]) -> (&[u8], &[u8]) {
    // SEQUENCE (4 bytes), INTEGER (4 bytes) with a leading zero, 256 bytes; INTEGER (2 bytes).
    assert_eq!((der[4], der[8]), (2, 0), "not the key that was expected");
    (&der[9..265], &der[267..])
}

pub fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// What a hub says of a subject for a minute.
pub fn claims(sub: &str) -> Value {
    let role = if sub == "guest" { "guest" } else { "user" };
    let serial = uuid::Uuid::now_v7();
    json!({"sub": sub, "iss": ISSUER, "aud": OWNER, "exp": now() + 60, "iat": now(), "role": role, "x": serial})
}

pub fn header() -> Value {
    json!({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"})
}

/// A token as the hub's first key signs it.
pub fn token(sub: &str) -> String {
    signed(&header(), &claims(sub), 0)
}

/// A token of this content.
pub fn signed(header: &Value, claims: &Value, with: usize) -> String {
    sign(&header.to_string(), &claims.to_string(), &RSA_PKCS1_SHA256, with)
}

/// A token of these texts, signed in whatever way.
pub fn sign(header: &str, claims: &str, how: &'static dyn RsaEncoding, with: usize) -> String {
    let signed = unsigned(header, claims);
    let mut signature = vec![0; key(with).public_modulus_len()];
    key(with).sign(how, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", BASE64.encode(signature))
}

pub fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}

/// What an unsigned token claims, if it is one.
pub(super) fn claimed(token: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(1)?).ok()?).ok()
}
