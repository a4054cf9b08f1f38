//! What is asked, by name.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use super::{
    accounts, endpoints, reports, satellites,
    script::State,
    tokens::{self, jwk, key},
};

/// The names of all routes.
pub const ROUTES: [&str; 21] = [
    "jwks",
    "verify",
    "me",
    "accounting",
    "set-me",
    "register",
    "verify-otp",
    "resend-otp",
    "login",
    "refresh",
    "check-username",
    "publish",
    "list",
    "exists",
    "change",
    "unpublish",
    "sync",
    "health",
    "add-satellite",
    "move-satellite",
    "unknown",
];

/// A request.
pub(super) struct Asked {
    pub(super) method: Method,
    /// Segments, decoded.
    pub(super) path: Vec<String>,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer in JSON.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Asked {
    /// The body, if it is an object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Answer> {
        serde_json::from_slice(&self.body)
            .map_err(|_| invalid(vec![violation(json!(["body"]), "Field required")]))
    }

    /// Whose the bearer is.
    pub(super) fn account(&self, state: &State) -> Result<String, Answer> {
        let bearer = self.headers.get("authorization").and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let account = bearer.and_then(|token| state.bearer(token));
        account.ok_or_else(|| refuse(401, json!("Could not validate credentials")))
    }

    pub(super) fn route(&self) -> &'static str {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match (self.method.as_str(), path.as_slice()) {
            ("GET", [".well-known", "jwks.json"]) => "jwks",
            (method, ["api", "v1", path @ ..]) => match (method, path) {
                ("POST", ["verify"]) => "verify",
                ("GET", ["users" | "auth", "me"]) => "me",
                ("GET", ["users", "me", "accounting"]) => "accounting",
                ("PUT", ["users", "me"]) => "set-me",
                ("POST", ["auth", "register"]) => "register",
                ("POST", ["auth", "register", "verify-otp"]) => "verify-otp",
                ("POST", ["auth", "register", "resend-otp"]) => "resend-otp",
                ("POST", ["auth", "login"]) => "login",
                ("POST", ["auth", "refresh"]) => "refresh",
                ("GET", ["users", "check-username", _]) => "check-username",
                ("POST", ["endpoints"]) => "publish",
                ("GET", ["endpoints"]) => "list",
                ("GET", ["endpoints", _, "exists"]) => "exists",
                ("PATCH", ["endpoints", "slug", _]) => "change",
                ("DELETE", ["endpoints", "slug", _]) => "unpublish",
                ("POST", ["endpoints", "sync"]) => "sync",
                ("POST", ["endpoints", "health"]) => "health",
                ("POST", ["satellites"]) => "add-satellite",
                ("PUT", ["satellites", _]) => "move-satellite",
                _ => "unknown",
            },
            _ => "unknown",
        }
    }
}

impl Answer {
    pub(super) fn new(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: if body.is_null() { String::new() } else { body.to_string() },
        }
    }
}

/// The name, if it is one of a route.
pub(super) fn known(route: &str) -> &'static str {
    ROUTES.into_iter().find(|known| *known == route).unwrap_or_else(|| panic!("{route} is not a route"))
}

/// Does what is asked.
pub(super) fn act(state: &mut State, asked: &Asked) -> Answer {
    let done = match asked.route() {
        "jwks" => Ok(jwks(state)),
        "verify" => verify(state, asked),
        "me" => accounts::me(state, asked),
        "accounting" => accounts::accounting(state, asked),
        "set-me" => accounts::set_me(state, asked),
        "register" => accounts::register(state, asked),
        "verify-otp" => accounts::verify_otp(state, asked),
        "resend-otp" => accounts::resend_otp(state, asked),
        "login" => accounts::log_in(state, asked),
        "refresh" => accounts::refresh(state, asked),
        "check-username" => accounts::check_username(state, asked),
        "publish" => endpoints::publish(state, asked),
        "list" => endpoints::list(state, asked),
        "exists" => endpoints::exists(state, asked),
        "change" => endpoints::change(state, asked),
        "unpublish" => endpoints::unpublish(state, asked),
        "sync" => endpoints::sync(state, asked),
        "health" => reports::health(state, asked),
        "add-satellite" => satellites::add(state, asked),
        "move-satellite" => satellites::relocate(state, asked),
        _ => Err(refuse(404, json!("Not Found"))),
    };
    done.unwrap_or_else(|refusal| refusal)
}

pub(super) fn refuse(status: u16, detail: Value) -> Answer {
    Answer::new(status, &json!({ "detail": detail }))
}

/// What is wrong with a request, as FastAPI says it. It quotes what was sent.
pub(super) fn invalid(violations: Vec<Value>) -> Answer {
    refuse(422, violations.into())
}

pub(super) fn violation(loc: Value, msg: &str) -> Value {
    json!({"type": "value_error", "loc": loc, "msg": msg, "input": "the-input-4721"})
}

fn jwks(state: &State) -> Answer {
    let keys: Vec<Value> = state.keys.iter().map(|(id, n)| jwk(id, key(*n))).collect();
    let cache = ("cache-control", "public, max-age=3600".to_owned());
    Answer { headers: vec![cache], ..Answer::new(200, &json!({ "keys": keys })) }
}

/// It takes every signature for its own: a space must not need it to look.
fn verify(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let body = asked.object()?;
    let named = satellites::named(state, &account, body.get("satellite_id").and_then(Value::as_str))?;
    let claims = body.get("token").and_then(Value::as_str).and_then(tokens::claimed);
    let bad = |error: &str| {
        Ok(Answer::new(200, &json!({"valid": false, "error": error, "message": "hub-says-4719"})))
    };
    let Some(claims) = claims else { return bad("invalid_token_format") };
    let (sub, aud) = (claims["sub"].as_str().unwrap(), claims["aud"].as_str().unwrap());
    if aud != account && named.as_deref() != Some(aud) {
        return bad("audience_mismatch");
    }
    let (email, username, role) = match (sub, state.users.get(sub)) {
        ("guest", _) => ("guest@syfthub.org", "guest", "guest"),
        (_, Some(email)) => (email.as_str(), "asker", "user"),
        _ => return bad("user_inactive"),
    };
    let good = json!({"valid": true, "sub": sub, "email": email, "username": username, "role": role, "aud": aud,
           "exp": claims["exp"], "iat": claims["iat"]});
    Ok(Answer::new(200, &good))
}
