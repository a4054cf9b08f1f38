//! What goes wrong at a hub.

use super::said::Said;
use crate::{
    error::{Error, UpstreamError},
    upstream::Failed,
};

/// A call that failed, and what the hub says about it, for the owner.
#[derive(Debug)]
pub struct HubError {
    pub fault: UpstreamError,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The hub's code for programs, such as `EMAIL_NOT_VERIFIED`.
    pub code: Option<String>,
    /// The hub's words, at most 300 characters, without anything that we have sent it as a secret. Never for
    /// the log, nor for anybody but the owner.
    pub said: Option<String>,
}

impl HubError {
    /// Whether repeating the call cannot cure it.
    pub fn is_final(&self) -> bool {
        matches!(self.fault, UpstreamError::Rejected { .. })
    }

    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == Some(401)
    }

    /// Reads what a hub says about a call that had these secrets in it.
    pub(super) fn read(failed: Failed, secrets: &[&str]) -> Self {
        let Said { code, words } = Said::read(&failed.body, secrets);
        let status = failed.status.map(|status| status.as_u16());
        Self { fault: failed.error, status, code, said: words }
    }

    /// The same, for another who waited for the same call.
    pub(super) fn shared(&self) -> Self {
        let Self { fault, status, code, said } = self;
        Self { fault: fault.shared(), status: *status, code: code.clone(), said: said.clone() }
    }

    /// What went wrong in a sentence, for the owner.
    pub fn words(&self) -> String {
        match &self.said {
            Some(said) => format!("{}: {said}", self.fault),
            None => self.fault.to_string(),
        }
    }
}

impl From<UpstreamError> for HubError {
    fn from(fault: UpstreamError) -> Self {
        Self { fault, status: None, code: None, said: None }
    }
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Self {
        match error.said {
            Some(said) if matches!(error.fault, UpstreamError::Rejected { .. }) => Self::HubRefused(said),
            _ => Self::Hub(error.fault),
        }
    }
}
