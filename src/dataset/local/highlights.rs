//! Where in a document the words of a question stand.

use std::{collections::BTreeSet, ops::Range};

use serde_json::{Value, json};
use tantivy::tokenizer::TextAnalyzer;

/// Words that may stand between two matches of one passage.
const GAP: usize = 8;
/// Passages of one document at most: the best.
const MOST: usize = 8;

/// From the first to the last of matches that stand close together.
struct Passage {
    bytes: Range<usize>,
    /// The place of its last match, in words.
    last: usize,
    matches: usize,
    words: BTreeSet<String>,
}

/// The best passages of a text: those with the most different words of the question, then with the most matches, in
/// the order of the text. They begin and end with a match, and none overlaps another.
pub(super) fn passages(
    analyzer: &mut TextAnalyzer,
    text: &str,
    question: &BTreeSet<String>,
) -> Vec<Range<usize>> {
    let mut passages: Vec<Passage> = Vec::new();
    // The words that the index has, with their endings removed, each with its place in the text as it is.
    let mut tokens = analyzer.token_stream(text);
    tokens.process(&mut |token| {
        if !question.contains(&token.text) {
            return;
        }
        match passages.last_mut().filter(|open| token.position <= open.last + GAP + 1) {
            Some(open) => open.extend(token.offset_to, token.position, &token.text),
            None => passages.push(Passage {
                bytes: token.offset_from..token.offset_to,
                last: token.position,
                matches: 1,
                words: BTreeSet::from([token.text.clone()]),
            }),
        }
    });
    passages.sort_by_key(|passage| std::cmp::Reverse((passage.words.len(), passage.matches)));
    passages.truncate(MOST);
    let mut best: Vec<Range<usize>> = passages.into_iter().map(|passage| passage.bytes).collect();
    best.sort_by_key(|bytes| bytes.start);
    best
}

/// As they stand in metadata.
pub(super) fn as_json(passages: &[Range<usize>]) -> Value {
    passages.iter().map(|bytes| json!({"start": bytes.start, "end": bytes.end})).collect()
}

impl Passage {
    fn extend(&mut self, end: usize, place: usize, word: &str) {
        self.bytes.end = self.bytes.end.max(end);
        self.last = place;
        self.matches += 1;
        if !self.words.contains(word) {
            self.words.insert(word.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::words::{Language, words};

    fn found(question: &str, text: &str) -> Vec<Range<usize>> {
        let mut analyzer = Language::English.analyzer();
        let question = words(&mut analyzer, question).into_iter().collect();
        passages(&mut analyzer, text, &question)
    }

    #[test]
    fn stems_are_found_and_what_stands_together_is_one_passage() {
        let text = "Licences expire: an expired licence, renewed, was the first. Much later, and far away from all that \
                    had been said in the years before, she renews it.";
        let found: Vec<&str> =
            found("renewing the licence", text).into_iter().map(|bytes| &text[bytes]).collect();
        assert_eq!(found, ["Licences expire: an expired licence, renewed", "renews"]);
    }

    #[test]
    fn the_best_passages_are_kept_in_order() {
        let far = " x".repeat(20);
        let text: String =
            (0..20).map(|n| if n == 17 { format!("cat dog{far} ") } else { format!("cat{far} ") }).collect();
        let found = found("cats and dogs", &text);
        assert_eq!(found.len(), MOST);
        assert!(found.iter().any(|bytes| text[bytes.clone()] == *"cat dog"), "{found:?}");
    }

    proptest! {
        #[test]
        fn passages_are_in_order_apart_and_hold_what_matches(
            pieces in prop::collection::vec("(cats?|running|Äpfel|\u{1f642}|日本|the|[a-zé ]{0,6}|\\PC{0,3})[ ,.\n-]?", 0..60),
            question in "(cat|runs|apfel|日本|\u{1f642})( (cats|running|the|Äpfel|[a-z]{1,3})){0,3}",
        ) {
            let text = pieces.concat();
            let mut analyzer = Language::English.analyzer();
            let asked: BTreeSet<String> = words(&mut analyzer, &question).into_iter().collect();
            let found = passages(&mut analyzer, &text, &asked);
            let is_asked = |word: &String| asked.contains(word);
            for bytes in &found {
                let passage = text.get(bytes.clone()).expect("not on the boundaries of characters");
                prop_assert!(words(&mut analyzer, passage).iter().any(is_asked), "{passage:?}");
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start), "{found:?}");
            prop_assert_eq!(found.is_empty(), !words(&mut analyzer, &text).iter().any(is_asked));
        }
    }
}
