//! What is no good token is refused, always in the same words, and costs the hub nothing.

use std::collections::BTreeSet;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use prost::Message;
use serde_json::{Value, json};
use syft_endpoints::proto::QueryRequest;
use tonic::Code;

use super::space;
use crate::support::{
    database::Database,
    hub::{self, Hub, KEY_ID, claims, header, jwk, key, now, sign, signed, unsigned},
    rest::{self, Rest},
    space::{Space, question},
    tenants::call_with,
};

/// A way to ask the endpoint `open`.
#[derive(Debug, Clone, Copy)]
enum Transport {
    Grpc,
    Rest,
}

const TRANSPORTS: [Transport; 2] = [Transport::Grpc, Transport::Rest];

/// A name, and the headers of a call.
type Row = (String, Vec<(&'static str, String)>);

impl Transport {
    /// `None` when it was answered, else all that was said.
    async fn ask(self, space: &Space, headers: &[(&'static str, String)]) -> Option<String> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        match self {
            Self::Grpc => {
                let request =
                    QueryRequest { slug: "open".to_owned(), query: Some(question()), request_id: None };
                let method = "EndpointService/Query";
                let status = call_with(space, method, &headers, request.encode_to_vec()).await;
                let refused = (status.code() != Code::Ok).then_some(status)?;
                assert_eq!(refused.code(), Code::Unauthenticated, "{headers:?}: {refused:?}");
                Some(format!("{} {:?}", refused.message(), refused.details()))
            }
            Self::Rest => {
                let answer = Rest::with(space, &headers).query("open", rest::question()).await;
                let refused = (answer.status != 200).then_some(answer)?;
                assert_eq!(refused.status, 401, "{headers:?}: {}", refused.text);
                assert!(refused.json()["detail"].is_string(), "{headers:?}: {}", refused.text);
                Some(format!("{} {}", refused.header("www-authenticate"), refused.text))
            }
        }
    }
}

fn row(name: impl Into<String>, token: impl AsRef<str>) -> Row {
    (name.into(), vec![("authorization", format!("Bearer {}", token.as_ref()))])
}

/// A token whose header has these fields too, or instead.
fn with_header(fields: Value, with: usize) -> String {
    signed(&merged(header(), fields), &claims("2"), with)
}

/// A token whose claims have these too, or instead; null takes one away.
fn with_claims(fields: Value) -> String {
    signed(&header(), &merged(claims("2"), fields), 0)
}

fn merged(mut object: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => object.as_object_mut().unwrap().remove(name),
            value => object.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    object
}

/// An object in which `field` comes twice.
fn doubled(object: &Value, field: &str, second: &Value) -> String {
    let text = object.to_string();
    format!("{},{}:{second}}}", text.strip_suffix('}').unwrap(), json!(field))
}

fn algorithms() -> Vec<Row> {
    let (good, text) = (claims("2").to_string(), |alg: &str| json!({"alg": alg, "kid": KEY_ID}).to_string());
    let mut rows = Vec::new();
    for none in ["none", "None", "nOnE", ""] {
        rows.push(row(format!("alg {none}, unsigned"), format!("{}.", unsigned(&text(none), &good))));
        rows.push(row(format!("alg {none}, signed"), sign(&text(none), &good, &RSA_PKCS1_SHA256, 0)));
    }
    for (alg, how) in [
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
    ] {
        rows.push(row(format!("alg {alg}"), sign(&text(alg), &good, how, 0)));
        rows.push(row(format!("alg RS256, signed as {alg}"), sign(&text("RS256"), &good, how, 0)));
        rows.push(row(format!("alg {alg}, signed as RS256"), sign(&text(alg), &good, &RSA_PKCS1_SHA256, 0)));
    }
    for alg in ["rs256", "RS256 ", "HS256", "ES256", "EdDSA"] {
        rows.push(row(format!("alg {alg:?}"), sign(&text(alg), &good, &RSA_PKCS1_SHA256, 0)));
    }
    let elliptic = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    for alg in ["ES256", "RS256"] {
        let signed = unsigned(&text(alg), &good);
        let signature = elliptic.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        rows.push(row(format!("ES256 under alg {alg}"), format!("{signed}.{}", BASE64.encode(signature))));
    }
    let der = key(0).public_key().as_ref();
    let pem =
        format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", STANDARD.encode(der));
    let shown = jwk(KEY_ID, key(0));
    let secrets = [der, pem.as_bytes(), shown["n"].as_str().unwrap().as_bytes(), KEY_ID.as_bytes(), b""];
    for secret in secrets {
        let signed = unsigned(&text("HS256"), &good);
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        let name = format!("HS256 with {} public bytes", secret.len());
        rows.push(row(name, format!("{signed}.{}", BASE64.encode(signature))));
    }
    let access =
        json!({"sub": "2", "username": "asker", "role": "user", "exp": now() + 60, "type": "access"});
    let signed = unsigned(&json!({"alg": "HS256", "typ": "JWT"}).to_string(), &access.to_string());
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"the hub's own"), signed.as_bytes());
    rows.push(row("the hub's own access token", format!("{signed}.{}", BASE64.encode(signature))));
    rows
}

fn headers() -> Vec<Row> {
    let mut rows = vec![
        row("another's key under the good name", with_header(json!({}), 1)),
        row("no kid", with_header(json!({"kid": null}), 0)),
        row("a number for a kid", with_header(json!({"kid": 1}), 0)),
        row("no alg", with_header(json!({"alg": null}), 0)),
        row("a list of algs", with_header(json!({"alg": ["RS256"]}), 0)),
        row("crit", with_header(json!({"crit": ["b64"], "b64": true}), 0)),
    ];
    let long = "k".repeat(300);
    for kid in
        ["hub-key-2", "", "../../etc/passwd", "' OR 1=1 --", "https://evil.example/key", "\u{0}", &long]
    {
        rows.push(row(format!("kid {kid:.20}"), with_header(json!({"kid": kid}), 0)));
        rows.push(row(format!("kid {kid:.20}, another's key"), with_header(json!({"kid": kid}), 1)));
    }
    for kid in [KEY_ID, "mine"] {
        for (name, value) in [
            ("jwk", jwk(kid, key(1))),
            ("jku", json!("https://evil.example/jwks.json")),
            ("x5u", json!("https://evil.example/chain.pem")),
            ("x5c", json!([STANDARD.encode(key(1).public_key().as_ref())])),
        ] {
            rows.push(row(format!("{name} under {kid}"), with_header(json!({"kid": kid, name: value}), 1)));
        }
    }
    for (field, second) in [("alg", json!("RS256")), ("kid", json!(KEY_ID))] {
        let twice = doubled(&header(), field, &second);
        rows.push(row(
            format!("{field} twice"),
            sign(&twice, &claims("2").to_string(), &RSA_PKCS1_SHA256, 0),
        ));
    }
    rows
}

fn contents() -> Vec<Row> {
    let mut rows = Vec::new();
    let (at, past, future) = (now(), now() - 60, now() + 3600);
    let wrong = [
        (
            "exp",
            vec![
                json!(null),
                json!((at + 60).to_string()),
                json!(at as f64 + 60.5),
                json!(true),
                json!([at + 60]),
                json!(-1),
                json!(past),
            ],
        ),
        ("iat", vec![json!(null), json!(at.to_string()), json!(future)]),
        ("nbf", vec![json!(at.to_string()), json!(future)]),
        (
            "aud",
            vec![
                json!(null),
                json!("other"),
                json!("spaceown"),
                json!("spaceowner2"),
                json!("SpaceOwner"),
                json!(["spaceowner"]),
                json!(""),
                json!("https://spaceowner"),
            ],
        ),
        (
            "iss",
            vec![
                json!(null),
                json!("https://evil.example"),
                json!("http://hub.syft.com"),
                json!(["https://hub.syft.com"]),
                json!(""),
            ],
        ),
        ("sub", vec![json!(null), json!(""), json!(2), json!(["2"])]),
    ];
    for (claim, values) in wrong {
        for value in values {
            rows.push(row(format!("{claim} {value}"), with_claims(json!({claim: value}))));
        }
    }
    for (claim, second) in [
        ("sub", json!("3")),
        ("iss", json!(hub::ISSUER)),
        ("aud", json!(hub::OWNER)),
        ("exp", json!(future)),
        ("iat", json!(at)),
        ("role", json!("admin")),
    ] {
        let twice = doubled(&claims("2"), claim, &second);
        rows.push(row(format!("{claim} twice"), sign(&header().to_string(), &twice, &RSA_PKCS1_SHA256, 0)));
    }
    rows.push(row("of tomorrow", with_claims(json!({"iat": future, "exp": future + 60}))));
    let good = claims("2");
    let exp = format!("\"exp\":{}", good["exp"]);
    let good = good.to_string();
    assert!(good.contains(&exp));
    let huge = good.replace(&exp, "\"exp\":1e400");
    for text in [
        "",
        "[]",
        "null",
        "{}",
        "\"x\"",
        &format!("{good}{good}"),
        &format!("[{good}]"),
        &format!("\u{feff}{good}"),
        &huge,
    ] {
        rows.push(row(format!("claims {text:.30}"), sign(&header().to_string(), text, &RSA_PKCS1_SHA256, 0)));
    }
    rows
}

fn shapes() -> Vec<Row> {
    let good = hub::token("2");
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{good}") };
    let cut = |n: usize| &good[..good.len() - n];
    // 256 bytes leave four bits of the last letter unused.
    let unused = format!("{}{}", cut(1), if good.ends_with('A') { 'B' } else { next(&good) });
    let standard = signature.replace('-', "+").replace('_', "/");
    let mut rows = vec![
        row("one letter less", cut(1)),
        row("half of the signature", cut(100)),
        row("more signature", format!("{good}AA")),
        row("no signature", format!("{header}.{claims}.")),
        row("two parts", format!("{header}.{claims}")),
        row("one part", header),
        row("four parts", format!("{good}.{signature}")),
        row("parts turned round", format!("{claims}.{header}.{signature}")),
        row("dots", ".."),
        row("only a signature", format!("..{signature}")),
        row("padded", format!("{header}.{claims}.{signature}==")),
        row("unused bits", unused),
        row("the other alphabet", format!("{header}.{claims}.{standard}+/==")),
        row("a letter in front", format!("x{good}")),
        row("a space within", format!("{header}. {claims}.{signature}")),
        row("oversized", with_claims(json!({"x": "x".repeat(9 << 10)}))),
    ];
    let credential = |token: &str| ("authorization", format!("Bearer {token}"));
    rows.extend([
        ("two tokens".to_owned(), vec![credential(&good), credential(&good)]),
        ("two credentials".to_owned(), vec![credential(&good), credential("x")]),
        ("empty bearer".to_owned(), vec![("authorization", "Bearer ".to_owned())]),
        ("nothing but the scheme".to_owned(), vec![("authorization", "Bearer".to_owned())]),
        ("no scheme".to_owned(), vec![("authorization", good.clone())]),
        ("another scheme".to_owned(), vec![("authorization", format!("Basic {good}"))]),
        ("two spaces".to_owned(), vec![("authorization", format!("Bearer  {good}"))]),
    ]);
    rows
}

/// The letter of base64 after the last one of a text: it differs in the unused bits.
fn next(text: &str) -> char {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = letters.find(text.chars().next_back().unwrap()).unwrap();
    letters.chars().nth(at + 1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_all_refused_alike() {
    let hub = Hub::start().await;
    // More than a slow machine takes for a few lines.
    let space = space(Database::sqlite(), &hub, &[("hub.clock_leeway_s", "30")]).await;
    for transport in TRANSPORTS {
        let refusal = transport.ask(&space, &[]).await.expect("nobody is refused");
        // What they are made of is good, and so is what may differ.
        for (name, headers) in [
            row("as it is", hub::token("2")),
            row(
                "fields that are passed over",
                with_header(json!({"x5t": "x", "jku": "https://evil.example"}), 0),
            ),
            row("our hub's URL for an issuer", with_claims(json!({"iss": hub.url()}))),
            row("no role", with_claims(json!({"role": null}))),
            row("a clock that is a little off", with_claims(json!({"iat": now() + 20, "nbf": now() + 20}))),
            row("another one", with_claims(json!({"iat": now() - 60, "exp": now() - 3}))),
            ("bearer".to_owned(), vec![("authorization", format!("bearer {}", hub::token("2")))]),
            ("BEARER".to_owned(), vec![("authorization", format!("BEARER {}", hub::token("2")))]),
        ] {
            assert_eq!(transport.ask(&space, &headers).await, None, "{name}");
        }
        let verifications = hub.verifications();
        let rows = [algorithms(), headers(), contents(), shapes()].concat();
        assert!(rows.len() > 110, "{}", rows.len());
        for (name, headers) in rows {
            let answer = transport.ask(&space, &headers).await;
            assert_eq!(answer.as_ref(), Some(&refusal), "{transport:?}: {name}");
        }
        assert_eq!(hub.verifications(), verifications, "the hub was asked about a forgery");
        hub.close_account("3");
        let revoked = transport.ask(&space, &row("revoked", hub::token("3")).1).await;
        assert_eq!(revoked, Some(refusal), "{transport:?}: revoked");
        assert_eq!(hub.verifications(), verifications + 1);
    }
    // Once at first, and once for all the unknown keys and bad signatures of this minute.
    assert_eq!(hub.fetches(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_changed_under_its_name_is_learned() {
    let hub = Hub::start().await;
    let space = space(Database::sqlite(), &hub, &[]).await;
    let ask = async |token: String| Transport::Grpc.ask(&space, &row("", token).1).await.is_none();
    let known = hub::token("2");
    assert!(ask(known.clone()).await);
    hub.show_keys(&[(KEY_ID, 1)]);
    assert!(ask(with_header(json!({}), 1)).await, "the new key is not learned");
    assert!(!ask(hub::token("2")).await, "the old key is not forgotten");
    assert!(ask(known).await, "what the hub has vouched for holds until it ends");
    // The next change within a minute has to wait.
    hub.show_keys(&[(KEY_ID, 2), ("new", 3)]);
    assert!(!ask(with_header(json!({}), 2)).await);
    assert!(!ask(with_header(json!({"kid": "new"}), 3)).await);
    assert_eq!(hub.fetches(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_looked_for_under_its_name_only() {
    let hub = Hub::start().await;
    hub.show_keys(&[("a", 0), ("b", 1), ("b", 2)]);
    let space = space(Database::sqlite(), &hub, &[]).await;
    let mut good = BTreeSet::new();
    for kid in ["a", "b"] {
        for n in 0..3 {
            let token = with_header(json!({"kid": kid}), n);
            if Transport::Grpc.ask(&space, &row("", token).1).await.is_none() {
                good.insert((kid, n));
            }
        }
    }
    assert_eq!(good, [("a", 0), ("b", 1), ("b", 2)].into());
}
