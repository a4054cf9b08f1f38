//! Tokens that can be followed: each carries its number and the moment at which it was sent.

use std::{ops::AddAssign, time::Instant};

use crate::{Fault, clock};

/// Bytes of every token. The service may join tokens, so each must be found in a longer text.
pub const LENGTH: usize = 23;

/// The `number`-th token, sent at `nanos`.
pub fn token(number: usize, nanos: u64) -> String {
    format!("{number:05}:{nanos:016x} ")
}

/// Tokens of answers that came to their end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub received: usize,
    pub lost: usize,
    pub repeated: usize,
    pub reordered: usize,
}

/// One answer, as its reader sees it.
pub struct Watch {
    /// When the first token came.
    pub first: Option<Instant>,
    /// Nanoseconds from the upstream's sending to the client's reading, for each token.
    pub delays: Vec<u64>,
    seen: Vec<bool>,
    next: usize,
    /// The beginning of a token whose end has not come.
    rest: String,
    tally: Tally,
}

impl Watch {
    /// Over an answer of `expected` tokens.
    pub fn new(expected: usize) -> Self {
        Self {
            first: None,
            delays: Vec::with_capacity(expected),
            seen: vec![false; expected],
            next: 0,
            rest: String::new(),
            tally: Tally::default(),
        }
    }

    /// Takes a piece of the answer.
    ///
    /// # Errors
    /// When there is a token in it that nobody has sent.
    pub fn take(&mut self, piece: &str) -> Result<(), Fault> {
        let now = clock::nanos();
        if !piece.is_empty() {
            self.first.get_or_insert_with(Instant::now);
        }
        if self.rest.is_empty() && piece.len().is_multiple_of(LENGTH) {
            return self.tokens(piece, now);
        }
        let joined = std::mem::take(&mut self.rest) + piece;
        let whole = joined.len() - joined.len() % LENGTH;
        self.rest = joined.get(whole..).ok_or("a token is not ASCII")?.to_owned();
        self.tokens(&joined[..whole], now)
    }

    /// What has come, once nothing more will.
    pub fn end(&mut self) -> Tally {
        self.tally.lost += self.seen.len().saturating_sub(self.next);
        self.next = self.seen.len();
        self.tally
    }

    fn tokens(&mut self, text: &str, now: u64) -> Result<(), Fault> {
        for token in text.as_bytes().chunks(LENGTH) {
            let (number, sent) = parse(token).ok_or("a token that nobody has sent")?;
            self.delays.push(now.saturating_sub(sent));
            self.count(number)?;
        }
        Ok(())
    }

    fn count(&mut self, number: usize) -> Result<(), Fault> {
        let seen = self.seen.get_mut(number).ok_or("more tokens than were sent")?;
        self.tally.received += 1;
        let again = std::mem::replace(seen, true);
        if again {
            self.tally.repeated += 1;
        } else if number < self.next {
            // It was taken for lost.
            self.tally.lost -= 1;
            self.tally.reordered += 1;
        } else {
            self.tally.lost += number - self.next;
            self.next = number + 1;
        }
        Ok(())
    }
}

impl Tally {
    pub fn is_clean(self) -> bool {
        (self.lost, self.repeated, self.reordered) == (0, 0, 0)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
    }
}

fn parse(token: &[u8]) -> Option<(usize, u64)> {
    let (number, sent) = std::str::from_utf8(token).ok()?.strip_suffix(' ')?.split_once(':')?;
    Some((number.parse().ok()?, u64::from_str_radix(sent, 16).ok()?))
}

/// Proves on made-up answers that every kind of damage is counted: a check that cannot fail is none.
///
/// # Errors
/// When one is not.
pub fn self_check() -> Result<(), Fault> {
    let cases: [(&[usize], [usize; 4]); 6] = [
        (&[0, 1, 2, 3], [4, 0, 0, 0]),
        (&[0, 1, 3], [3, 1, 0, 0]),
        (&[0, 1, 2], [3, 1, 0, 0]),
        (&[0, 1, 1, 2, 3], [5, 0, 1, 0]),
        (&[0, 2, 1, 3], [4, 0, 0, 1]),
        (&[], [0, 4, 0, 0]),
    ];
    for (numbers, expected) in cases {
        // Cut in odd places, as pieces may be.
        let text: String = numbers.iter().map(|number| token(*number, 1)).collect();
        let mut watch = Watch::new(4);
        for piece in text.as_bytes().chunks(31) {
            watch.take(std::str::from_utf8(piece)?)?;
        }
        let Tally { received, lost, repeated, reordered } = watch.end();
        if [received, lost, repeated, reordered] != expected {
            return Err(format!("{numbers:?} was counted as {received} {lost} {repeated} {reordered}").into());
        }
    }
    Ok(())
}
