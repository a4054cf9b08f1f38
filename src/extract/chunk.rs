//! Texts cut into documents: at headings, then at paragraphs, then wherever they are too long.

/// Bytes of one piece, as near as paragraphs allow.
const TARGET: usize = 1200;
/// Bytes of one piece at most.
const LIMIT: usize = 4000;
/// Bytes of a heading at most: every piece below repeats it.
const MAX_HEADING: usize = 200;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The headings it stands under, outermost first.
    pub(super) headings: Vec<String>,
    pub(super) text: String,
}

/// Cuts a text into `limit` pieces at most. Lines that begin with `#` are headings, and begin a piece.
pub(super) fn pieces(text: &str, limit: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut headings: Vec<(usize, String)> = Vec::new();
    let mut open = String::new();
    let mut fenced = false;
    for paragraph in paragraphs(text) {
        if pieces.len() >= limit {
            pieces.truncate(limit);
            return pieces;
        }
        let heading = heading(paragraph).filter(|_| !fenced);
        // Code stays together as long as it can.
        if heading.is_some() || (!fenced && open.len() + paragraph.len() > TARGET) {
            close(&mut pieces, &headings, &mut open);
        }
        if let Some((depth, title)) = heading {
            headings.retain(|(above, _)| *above < depth);
            headings.push((depth, title.to_owned()));
        }
        if paragraph.lines().filter(|line| line.trim_start().starts_with("```")).count() % 2 == 1 {
            fenced = !fenced;
        }
        for part in split(paragraph) {
            // With the empty line between them.
            if open.len() + part.len() + 2 > LIMIT {
                close(&mut pieces, &headings, &mut open);
            }
            if !open.is_empty() {
                open.push_str("\n\n");
            }
            open.push_str(part);
        }
    }
    close(&mut pieces, &headings, &mut open);
    pieces.truncate(limit);
    pieces
}

fn close(pieces: &mut Vec<Piece>, headings: &[(usize, String)], open: &mut String) {
    let text = std::mem::take(open);
    // A heading with nothing under it says what the next one says.
    if text.trim().is_empty() || text.lines().all(|line| heading(line).is_some()) {
        return;
    }
    let headings = headings.iter().map(|(_, title)| title.clone()).collect();
    pieces.push(Piece { headings, text });
}

/// Runs of lines without an empty one; a heading is a paragraph of its own.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (mut begin, mut end) = (0, 0);
        for line in rest.split_inclusive('\n') {
            let (blank, heading) = (line.trim().is_empty(), heading(line).is_some());
            if end > begin && (blank || heading) {
                break;
            }
            end += line.len();
            if blank {
                begin = end;
            } else if heading {
                break;
            }
        }
        let paragraph = &rest[begin..end];
        rest = &rest[end..];
        (!paragraph.is_empty()).then(|| paragraph.trim_end())
    })
}

fn heading(paragraph: &str) -> Option<(usize, &str)> {
    let paragraph = paragraph.trim_end();
    let title = paragraph.trim_start_matches('#');
    let depth = paragraph.len() - title.len();
    let fits = title.len() <= MAX_HEADING && !title.contains('\n');
    ((1..=6).contains(&depth) && fits && title.starts_with(' ')).then(|| (depth, title.trim()))
}

/// A paragraph that is too long, cut at white space where there is some.
fn split(paragraph: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), paragraph);
    while rest.len() > LIMIT {
        let limit = rest.floor_char_boundary(LIMIT);
        let cut = rest[..limit].rfind(char::is_whitespace).filter(|cut| *cut > 0).unwrap_or(limit);
        let (part, tail) = rest.split_at(cut);
        parts.push(part);
        rest = tail.trim_start();
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LIMIT, Piece};

    fn pieces(text: &str) -> Vec<Piece> {
        super::pieces(text, usize::MAX)
    }

    #[test]
    fn texts_are_cut_at_headings_and_paragraphs() {
        let long = "word ".repeat(250);
        let text = format!("# One\nintro\n## Two\n{long}\n\n{long}\n# Three\n\n## Four\nend");
        let found = pieces(&text);
        let headings: Vec<String> = found.iter().map(|piece| piece.headings.join("/")).collect();
        assert_eq!(headings, ["One", "One/Two", "One/Two", "Three/Four"]);
        assert_eq!(found[3].text, "## Four\n\nend");
    }

    #[test]
    fn a_heading_inside_code_is_no_heading() {
        let found = pieces("# Title\n\n```sh\n\n# comment\n\n```\n\nend");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn blank_lines_may_be_of_any_white_space_and_of_any_length() {
        let found = pieces("a\n\u{a0}\nb\n\u{2003}\u{2003}");
        assert_eq!(found.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>(), ["a\n\nb"]);
        // Looked at once: more than that, and this does not end.
        assert_eq!(pieces(&format!("{}x", " \n".repeat(2 << 20))).len(), 1);
        assert_eq!(super::pieces(&"# a\n\nb\n\n".repeat(100), 7).len(), 7);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in any::<String>()) {
            pieces(&text);
        }

        #[test]
        fn nothing_is_lost_and_nothing_is_too_long(text in "(# ?|[a-zé]{1,9}|\n| ){0,200}") {
            let words = |text: &str| text.split_whitespace().filter(|w| !w.starts_with('#')).collect::<Vec<_>>().join(" ");
            let found = pieces(&text);
            prop_assert!(found.iter().all(|piece| piece.text.len() <= LIMIT));
            let body: String = text.lines().filter(|line| super::heading(line).is_none()).collect::<Vec<_>>().join("\n");
            let kept_body: Vec<String> = found
                .iter()
                .map(|piece| piece.text.lines().filter(|line| super::heading(line).is_none()).collect::<Vec<_>>().join("\n"))
                .collect();
            prop_assert_eq!(words(&kept_body.join(" ")), words(&body));
        }

        #[test]
        fn long_texts_are_cut(text in "[a-z]{0,9000}") {
            let found = pieces(&text);
            prop_assert!(found.iter().all(|piece| piece.text.len() <= LIMIT));
            prop_assert_eq!(found.iter().map(|piece| piece.text.len()).sum::<usize>(), text.len());
        }
    }
}
