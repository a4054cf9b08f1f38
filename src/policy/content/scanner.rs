//! Strikes matches out of a text that comes in pieces.
//!
//! What is struck out is the union of all matches: from every place on, what each detector matches from
//! there. So it is the same however the text was split, and in whatever order the patterns stand. Each
//! run of characters that are struck out is replaced once.
//!
//! Every place at which a match may have begun is a *thread*: the state of an automaton that read
//! everything since. The text before the oldest thread is decided and leaves; the rest is held back. A
//! dead automaton ends its thread at once, so nothing is held that no text to come could make a match.
//! Of threads in the same state only the oldest is kept: whatever the others will match, it matches too.
//! So there are never more threads than states, and the time is in proportion to the text.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use regex_automata::{dfa::Automaton, util::primitives::StateID};

use super::detector::{Detector, Detectors};

/// Bytes of replacements that are left, so that a text cannot grow without bounds. Clones share it.
#[derive(Clone)]
pub(in crate::policy) struct Room(Arc<AtomicUsize>);

/// Strikes out what it finds in one text. Positions are bytes from the text's beginning.
pub(in crate::policy) struct Scanner {
    detectors: Arc<Detectors>,
    replacement: Arc<str>,
    room: Room,
    /// Of a longer match only the last bytes are struck out: the ones before have left.
    longest: usize,
    /// Oldest first.
    threads: Vec<Thread>,
    /// What may still be needed, from `base` on.
    text: String,
    base: usize,
    /// What has been handed out, or replaced.
    sent: usize,
    /// Found and not yet replaced: in order, and apart from each other.
    found: VecDeque<Range<usize>>,
    /// Whether a replacement is the last that left.
    replaced: bool,
    last: Option<char>,
    replacements: usize,
    seen: HashSet<(usize, StateID)>,
}

#[derive(Clone, Copy)]
struct Thread {
    detector: usize,
    start: usize,
    state: StateID,
}

impl Scanner {
    pub(in crate::policy) fn new(
        detectors: Arc<Detectors>,
        (replacement, room): (Arc<str>, Room),
        longest: usize,
    ) -> Self {
        Self {
            detectors,
            replacement,
            room,
            longest,
            threads: Vec::new(),
            text: String::new(),
            base: 0,
            sent: 0,
            found: VecDeque::new(),
            replaced: false,
            last: None,
            replacements: 0,
            seen: HashSet::new(),
        }
    }

    /// Takes the next piece and returns what is decided.
    pub(in crate::policy) fn push(&mut self, piece: &str) -> String {
        let detectors = Arc::clone(&self.detectors);
        let mut rest = piece;
        while let Some(c) = rest.chars().next() {
            let idle = if self.threads.is_empty() { detectors.idle(rest) } else { 0 };
            if idle > 0 {
                self.text.push_str(&rest[..idle]);
                self.last = rest[..idle].chars().next_back();
                rest = &rest[idle..];
            } else {
                self.step(&detectors, c);
                rest = &rest[c.len_utf8()..];
            }
        }
        let decided = self.threads.iter().map(|thread| thread.start).min().unwrap_or(self.end());
        self.release(decided)
    }

    /// Returns what was held back.
    pub(in crate::policy) fn finish(&mut self) -> String {
        let detectors = Arc::clone(&self.detectors);
        for thread in std::mem::take(&mut self.threads) {
            let detector = detectors.get(thread.detector);
            if detector.dfa().is_match_state(detector.dfa().next_eoi_state(thread.state)) {
                self.matched(detector, thread.start, None);
            }
        }
        self.release(self.end())
    }

    /// How often something was replaced.
    pub(in crate::policy) fn replacements(&self) -> usize {
        self.replacements
    }

    /// Whether anything was found, replaced or not.
    pub(in crate::policy) fn has_found(&self) -> bool {
        self.replacements > 0 || !self.found.is_empty()
    }

    fn end(&self) -> usize {
        self.base + self.text.len()
    }

    fn step(&mut self, detectors: &Detectors, c: char) {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        self.begin(detectors, bytes[0]);
        if !self.threads.is_empty() {
            let mut threads = std::mem::take(&mut self.threads);
            threads.retain_mut(|thread| self.goes_on(detectors, thread, c, bytes));
            self.threads = threads;
        }
        self.text.push(c);
        self.last = Some(c);
        if !self.threads.is_empty() && detectors.have_long_matches() {
            self.thin(detectors);
        }
    }

    /// A thread for each detector that may match from here on.
    fn begin(&mut self, detectors: &Detectors, byte: u8) {
        let start = self.end();
        for &detector in detectors.beginning_with(byte) {
            let looks_for = detectors.get(detector);
            let before = self.last.map(last_byte);
            if looks_for.bordered(self.last)
                && let Some(state) = looks_for.start(before)
            {
                self.threads.push(Thread { detector, start, state });
            }
        }
    }

    /// Reads one character. An automaton says that it has matched only with the byte after the match.
    fn goes_on(&mut self, detectors: &Detectors, thread: &mut Thread, c: char, bytes: &[u8]) -> bool {
        let detector = detectors.get(thread.detector);
        let dfa = detector.dfa();
        for (i, byte) in bytes.iter().enumerate() {
            thread.state = dfa.next_state(thread.state, *byte);
            if i == 0 && dfa.is_special_state(thread.state) && dfa.is_match_state(thread.state) {
                self.matched(detector, thread.start, Some(c));
                if detector.is_done(thread.state) {
                    return false;
                }
            }
        }
        // One question instead of two, for almost every character.
        let is_over = || dfa.is_dead_state(thread.state) || dfa.is_quit_state(thread.state);
        !(dfa.is_special_state(thread.state) && is_over())
    }

    /// Drops threads that find nothing of their own, and lets go of what is too old.
    fn thin(&mut self, detectors: &Detectors) {
        let oldest = self.end().saturating_sub(self.longest);
        let oldest = self.base + self.text.ceil_char_boundary(oldest.saturating_sub(self.base));
        self.seen.clear();
        let crowded = self.threads.len() > 1;
        self.threads.retain_mut(|thread| {
            // What must be looked at must be whole; such matches are short.
            if detectors.get(thread.detector).validity().is_some() {
                return true;
            }
            thread.start = thread.start.max(oldest);
            !crowded || self.seen.insert((thread.detector, thread.state))
        });
    }

    /// Notes a match that ends here.
    fn matched(&mut self, detector: &Detector, start: usize, next: Option<char>) {
        let mut range = start..self.end();
        let valid = |valid: fn(&str) -> bool| valid(&self.text[range.start - self.base..]);
        if range.is_empty() || !detector.bordered(next) || !detector.validity().is_none_or(valid) {
            return;
        }
        while let Some(before) = self.found.pop_back_if(|before| before.end >= range.start) {
            range.start = range.start.min(before.start);
        }
        self.found.push_back(range);
    }

    /// Hands out what stands before `decided`. What is struck out need not be waited for.
    fn release(&mut self, decided: usize) -> String {
        let mut out = String::new();
        while let Some(range) = self.found.front().cloned() {
            self.pass(range.start.min(decided), &mut out);
            if range.start > self.sent {
                break;
            }
            self.found.pop_front();
            if range.end > self.sent {
                self.replace(range.end, &mut out);
            }
        }
        self.pass(decided, &mut out);
        let needless = decided.min(self.sent);
        self.text.drain(..needless - self.base);
        self.base = needless;
        out
    }

    fn pass(&mut self, until: usize, out: &mut String) {
        if until > self.sent {
            out.push_str(&self.text[self.sent - self.base..until - self.base]);
            (self.sent, self.replaced) = (until, false);
        }
    }

    fn replace(&mut self, until: usize, out: &mut String) {
        if !self.replaced {
            if self.room.take(self.replacement.len()) {
                out.push_str(&self.replacement);
            }
            self.replacements += 1;
        }
        (self.sent, self.replaced) = (until, true);
    }
}

impl Room {
    pub(in crate::policy) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

fn last_byte(c: char) -> u8 {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).as_bytes().last().copied().unwrap_or_default()
}
