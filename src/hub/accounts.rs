//! Accounts on a hub: made, proved and entered.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    Hub, HubError, ME, Profile,
    call::{Call, in_time},
};
use crate::domain::{Credential, Marketplace};

const ACCOUNTING: [&str; 5] = ["api", "v1", "users", "me", "accounting"];

/// An account to be made.
pub struct Registration {
    pub username: String,
    pub email: String,
    pub full_name: String,
    pub password: SecretString,
}

/// What became of it.
#[derive(Debug)]
pub enum Registered {
    /// It can be entered.
    Done(Profile),
    /// The hub has sent a code to its e-mail address.
    Unproved,
}

#[derive(Deserialize)]
struct RegisterAnswer {
    user: Profile,
    access_token: Option<SecretString>,
    requires_email_verification: Option<bool>,
}

/// An account of the accounting service that a hub has made for its user.
#[derive(Deserialize)]
pub struct Accounting {
    pub url: String,
    pub email: String,
    pub password: SecretString,
}

#[derive(Deserialize)]
struct AccountingAnswer {
    url: Option<String>,
    email: Option<String>,
    password: Option<SecretString>,
}

#[derive(Deserialize)]
struct ProvedAnswer {
    user: Profile,
}

#[derive(Deserialize)]
struct UsernameAnswer {
    available: bool,
}

impl Hub {
    /// Makes an account. Never repeated by itself: a second account would come of it.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`, as for an e-mail address that has one.
    pub async fn register(&self, url: &str, new: &Registration) -> Result<Registered, HubError> {
        let Registration { username, email, full_name, password } = new;
        let password = password.expose_secret();
        let body =
            json!({ "username": username, "email": email, "full_name": full_name, "password": password });
        let path = ["api", "v1", "auth", "register"];
        let call = Call::post(&path).json(&body).hiding(password).once();
        let answer: RegisterAnswer = self.ask_openly(url, &call).await?.read()?;
        let is_unproved = answer.requires_email_verification.unwrap_or(answer.access_token.is_none());
        Ok(if is_unproved { Registered::Unproved } else { Registered::Done(answer.user) })
    }

    /// Proves an e-mail address by the code that the hub has sent there.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` for a wrong or old code, and when none is expected.
    pub async fn verify_otp(&self, url: &str, email: &str, code: &str) -> Result<Profile, HubError> {
        let path = ["api", "v1", "auth", "register", "verify-otp"];
        let call = Call::post(&path).json(&json!({ "email": email, "code": code })).hiding(code).once();
        let answer: ProvedAnswer = self.ask_openly(url, &call).await?.read()?;
        Ok(answer.user)
    }

    /// Has another code sent.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn resend_otp(&self, url: &str, email: &str) -> Result<(), HubError> {
        let path = ["api", "v1", "auth", "register", "resend-otp"];
        let call = Call::post(&path).json(&json!({ "email": email })).once();
        self.ask_openly(url, &call).await?.done()
    }

    /// The account that a credential enters. `username` may be its e-mail address, and is of no use with an
    /// API token.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when the credential is refused.
    pub async fn enter(
        &self,
        url: &str,
        username: &str,
        credential: &Credential,
    ) -> Result<Profile, HubError> {
        let access = match credential {
            Credential::ApiToken(api_token) => api_token.clone(),
            Credential::Password(password) => in_time(self.log_in(url, username, password)).await?.access,
        };
        let call = Call::get(&ME);
        in_time(self.exchange(url, &call, Some(&access))).await?.read()
    }

    /// The accounting account that the hub keeps for ours; `None` when it has none, or is of those that know
    /// nothing of accounting.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when it refuses our credential.
    pub async fn accounting(&self, marketplace: &Marketplace) -> Result<Option<Accounting>, HubError> {
        let answer = match self.ask(marketplace, Call::get(&ACCOUNTING)).await {
            Err(error) if error.status == Some(404) => return Ok(None),
            answer => answer?,
        };
        let AccountingAnswer { url, email, password } = answer.read()?;
        let found = || Some(Accounting { url: url?, email: email?, password: password? });
        Ok(found().filter(|found| !found.url.is_empty() && !found.email.is_empty()))
    }

    /// Whether an account could have this name.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn is_username_free(&self, url: &str, username: &str) -> Result<bool, HubError> {
        let path = ["api", "v1", "users", "check-username", username];
        let answer: UsernameAnswer = self.ask_openly(url, &Call::get(&path)).await?.read()?;
        Ok(answer.available)
    }
}
