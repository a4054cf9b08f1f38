//! What is struck out of a text in pieces is what would be struck out of the whole.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use regex_automata::{Anchored, Input, dfa::Automaton};

use super::{
    LONGEST,
    detector::{Detector, Detectors},
    scanner::{Room, Scanner},
};

const PATTERNS: [&str; 14] = [
    "ab",
    "a+",
    "a.*b",
    "a.*?b",
    "a(?:b.*a)?",
    "ab|abc|b",
    "(?:ab|a)(?:c|bcd)?",
    "(?-u:\\b)ab(?-u:\\b)",
    "^a",
    "b$",
    "(?m)^b.*$",
    "é+",
    "[^a]é",
    "(?s)a.{3,5}é",
];

fn regexes(patterns: &[&str]) -> Arc<Detectors> {
    let detectors = patterns.iter().map(|pattern| Arc::new(Detector::regex(pattern, false).unwrap()));
    Arc::new(Detectors::new(detectors.collect()))
}

fn words(words: &[&str], whole: bool) -> Arc<Detectors> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Arc::new(Detectors::new(vec![Arc::new(Detector::words(&words, true, whole).unwrap())]))
}

fn hash() -> (Arc<str>, Room) {
    ("#".into(), Room::new(1 << 20))
}

fn in_pieces<'a>(
    detectors: &Arc<Detectors>,
    pieces: impl IntoIterator<Item = &'a str>,
    longest: usize,
) -> String {
    let mut scanner = Scanner::new(Arc::clone(detectors), hash(), longest);
    let mut out: String = pieces.into_iter().map(|piece| scanner.push(piece)).collect();
    out.push_str(&scanner.finish());
    out
}

#[test]
fn replacements_are_bounded() {
    let (detectors, room) = (regexes(&["a"]), Room::new(1_000));
    let mut lengths = 0;
    // Several texts of one query share the room.
    for _ in 0..3 {
        let mut scanner =
            Scanner::new(Arc::clone(&detectors), ("#".repeat(100).into(), room.clone()), LONGEST);
        let mut out = scanner.push(&"ab".repeat(10_000));
        out.push_str(&scanner.finish());
        assert_eq!(
            (out.matches('b').count(), out.matches('a').count(), scanner.replacements()),
            (10_000, 0, 10_000)
        );
        lengths += out.len();
    }
    assert_eq!(lengths, 30_000 + 1_000);
}

fn whole(detectors: &Arc<Detectors>, text: &str) -> String {
    in_pieces(detectors, [text], usize::MAX)
}

/// The definition: what matches from each place on, one search for each.
fn by_definition(patterns: &[&str], text: &str) -> String {
    let mut struck = vec![false; text.len()];
    for pattern in patterns {
        let detector = Detector::regex(pattern, false).unwrap();
        for (start, _) in text.char_indices() {
            let input = Input::new(text).range(start..).anchored(Anchored::Yes);
            if let Some(found) = detector.dfa().try_search_fwd(&input).unwrap() {
                struck[start..found.offset()].fill(true);
            }
        }
    }
    let mut out = String::new();
    for (i, c) in text.char_indices() {
        match struck[i] {
            false => out.push(c),
            true if i > 0 && struck[i - 1] => {}
            true => out.push('#'),
        }
    }
    out
}

/// Every way to cut the text in two, and every character on its own.
fn all_splits_agree(detectors: &Arc<Detectors>, text: &str, expected: &str) {
    for (at, _) in text.char_indices() {
        let (head, tail) = text.split_at(at);
        assert_eq!(in_pieces(detectors, [head, tail], LONGEST), expected, "cut at {at}");
    }
    let characters = text.char_indices().map(|(i, c)| &text[i..i + c.len_utf8()]);
    assert_eq!(in_pieces(detectors, characters, LONGEST), expected);
}

#[test]
fn words_are_found_in_any_case_and_only_whole() {
    let listed = words(&["cat", "Hot Dog", "äpfel"], true);
    for (text, expected) in [
        ("a CAT sat", "a # sat"),
        ("concatenate", "concatenate"),
        ("cat", "#"),
        ("cats cat.", "cats #."),
        ("hot dog hot dogs", "# hot dogs"),
        ("Äpfel, ÄPFELn", "#, ÄPFELn"),
        ("äcat cat", "äcat #"),
    ] {
        assert_eq!(whole(&listed, text), expected);
        all_splits_agree(&listed, text, expected);
    }
    assert_eq!(whole(&words(&["cat"], false), "concatenate"), "con#enate");
}

#[test]
fn overlapping_matches_become_one() {
    let both = regexes(&["abc", "cd"]);
    assert_eq!(whole(&both, "abcd"), "#");
    assert_eq!(whole(&both, "xabcxcdx"), "x#x#x");
    all_splits_agree(&both, "xabcxcdxabcdx", "x#x#x#x");
}

#[test]
fn a_match_that_may_come_is_all_that_is_held_back() {
    let mut scanner = Scanner::new(regexes(&["secret"]), hash(), LONGEST);
    assert_eq!(scanner.push("hello s"), "hello ");
    assert_eq!(scanner.push("e"), "");
    // "se" cannot go on with "s"; only the "s" can begin a match.
    assert_eq!(scanner.push("s"), "se");
    assert_eq!(scanner.push("ecre"), "");
    assert_eq!(scanner.push("tly"), "#ly");
    assert_eq!(scanner.finish(), "");
}

/// What is struck out in any case leaves at once, though its match may grow.
#[test]
fn a_replacement_does_not_wait_for_the_end_of_its_match() {
    let mut scanner = Scanner::new(regexes(&["a+"]), hash(), LONGEST);
    assert_eq!(scanner.push("aaa "), "# ");
    assert_eq!(scanner.push("aa"), "#");
    assert_eq!(scanner.push("aa"), "");
    assert_eq!(scanner.push("b"), "b");
    assert_eq!(scanner.replacements(), 2);
}

#[test]
fn of_too_long_a_match_the_end_is_struck_out() {
    let detectors = regexes(&["a.*z"]);
    let text = format!("a{}z", "x".repeat(100));
    let expected = format!("a{}#", "x".repeat(100 - 9));
    assert_eq!(in_pieces(&detectors, [text.as_str()], 10), expected);
    let characters = text.char_indices().map(|(i, _)| &text[i..=i]);
    assert_eq!(in_pieces(&detectors, characters, 10), expected);
    // A shorter one within it is whole.
    assert_eq!(in_pieces(&detectors, ["a", &"x".repeat(50), "az"], 10).matches('z').count(), 0);
}

#[test]
fn expressions_that_cannot_be_used_are_refused() {
    for (pattern, problem) in [
        ("(", "is not a regular expression"),
        (r"(a)\1", "is not a regular expression"),
        (r"\bname\b", "has a word boundary"),
        ("a*", "matches the empty text"),
        (r"\w{200}\d{200}\pL{200}", "is too large"),
    ] {
        let refused = Detector::regex(pattern, false).err().unwrap();
        assert!(refused.starts_with(problem), "{pattern}: {refused}");
    }
}

/// A backtracking engine takes exponential time for the first three.
#[test]
fn hostile_texts_take_linear_time() {
    let patterns = ["(?:a+)+b", "(?:a|aa)+b", "(?:.*a){8}b", "a.{200}b", "a(?:.*z)?"];
    let detectors = regexes(&patterns);
    let time = |bytes: usize| {
        let (text, start) = ("a".repeat(bytes), std::time::Instant::now());
        whole(&detectors, &text);
        start.elapsed()
    };
    let (short, long) = (time(5_000), time(20_000));
    assert!(
        long < short * 16 + Duration::from_millis(200),
        "{short:?}, then {long:?} for four times as much"
    );
}

proptest! {
    #[test]
    fn pieces_agree_with_the_definition(
        text in "[abcé \n]{0,24}",
        chosen in proptest::sample::subsequence(PATTERNS.to_vec(), 1..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let expected = by_definition(&chosen, &text);
        let detectors = regexes(&chosen);
        prop_assert_eq!(whole(&detectors, &text), expected.clone());
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]);
        prop_assert_eq!(in_pieces(&detectors, pieces, LONGEST), expected.clone());
        all_splits_agree(&detectors, &text, &expected);
    }

    /// Whatever is too long: the pieces make no difference.
    #[test]
    fn pieces_make_no_difference_to_the_limit(text in "[abé]{0,24}", longest in 1..8_usize) {
        let detectors = regexes(&["a.*b", "(?:ab)+"]);
        let expected = in_pieces(&detectors, [text.as_str()], longest);
        for (at, _) in text.char_indices() {
            let (head, tail) = text.split_at(at);
            prop_assert_eq!(in_pieces(&detectors, [head, tail], longest), expected.clone());
        }
    }
}
