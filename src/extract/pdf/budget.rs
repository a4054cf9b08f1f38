//! What one file may cost.

use std::time::{Duration, Instant};

use lopdf::Stream;

use crate::extract::{MAX_TEXT, Unreadable};

/// Time at most, well beyond what a long book takes.
const TIME: Duration = Duration::from_secs(60);
/// Values at most: a value takes some 130 bytes.
const VALUES: usize = 4_000_000;
/// Bytes of streams at most, unpacked, one after the other.
const INFLATED: usize = 1 << 30;
/// Bytes of one stream at most, unpacked.
const ONE_STREAM: usize = 8 << 20;

/// What is left for one file. Whatever runs out ends the reading of it.
pub(super) struct Budget {
    until: Instant,
    values: usize,
    inflated: usize,
    text: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + TIME, values: VALUES, inflated: INFLATED, text: MAX_TEXT }
    }

    pub(super) fn time(&self) -> Result<(), Unreadable> {
        if Instant::now() < self.until { Ok(()) } else { Err(Unreadable::new("takes longer than a minute")) }
    }

    /// Pays for values that are kept.
    pub(super) fn values(&mut self, count: usize) -> Result<(), Unreadable> {
        self.time()?;
        spend(&mut self.values, count)
    }

    /// They are not kept after all.
    pub(super) fn refund(&mut self, count: usize) {
        self.values += count;
    }

    /// Bytes of text that are left.
    pub(super) fn text_left(&self) -> usize {
        self.text
    }

    pub(super) fn text(&mut self, bytes: usize) -> Result<(), Unreadable> {
        spend(&mut self.text, bytes)
    }

    /// The bytes of a stream; none, if it is broken.
    pub(super) fn inflate(&mut self, stream: &Stream) -> Result<Vec<u8>, Unreadable> {
        self.time()?;
        let most = ONE_STREAM.min(self.inflated);
        match stream.get_plain_content_with_limit(most) {
            Ok(bytes) => {
                // What is read costs something, even if it is empty.
                spend(&mut self.inflated, bytes.len().max(64))?;
                Ok(bytes)
            }
            Err(lopdf::Error::Decompress(lopdf::DecompressError::MemoryLimitExceeded { .. })) => {
                Err(too_much())
            }
            Err(_) => {
                spend(&mut self.inflated, stream.content.len().max(64))?;
                Ok(Vec::new())
            }
        }
    }
}

/// What a byte may be part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Digit,
    Letter,
    Sign,
}

/// How many values are in a text at most. They need nothing between them: `1true[2` are four.
pub(super) fn count(text: &[u8]) -> usize {
    let (mut starts, mut before, mut letters, mut in_name) = (0, Kind::Space, 0, false);
    for byte in text {
        let kind = match byte {
            b'0'..=b'9' => Kind::Digit,
            b'a'..=b'z' | b'A'..=b'Z' => Kind::Letter,
            byte if byte.is_ascii_whitespace() => Kind::Space,
            _ => Kind::Sign,
        };
        in_name &= matches!(kind, Kind::Digit | Kind::Letter);
        letters = if kind == Kind::Letter { letters + 1 } else { 0 };
        let begins = match kind {
            Kind::Space => false,
            Kind::Sign => true,
            // `true` and `null` have four.
            Kind::Digit | Kind::Letter => !in_name && (kind != before || letters % 4 == 0),
        };
        starts += usize::from(begins);
        in_name |= *byte == b'/';
        before = kind;
    }
    starts
}

fn spend(left: &mut usize, amount: usize) -> Result<(), Unreadable> {
    *left = left.checked_sub(amount).ok_or_else(too_much)?;
    Ok(())
}

fn too_much() -> Unreadable {
    Unreadable::new("larger inside than can be read")
}

#[cfg(test)]
mod tests {
    use lopdf::Object;
    use proptest::prelude::*;

    fn values(object: &Object) -> usize {
        match object {
            Object::Array(values) => 1 + values.iter().map(self::values).sum::<usize>(),
            Object::Dictionary(entries) => {
                1 + entries.iter().map(|(_, value)| 1 + values(value)).sum::<usize>()
            }
            _ => 1,
        }
    }

    proptest! {
        #[test]
        fn no_value_is_had_for_nothing(
            parts in proptest::collection::vec(
                prop::sample::select(vec![
                    "1", "-2", ".5", "1.", "+", "true", "null", "false", "/", "/A", "/true", "[", "]", "<<", ">>", "(a)",
                    "<41>", " ", "1 0 R", "%", "\n",
                ]),
                0..40,
            )
        ) {
            let text = format!("[{}]", parts.concat());
            if let Some(object) = super::super::file::parse(text.as_bytes()) {
                prop_assert!(values(&object) <= super::count(text.as_bytes()), "{}", text);
            }
        }
    }
}
