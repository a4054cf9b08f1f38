//! What filters look for, as automata: compiled once, and one step for each byte of the text.

use std::sync::Arc;

use regex_automata::{
    Anchored, MatchKind,
    dfa::{
        Automaton, StartKind,
        dense::{self, DFA},
    },
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};

/// Bytes of one automaton. What would be larger is refused when it is configured.
const MAX_AUTOMATON: usize = 1 << 20;
/// Bytes of all automata of one configuration: a plan keeps them.
pub(in crate::policy) const MAX_AUTOMATA: usize = 4 << 20;

pub(in crate::policy) const TOO_LARGE: &str =
    "is too large: repeat less, or use narrower classes, such as (?-u:\\w)";

/// Something to look for.
pub(in crate::policy) struct Detector {
    dfa: DFA<Vec<u32>>,
    /// Where a match begins, by the byte before it, and at the text's beginning: to ask the automaton costs more than
    /// a step in it.
    starts: Vec<Option<StateID>>,
    /// The bytes that a match may begin with.
    first: Vec<u8>,
    /// Counts only where no such character stands right before or after it.
    apart_from: fn(char) -> bool,
    /// Whether what looks like one is one.
    valid: Option<Valid>,
}

/// Looks at what was matched. Sees it in one piece, so matches must be short.
pub(in crate::policy) type Valid = fn(&str) -> bool;

/// Everything that one filter looks for.
pub(in crate::policy) struct Detectors {
    all: Vec<Arc<Detector>>,
    /// For each byte, the detectors whose matches may begin with it.
    first: Vec<Vec<usize>>,
    have_long_matches: bool,
}

impl Detector {
    /// Looks for a regular expression: from each place on, what `regex` would match from there.
    ///
    /// # Errors
    /// In words what is wrong with it, without the expression.
    pub(in crate::policy) fn regex(pattern: &str, ignore_case: bool) -> Result<Self, &'static str> {
        let syntax = syntax::Config::new().case_insensitive(ignore_case);
        let parsed = syntax::parse_with(pattern, &syntax).map_err(|_| "is not a regular expression")?;
        if parsed.properties().look_set().contains_word_unicode() {
            return Err(r"has a word boundary that is not ASCII: write (?-u:\b), or use words");
        }
        if parsed.properties().minimum_len() == Some(0) {
            return Err("matches the empty text");
        }
        Self::build(&[pattern], &syntax, MatchKind::LeftmostFirst)
    }

    /// Looks for any of these texts.
    ///
    /// # Errors
    /// When they are too many.
    pub(in crate::policy) fn words(
        words: &[String],
        ignore_case: bool,
        whole: bool,
    ) -> Result<Self, &'static str> {
        let syntax = syntax::Config::new().case_insensitive(ignore_case);
        let words: Vec<String> = words.iter().map(|word| regex_syntax::escape(word)).collect();
        let detector = Self::build(&words, &syntax, MatchKind::All)?;
        Ok(if whole { Self { apart_from: char::is_alphanumeric, ..detector } } else { detector })
    }

    /// Looks for what has this form, is valid, and stands apart from ASCII letters and digits; of any
    /// length that the form allows. Texts are written without spaces in many languages, so other letters
    /// may stand beside it.
    ///
    /// # Errors
    /// As `regex`.
    pub(in crate::policy) fn checked(pattern: &str, valid: Valid) -> Result<Self, &'static str> {
        let detector = Self::build(&[pattern], &syntax::Config::new(), MatchKind::All)?;
        let apart_from = |c: char| c.is_ascii_alphanumeric();
        Ok(Self { apart_from, valid: Some(valid), ..detector })
    }

    /// Bytes of its automaton.
    pub(in crate::policy) fn size(&self) -> usize {
        self.dfa.memory_usage()
    }

    fn build<P: AsRef<str>>(
        patterns: &[P],
        syntax: &syntax::Config,
        kind: MatchKind,
    ) -> Result<Self, &'static str> {
        let config = dense::Config::new()
            .match_kind(kind)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_AUTOMATON))
            .determinize_size_limit(Some(4 * MAX_AUTOMATON));
        let dfa = dense::Builder::new()
            .configure(config)
            .syntax(*syntax)
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATON)))
            .build_many(patterns)
            .map_err(|_| TOO_LARGE)?;
        let before = (0..=u8::MAX).map(Some).chain([None]);
        let starts: Vec<_> = before.map(|before| start(&dfa, before)).collect();
        let mut distinct: Vec<StateID> = starts.iter().copied().flatten().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let may_begin =
            |byte: &u8| distinct.iter().any(|start| !dfa.is_dead_state(dfa.next_state(*start, *byte)));
        let first = (0..=u8::MAX).filter(may_begin).collect();
        Ok(Self { dfa, starts, first, apart_from: |_| false, valid: None })
    }

    pub(super) fn dfa(&self) -> &DFA<Vec<u32>> {
        &self.dfa
    }

    pub(super) fn validity(&self) -> Option<Valid> {
        self.valid
    }

    /// Whether a match may end here, or begin, as far as the character beyond it is concerned.
    pub(super) fn bordered(&self, beyond: Option<char>) -> bool {
        !beyond.is_some_and(self.apart_from)
    }

    /// Whether nothing that may come makes a match, or a longer one.
    pub(super) fn is_done(&self, state: StateID) -> bool {
        let dead = |state| self.dfa.is_dead_state(state);
        (0..=u8::MAX).all(|byte| dead(self.dfa.next_state(state, byte)))
            && !self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }

    /// Where a match begins after this byte.
    pub(super) fn start(&self, before: Option<u8>) -> Option<StateID> {
        self.starts[before.map_or(usize::from(u8::MAX) + 1, usize::from)]
    }
}

fn start(dfa: &DFA<Vec<u32>>, before: Option<u8>) -> Option<StateID> {
    dfa.start_state(&start::Config::new().anchored(Anchored::Yes).look_behind(before)).ok()
}

impl Detectors {
    pub(in crate::policy) fn new(all: Vec<Arc<Detector>>) -> Self {
        let mut first = vec![Vec::new(); 256];
        for (i, detector) in all.iter().enumerate() {
            for byte in &detector.first {
                first[usize::from(*byte)].push(i);
            }
        }
        let have_long_matches = all.iter().any(|detector| detector.valid.is_none());
        Self { all, first, have_long_matches }
    }

    /// Whether a match may be of any length: those that are looked at whole are short.
    pub(super) fn have_long_matches(&self) -> bool {
        self.have_long_matches
    }

    pub(super) fn get(&self, i: usize) -> &Detector {
        &self.all[i]
    }

    /// Bytes of `text` before the first character that a match may begin with.
    pub(super) fn idle(&self, text: &str) -> usize {
        let is_within = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
        let begins = |byte: u8| !self.first[usize::from(byte)].is_empty() && !is_within(byte);
        text.bytes().position(begins).unwrap_or(text.len())
    }

    /// Those whose matches may begin with this byte.
    pub(super) fn beginning_with(&self, byte: u8) -> &[usize] {
        &self.first[usize::from(byte)]
    }
}
