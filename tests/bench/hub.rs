//! Role `hub`: a SyftHub, as far as tokens go. It shows its key, mints tokens, and its `/verify` knows
//! everybody. `GET /tokens/N` gives N tokens in lines, each for another user; `GET /verified` tells, in
//! lines, how many nanoseconds of its own each answer of `/verify` has taken since it was last asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

use crate::{
    Fault,
    asked::{Asked, between, read_request},
    clock::nanos,
    process::{announce, runtime},
};

/// The account for whose endpoints the tokens are.
pub const AUDIENCE: &str = "bench";
/// Who issues them.
pub const ISSUER: &str = "https://hub.syft.com";
/// How long they are good, in seconds.
const LIFETIME: u64 = 3_600;
const KID: &str = "bench-1";

/// What connections share.
#[derive(Clone)]
struct Hub {
    key: Arc<RsaKeyPair>,
    jwks: Arc<str>,
    minted: Arc<AtomicU64>,
    verified: Arc<Mutex<Vec<u128>>>,
}

pub fn run() -> Result<(), Fault> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Fault> {
    let hub = Hub::new()?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?)?;
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let hub = hub.clone();
        connections.spawn(async move {
            // A client may leave at any moment.
            let _ = hub.connection(stream).await;
        });
    }
}

impl Hub {
    fn new() -> Result<Self, Fault> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let public = key.public_key();
        let number = |bytes: &[u8]| BASE64.encode(bytes);
        let n = number(public.modulus().big_endian_without_leading_zero());
        let e = number(public.exponent().big_endian_without_leading_zero());
        let jwks =
            json!({"keys": [{"kty": "RSA", "kid": KID, "use": "sig", "alg": "RS256", "n": n, "e": e}]});
        Ok(Self {
            key: Arc::new(key),
            jwks: jwks.to_string().into(),
            minted: Arc::default(),
            verified: Arc::default(),
        })
    }

    async fn connection(&self, mut stream: TcpStream) -> Result<(), Fault> {
        let mut buffer = Vec::new();
        while let Some(asked) = read_request(&mut stream, &mut buffer).await? {
            let begun = Instant::now();
            let (kind, told) = self.told(&asked)?;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncache-control: max-age=3600\r\n\
                 content-length: {}\r\n\r\n",
                told.len()
            );
            // Before the answer: who has it may ask for this at once.
            if asked.path == "/api/v1/verify" {
                let took = begun.elapsed().as_nanos();
                self.verified.lock().unwrap_or_else(PoisonError::into_inner).push(took);
            }
            stream.write_all((head + &told).as_bytes()).await?;
        }
        Ok(())
    }

    /// The type of an answer, and the answer.
    fn told(&self, asked: &Asked) -> Result<(&'static str, String), Fault> {
        let json = |value: Value| Ok(("application/json", value.to_string()));
        match asked.path.as_str() {
            "/.well-known/jwks.json" => Ok(("application/json", self.jwks.to_string())),
            "/api/v1/verify" => json(verified(&asked.body)?),
            "/api/v1/auth/me" | "/api/v1/users/me" => {
                let me = json!({"id": 1, "username": AUDIENCE, "email": "owner@example.org", "role": "user"});
                json(me)
            }
            "/verified" => {
                let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(("text/plain", verified.drain(..).map(|took| format!("{took}\n")).collect()))
            }
            path => {
                let count = path.strip_prefix("/tokens/").ok_or_else(|| format!("{path} is not known"))?;
                let tokens = (0..count.parse()?).map(|_: u32| self.token().map(|token| token + "\n"));
                Ok(("text/plain", tokens.collect::<Result<_, _>>()?))
            }
        }
    }

    fn token(&self) -> Result<String, Fault> {
        let (sub, now) = (self.minted.fetch_add(1, Ordering::Relaxed), nanos() / 1_000_000_000);
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": KID});
        let claims = json!({
            "sub": sub.to_string(), "iss": ISSUER, "aud": AUDIENCE, "role": "user", "iat": now,
            "exp": now + LIFETIME,
        });
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

/// What the hub knows of the user in a token. Its signature is not looked at: that is not what is
/// measured.
fn verified(body: &str) -> Result<Value, Fault> {
    let token = between(body, "\"token\":\"", '"').ok_or("no token")?;
    let claims: Value = serde_json::from_slice(&BASE64.decode(token.split('.').nth(1).ok_or("no claims")?)?)?;
    let sub = claims["sub"].as_str().ok_or("no sub")?;
    Ok(json!({
        "valid": true, "sub": sub, "email": format!("user{sub}@example.org"), "username": format!("user{sub}"),
        "role": claims["role"], "aud": claims["aud"], "exp": claims["exp"], "iat": claims["iat"],
    }))
}
