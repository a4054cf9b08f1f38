//! What one file may cost.

use std::time::{Duration, Instant};

use lopdf::Stream;

use crate::extract::{MAX_TEXT, Unreadable};

/// Time at most, well beyond what a long book takes.
const TIME: Duration = Duration::from_secs(60);
/// Values at most: a value takes some 100 bytes.
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

/// How many values are in a text at most.
pub(super) fn count(text: &[u8]) -> usize {
    let mut before = b' ';
    let mut starts = 0;
    for byte in text {
        let delimiter = matches!(byte, b'[' | b'<' | b'(' | b'/' | b'{');
        let after_gap =
            !byte.is_ascii_whitespace() && !matches!(before, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
        starts += usize::from(delimiter || after_gap);
        before = *byte;
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
