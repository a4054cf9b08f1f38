//! How much of a query counts, in money and in tokens.

use super::{Outcome, Turn};
use crate::domain::Usage;

/// How much of a query is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Nothing,
    /// The full price of a call, and the tokens whose text was handed over.
    Delivered,
    All,
}

impl Share {
    /// Who goes away has had what was delivered; whatever else ends a query is no fault of the caller's.
    pub(super) fn of(turn: &Turn, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::All,
            _ if turn.has_answered(outcome) => Self::Delivered,
            _ => Self::Nothing,
        }
    }

    /// The tokens that are charged.
    pub(super) fn tokens(self, turn: &Turn) -> Usage {
        match self {
            Self::Delivered if turn.text_delivered => turn.usage_delivered(),
            Self::All => turn.usage,
            Self::Nothing | Self::Delivered => Usage::default(),
        }
    }
}
