//! Accounts on a hub: made, proved and entered.

use secrecy::SecretString;

use super::{Hub, HubError, Profile};
use crate::{domain::Credential, error::UpstreamError};

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

impl Hub {
    /// Makes an account. Never repeated by itself: a second account would come of it.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`, as for an e-mail address that has one.
    pub async fn register(&self, url: &str, new: &Registration) -> Result<Registered, HubError> {
        let _ = (url, new);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Proves an e-mail address by the code that the hub has sent there.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` for a wrong or old code, and when none is expected.
    pub async fn verify_otp(&self, url: &str, email: &str, code: &str) -> Result<Profile, HubError> {
        let _ = (url, email, code);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Has another code sent.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn resend_otp(&self, url: &str, email: &str) -> Result<(), HubError> {
        let _ = (url, email);
        Err(UpstreamError::unavailable("it is not written yet").into())
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
        let _ = (url, username, credential);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }

    /// Whether an account could have this name.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    pub async fn is_username_free(&self, url: &str, username: &str) -> Result<bool, HubError> {
        let _ = (url, username);
        Err(UpstreamError::unavailable("it is not written yet").into())
    }
}
