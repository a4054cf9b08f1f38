//! Patterns of e-mail addresses: `*` any run of characters, `?` one, `[abc]` and `[!abc]` one of a
//! set, with ranges. They match the whole address, without regard to case.

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

/// How much a pattern says: an address without wildcards before everything, then by the number of
/// characters it spells out.
pub(super) type Specificity = (bool, usize);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(char),
    One,
    Run,
    Set { ranges: Vec<(char, char)>, negated: bool },
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        let chars: Vec<char> = pattern.to_lowercase().chars().collect();
        let mut parts = Vec::with_capacity(chars.len());
        let mut i = 0;
        while i < chars.len() {
            let (part, length) = match chars[i] {
                '*' => (Part::Run, 1),
                '?' => (Part::One, 1),
                '[' => set(&chars[i..]).unwrap_or((Part::Literal('['), 1)),
                literal => (Part::Literal(literal), 1),
            };
            if part != Part::Run || parts.last() != Some(&Part::Run) {
                parts.push(part);
            }
            i += length;
        }
        Self { parts }
    }

    /// `text` must be lower-cased. Takes time in proportion to pattern times text at worst.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut p, mut t) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.parts.get(p) {
                Some(Part::Run) => {
                    retry = Some((p, t));
                    p += 1;
                    continue;
                }
                Some(part) if part.matches(text[t]) => {
                    p += 1;
                    t += 1;
                    continue;
                }
                _ => {}
            }
            // The last run takes one character more.
            let Some((run, start)) = retry else { return false };
            retry = Some((run, start + 1));
            (p, t) = (run + 1, start + 1);
        }
        self.parts[p..].iter().all(|part| *part == Part::Run)
    }

    pub(super) fn specificity(&self) -> Specificity {
        let literals = self.parts.iter().filter(|part| matches!(part, Part::Literal(_))).count();
        (literals == self.parts.len(), literals)
    }
}

impl Part {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::One | Self::Run => true,
            Self::Set { ranges, negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// `[…]` at the start of `chars` and its length; `None` when it is not closed. A `]` in first place is
/// a member of the set.
fn set(chars: &[char]) -> Option<(Part, usize)> {
    let negated = chars.get(1) == Some(&'!');
    let start = if negated { 2 } else { 1 };
    let end = (start + 1..chars.len()).find(|i| chars[*i] == ']')?;
    let (mut ranges, mut i) = (Vec::new(), start);
    while i < end {
        if i + 2 < end && chars[i + 1] == '-' {
            ranges.push((chars[i], chars[i + 2]));
            i += 3;
        } else {
            ranges.push((chars[i], chars[i]));
            i += 1;
        }
    }
    Some((Part::Set { ranges, negated }, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pattern;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text)
    }

    #[test]
    fn wildcards_and_sets_match_whole_addresses() {
        for (pattern, text) in [
            ("*", "a@b.c"),
            ("", ""),
            ("*@X.com", "bob@x.com"),
            ("b?b@x.com", "bob@x.com"),
            ("*@*.org", "a@b.c.org"),
            ("[a-c]ob@x.com", "bob@x.com"),
            ("[!a]ob@x.com", "bob@x.com"),
            ("[]]", "]"),
            ("a[", "a["),
            ("a**b", "axxb"),
        ] {
            assert!(matches(pattern, text), "{pattern} should match {text}");
        }
        for (pattern, text) in [
            ("x.com", "bob@x.com"),
            ("*@x.com", "bob@x.com.evil"),
            ("?", ""),
            ("[!b]ob@x.com", "bob@x.com"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn exact_beats_wildcards_and_longer_beats_shorter() {
        let order = ["*", "?*", "*@x.com", "b*@x.com", "b?b@x.com", "bob@x.com"];
        assert!(
            order
                .windows(2)
                .all(|pair| Pattern::new(pair[0]).specificity() <= Pattern::new(pair[1]).specificity())
        );
        assert!(
            Pattern::new("*@a-very-long-domain.example").specificity() < Pattern::new("a@b").specificity()
        );
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn slow(p: &[u8], t: &[u8]) -> bool {
                match (p.first(), t.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => slow(&p[1..], t) || (!t.is_empty() && slow(p, &t[1..])),
                    (Some(b'?'), Some(_)) => slow(&p[1..], &t[1..]),
                    (Some(a), Some(b)) if a == b => slow(&p[1..], &t[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(pattern in ".{0,20}", text in ".{0,20}") {
            matches(&pattern, &text.to_lowercase());
        }
    }
}
