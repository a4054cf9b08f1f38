//! Accounts of a hub, and what enters them.

use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    routes::{Answer, Asked, invalid, refuse, violation},
    script::State,
};

pub(super) struct Account {
    id: u64,
    pub(super) username: String,
    email: String,
    full_name: String,
    pub(super) password: String,
    pub(super) domain: Option<String>,
    is_proved: bool,
    otp: Option<String>,
}

impl Account {
    fn shown(&self) -> Value {
        json!({"id": self.id, "username": self.username, "email": self.email, "full_name": self.full_name,
               "role": "user", "is_active": true, "domain": self.domain, "aggregator_url": null,
               "wallet_address": null, "encryption_public_key": null})
    }
}

impl State {
    pub(super) fn account_mut(&mut self, username: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.username == username)
    }

    pub(super) fn add_account(&mut self, username: &str, email: &str, password: &str) {
        let account = Account {
            id: self.next(),
            username: username.to_owned(),
            email: email.to_owned(),
            full_name: username.to_owned(),
            password: password.to_owned(),
            domain: None,
            is_proved: true,
            otp: None,
        };
        self.accounts.push(account);
    }

    pub(super) fn otp(&self, email: &str) -> Option<String> {
        self.accounts.iter().find(|account| account.email == email)?.otp.clone()
    }

    /// The account that a token enters.
    pub(super) fn bearer(&self, token: &str) -> Option<String> {
        self.api_tokens.get(token).or_else(|| self.access_tokens.get(token)).cloned()
    }

    fn new_tokens(&mut self, username: &str) -> (String, String) {
        let (access, refresh) = (self.next(), self.next());
        let (access, refresh) =
            (format!("access-canary-4722-{access}"), format!("refresh-canary-4723-{refresh}"));
        self.access_tokens.insert(access.clone(), username.to_owned());
        self.refresh_tokens.insert(refresh.clone(), username.to_owned());
        (access, refresh)
    }

    /// An account that is entered.
    fn entered(&mut self, status: u16, username: &str) -> Answer {
        let (access, refresh) = self.new_tokens(username);
        let user = self.account_mut(username).unwrap().shown();
        let body = json!({"user": user, "access_token": access, "refresh_token": refresh, "token_type": "bearer",
                          "requires_email_verification": false});
        Answer::new(status, &body)
    }

    fn is_taken(&self, username: &str) -> bool {
        self.accounts.iter().any(|account| account.username == username)
    }
}

pub(super) fn register(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let body = asked.object()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, email) = (text("username").to_lowercase(), text("email"));
    let (full_name, password) = (text("full_name"), text("password"));
    let mut violations = Vec::new();
    let mut check = |good: bool, field: &str, msg: &str| {
        if !good {
            violations.push(violation(json!(["body", field]), msg));
        }
    };
    let plain = username.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    check(plain && (3..=50).contains(&username.len()), "username", "String should match pattern");
    check(
        email.split_once('@').is_some_and(|(_, host)| host.contains('.')),
        "email",
        "value is not a valid email address",
    );
    check(
        (1..=100).contains(&full_name.chars().count()),
        "full_name",
        "String should have at most 100 characters",
    );
    let (has_letter, has_digit) =
        (password.contains(char::is_alphabetic), password.contains(|c: char| c.is_ascii_digit()));
    check(
        password.chars().count() >= 8 && has_letter && has_digit,
        "password",
        "Password must have a letter and a digit",
    );
    if !violations.is_empty() {
        return Err(invalid(violations));
    }
    if state.accounts.iter().any(|account| account.email.eq_ignore_ascii_case(&email)) {
        let detail = json!({"code": "EMAIL_EXISTS", "message": "Email already registered", "field": "email"});
        return Err(refuse(409, detail));
    }
    // Silently another one.
    while state.is_taken(&username) {
        username.push('1');
    }
    state.add_account(&username, &email, &password);
    let (asks, code) = (state.asks_for_proof, 100_000 + state.next());
    let account = state.account_mut(&username).unwrap();
    account.full_name = full_name;
    if !asks {
        return Ok(state.entered(201, &username));
    }
    (account.is_proved, account.otp) = (false, Some(code.to_string()));
    let user = account.shown();
    let unproved = json!({"user": user, "access_token": null, "refresh_token": null, "token_type": "bearer",
                          "requires_email_verification": true});
    Ok(Answer::new(201, &unproved))
}

pub(super) fn verify_otp(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let body = asked.object()?;
    let unproved = state.accounts.iter_mut().find(|account| body.get("email") == Some(&json!(account.email)));
    let Some(account) = unproved.filter(|account| account.otp.is_some()) else {
        return Err(refuse(400, json!({"code": "OTP_NOT_FOUND", "message": "No code is expected"})));
    };
    if body.get("code") != Some(&json!(account.otp)) {
        return Err(refuse(400, json!({"code": "INVALID_OTP", "message": "Invalid or expired code"})));
    }
    (account.is_proved, account.otp) = (true, None);
    let username = account.username.clone();
    Ok(state.entered(200, &username))
}

pub(super) fn resend_otp(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let (body, code) = (asked.object()?, 100_000 + state.next());
    let found = state.accounts.iter_mut().find(|account| body.get("email") == Some(&json!(account.email)));
    if let Some(account) = found.filter(|account| account.otp.is_some()) {
        account.otp = Some(code.to_string());
    }
    // Whether there is such an account is nobody's business.
    Ok(Answer::new(200, &json!({"message": "If the account exists, a code has been sent"})))
}

pub(super) fn log_in(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let kind = asked.headers.get("content-type").and_then(|value| value.to_str().ok());
    if kind != Some("application/x-www-form-urlencoded") {
        return Err(invalid(vec![violation(json!(["body", "username"]), "Field required")]));
    }
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(&asked.body);
        fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (name, password) = (field("username"), field("password"));
    let is_named = |account: &&Account| {
        account.username.eq_ignore_ascii_case(&name) || account.email.eq_ignore_ascii_case(&name)
    };
    let found = state.accounts.iter().find(is_named).filter(|account| account.password == password);
    let Some(account) = found else { return Err(refuse(401, json!("Incorrect username or password"))) };
    if !account.is_proved {
        let detail =
            json!({"code": "EMAIL_NOT_VERIFIED", "message": "Please verify your email address first"});
        return Err(refuse(403, detail));
    }
    let username = account.username.clone();
    Ok(state.entered(200, &username))
}

/// A token that has been used is refused.
pub(super) fn refresh(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let body = asked.object()?;
    let token = body.get("refresh_token").and_then(Value::as_str).unwrap_or_default();
    let username = state.refresh_tokens.remove(token);
    let username = username.ok_or_else(|| refuse(401, json!("Invalid refresh token")))?;
    let (access, refresh) = state.new_tokens(&username);
    let body = json!({"access_token": access, "refresh_token": refresh, "token_type": "bearer"});
    Ok(Answer::new(200, &body))
}

pub(super) fn check_username(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let username = asked.path[4].to_lowercase();
    let available = !state.is_taken(&username);
    Ok(Answer::new(200, &json!({"available": available, "username": username})))
}

pub(super) fn me(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let username = asked.account(state)?;
    let account = state.account_mut(&username);
    let account = account.ok_or_else(|| refuse(401, json!("Could not validate credentials")))?;
    Ok(Answer::new(200, &account.shown()))
}

pub(super) fn accounting(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    asked.account(state)?;
    // Hubs of today have no such route.
    let account = state.accounting.as_ref().ok_or_else(|| refuse(404, json!("Not Found")))?;
    Ok(Answer::new(200, account))
}

pub(super) fn set_me(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let username = asked.account(state)?;
    let body = asked.object()?;
    if let Some(domain) = body.get("domain") {
        let origin = domain.as_str().filter(|text| text.len() <= 500).and_then(origin);
        if !domain.is_null() && origin.as_deref() != domain.as_str() {
            return Err(invalid(vec![violation(json!(["body", "domain"]), "Value error, not a domain")]));
        }
        state.account_mut(&username).unwrap().domain = origin;
    }
    me(state, asked)
}

/// Scheme, host and port of a URL; what tunnels is its own.
pub(super) fn origin(text: &str) -> Option<String> {
    if text.starts_with("tunneling:") {
        return Some(text.to_owned());
    }
    let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(url.origin().ascii_serialization())
}
