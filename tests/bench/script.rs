//! What the scripted upstream is told to do, in the name of the model: `n=100,every_us=10000`.

use std::{fmt, time::Duration};

use crate::Fault;

/// How one answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Script {
    /// Tokens.
    pub tokens: usize,
    /// From one token to the next, on a fixed schedule; zero: as fast as they are taken.
    pub every: Duration,
    /// From the request to the first token.
    pub latency: Duration,
    /// The whole answer leaves in one write.
    pub whole: bool,
}

impl Script {
    /// An answer of one token, in one piece, at once.
    pub const fn short() -> Self {
        Self { tokens: 1, every: Duration::ZERO, latency: Duration::ZERO, whole: true }
    }

    /// `tokens` tokens in as many writes.
    pub const fn paced(tokens: usize, every: Duration) -> Self {
        Self { tokens, every, latency: Duration::ZERO, whole: false }
    }

    /// # Errors
    /// When the text is no script.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut script = Self { tokens: 1, ..Self::default() };
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("not a script: {text}"))?;
            let value: u64 = value.parse()?;
            match name {
                "n" => script.tokens = usize::try_from(value)?,
                "every_us" => script.every = Duration::from_micros(value),
                "latency_us" => script.latency = Duration::from_micros(value),
                "whole" => script.whole = value == 1,
                _ => return Err(format!("not a script: {text}").into()),
            }
        }
        Ok(script)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (every, latency) = (self.every.as_micros(), self.latency.as_micros());
        let Self { tokens, whole, .. } = self;
        write!(f, "n={tokens},every_us={every},latency_us={latency},whole={}", u8::from(*whole))
    }
}
