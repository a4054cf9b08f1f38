//! A SyftHub on loopback, as far as a space asks it: it issues tokens, shows its keys, and says whose a
//! token is. It counts what it is asked, and can be slow, failing or wrong.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub const API_TOKEN: &str = "syft_pat_canary-of-the-hub-4718";
pub const OWNER: &str = "spaceowner";
pub const ISSUER: &str = "https://hub.syft.com";
pub const KEY_ID: &str = "hub-key-1";

/// What a call is answered with instead.
#[derive(Clone)]
pub struct Fault {
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: String,
}

/// A hub. It stops when it is dropped.
pub struct Hub {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Inner {
    /// Names of keys, and which of [`key`] each is.
    keys: Mutex<Vec<(String, usize)>>,
    /// E-mail addresses by subject.
    users: Mutex<HashMap<String, String>>,
    faults: Mutex<HashMap<&'static str, Fault>>,
    /// Whether answers leave.
    open: watch::Sender<bool>,
    fetches: AtomicUsize,
    verifications: AtomicUsize,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Hub {
    /// A hub with the users 2 (`Asker@example.com`) and 3 (`other@example.com`).
    pub async fn start() -> Self {
        let users = [("2", "Asker@example.com"), ("3", "other@example.com")];
        let users = users.map(|(sub, email)| (sub.to_owned(), email.to_owned()));
        let inner = Arc::new(Inner {
            keys: Mutex::new(vec![(KEY_ID.to_owned(), 0)]),
            users: Mutex::new(users.into()),
            faults: Mutex::default(),
            open: watch::Sender::new(true),
            fetches: AtomicUsize::new(0),
            verifications: AtomicUsize::new(0),
        });
        let routes = Router::new()
            .route("/.well-known/jwks.json", get(jwks))
            .route("/api/v1/verify", post(verify))
            .route("/api/v1/users/me", get(me))
            .with_state(Arc::clone(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let until = stop.clone();
        tasks.spawn(
            async move { until.run_until_cancelled(axum::serve(listener, routes).into_future()).await },
        );
        tasks.close();
        Self { address, inner, stop, tasks }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening, and waits until it has.
    pub async fn die(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Shows other keys from now on: names, and which of [`key`] each is.
    pub fn show_keys(&self, keys: &[(&str, usize)]) {
        *self.inner.keys.lock().unwrap() = keys.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect();
    }

    /// Closes a user's account.
    pub fn close_account(&self, sub: &str) {
        self.inner.users.lock().unwrap().remove(sub);
    }

    /// Answers the calls to `path` with this from now on.
    pub fn fail(&self, path: &'static str, fault: Fault) {
        self.inner.faults.lock().unwrap().insert(path, fault);
    }

    pub fn recover(&self) {
        self.inner.faults.lock().unwrap().clear();
    }

    /// Keeps every answer back until [`Hub::release`].
    pub fn hold(&self) {
        self.inner.open.send_replace(false);
    }

    pub fn release(&self) {
        self.inner.open.send_replace(true);
    }

    /// How often its keys have been asked for.
    pub fn fetches(&self) -> usize {
        self.inner.fetches.load(Ordering::SeqCst)
    }

    /// How often it has been asked whose a token is.
    pub fn verifications(&self) -> usize {
        self.inner.verifications.load(Ordering::SeqCst)
    }
}

impl Inner {
    async fn answer(&self, path: &'static str, good: impl FnOnce() -> Response) -> Response {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        let fault = self.faults.lock().unwrap().get(path).cloned();
        let Some(fault) = fault else { return good() };
        let mut answer = (StatusCode::from_u16(fault.status).unwrap(), fault.body).into_response();
        for (name, value) in fault.headers {
            answer.headers_mut().insert(*name, value.parse().unwrap());
        }
        answer
    }
}

async fn jwks(State(hub): State<Arc<Inner>>) -> Response {
    hub.fetches.fetch_add(1, Ordering::SeqCst);
    hub.answer("jwks", || {
        let shown = hub.keys.lock().unwrap().clone();
        let keys: Vec<Value> = shown.iter().map(|(id, n)| jwk(id, key(*n))).collect();
        ([("cache-control", "public, max-age=3600")], json!({ "keys": keys }).to_string()).into_response()
    })
    .await
}

async fn verify(State(hub): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    hub.verifications.fetch_add(1, Ordering::SeqCst);
    hub.answer("verify", || {
        if !is_ours(&headers) {
            return (StatusCode::UNAUTHORIZED, "{\"detail\": \"no\"}").into_response();
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        verdict(&hub, body["token"].as_str().unwrap()).to_string().into_response()
    })
    .await
}

async fn me(State(hub): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    hub.answer("me", || match is_ours(&headers) {
        true => json!({"id": 1, "username": OWNER, "email": "Owner@hub.example"}).to_string().into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    })
    .await
}

fn is_ours(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == format!("Bearer {API_TOKEN}").as_str())
}

/// It takes every signature for its own: a space must not need it to look.
fn verdict(hub: &Inner, token: &str) -> Value {
    let claims = BASE64.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let (sub, aud) = (claims["sub"].as_str().unwrap(), &claims["aud"]);
    let bad = |error: &str| json!({"valid": false, "error": error, "message": "hub-says-4719"});
    if aud != OWNER {
        return bad("audience_mismatch");
    }
    let (email, username, role) = match (sub, hub.users.lock().unwrap().get(sub)) {
        ("guest", _) => ("guest@syfthub.org".to_owned(), "guest", "guest"),
        (_, Some(email)) => (email.clone(), "asker", "user"),
        _ => return bad("user_inactive"),
    };
    json!({"valid": true, "sub": sub, "email": email, "username": username, "role": role, "aud": aud,
           "exp": claims["exp"], "iat": claims["iat"]})
}

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
