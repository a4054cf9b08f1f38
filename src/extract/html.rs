//! HTML to text with `#` before its headings.
//!
//! Read tag by tag, without a tree and without attributes: every byte is looked at once, so a page of any
//! depth, or with tags of any length, takes a time in proportion to its bytes, and no stack. Trees are
//! quadratic in depth, lists of attributes in their length, and tables that are laid out grow by their
//! widest cell.

use std::borrow::Cow;

use quick_xml::escape::resolve_html5_entity;

use super::{Unreadable, prose::Prose, text};

/// Bytes of an entity's name at most; the longest has 31.
const MAX_ENTITY: usize = 40;

/// What a page says to its readers. Pages that are not UTF-8 keep what of them is.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, Unreadable> {
    let page = match bytes.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => text::decode(bytes)?,
        _ => match String::from_utf8_lossy(&bytes) {
            Cow::Borrowed(page) => page.trim_start_matches('\u{feff}').to_owned(),
            Cow::Owned(page) => page,
        },
    };
    let mut reader = Reader { rest: &page, prose: Prose::default(), preformatted: false };
    while !reader.rest.is_empty() {
        reader.step();
    }
    Ok(reader.prose.finish())
}

struct Reader<'a> {
    rest: &'a str,
    prose: Prose,
    preformatted: bool,
}

impl Reader<'_> {
    /// Reads a text, a tag or a comment.
    fn step(&mut self) {
        let rest = self.rest;
        let Some(markup) = rest.strip_prefix('<') else {
            let (text, tail) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            self.text(text);
            self.rest = tail;
            return;
        };
        if let Some(comment) = markup.strip_prefix("!--") {
            let empty = comment.strip_prefix('>').or_else(|| comment.strip_prefix("->"));
            self.rest = empty.unwrap_or_else(|| after(comment, "-->"));
        } else if markup.starts_with(['!', '?']) {
            self.rest = after(markup, ">");
        } else if let Some(end) = markup.strip_prefix('/') {
            let (name, tail) = name(end);
            self.rest = after(tail, ">");
            self.end(&name);
        } else if markup.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let (name, tail) = name(markup);
            self.rest = after_attributes(tail);
            self.begin(&name);
        } else {
            self.text("<");
            self.rest = markup;
        }
    }

    fn begin(&mut self, name: &str) {
        match name {
            "script" | "style" | "title" | "textarea" | "noframes" | "iframe" => {
                self.rest = after_element(self.rest, name);
            }
            "br" => self.prose.line(),
            "li" | "dt" => self.prose.item(),
            "td" | "th" => self.prose.cell(),
            "tr" | "dd" => self.prose.line(),
            "pre" => self.preformat(true),
            _ => match heading(name) {
                Some(depth) => self.prose.heading(depth),
                None if is_block(name) => self.prose.paragraph(),
                None => {}
            },
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "pre" => self.preformat(false),
            "tr" | "li" => self.prose.line(),
            _ if heading(name).is_some() || is_block(name) => self.prose.paragraph(),
            _ => {}
        }
    }

    fn preformat(&mut self, begins: bool) {
        self.prose.paragraph();
        self.preformatted = begins;
    }

    fn text(&mut self, text: &str) {
        let text = unescape(text);
        if self.preformatted { self.prose.verbatim(&text) } else { self.prose.words(&text) }
    }
}

/// What stands behind the next `mark`; nothing, if there is none.
fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.find(mark).map_or("", |at| &text[at + mark.len()..])
}

/// A tag's name, lower-cased, and what follows it.
fn name(markup: &str) -> (String, &str) {
    let end =
        markup.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/')).unwrap_or(markup.len());
    (markup[..end].to_ascii_lowercase(), &markup[end..])
}

/// What stands behind the end of a tag. Values in quotes may hold `>`.
fn after_attributes(tag: &str) -> &str {
    let (mut quote, mut value) = (None, false);
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => (quote, value) = (None, false),
            (Some(_), _) => {}
            (None, b'>') => return &tag[at + 1..],
            (None, b'"' | b'\'') if value => quote = Some(byte),
            (None, _) => value = byte == b'=' || (value && byte.is_ascii_whitespace()),
        }
    }
    ""
}

/// What stands behind the end of an element whose text is no markup.
fn after_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut ends = text.match_indices("</").map(|(at, _)| &text[at + 2..]);
    let end = ends.find(|rest| rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)));
    end.map_or("", |rest| after(rest, ">"))
}

/// Entities as the characters that they stand for; what is none stays as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('&') else { return Cow::Borrowed(text) };
    let (mut plain, mut rest) = (text[..first].to_owned(), &text[first..]);
    while let Some(entity) = rest.strip_prefix('&') {
        let window = &entity[..entity.floor_char_boundary(MAX_ENTITY)];
        let found = window.find(';').and_then(|end| Some((character(&entity[..end])?, &entity[end + 1..])));
        let (character, tail) = found.unwrap_or((Cow::Borrowed("&"), entity));
        plain.push_str(&character);
        let (text, next) = tail.split_at(tail.find('&').unwrap_or(tail.len()));
        plain.push_str(text);
        rest = next;
    }
    Cow::Owned(plain)
}

fn character(entity: &str) -> Option<Cow<'static, str>> {
    let Some(number) = entity.strip_prefix('#') else {
        return resolve_html5_entity(entity).map(Cow::Borrowed);
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    // NUL cannot be stored, and stands for nothing.
    let character = char::from_u32(code.ok()?).filter(|character| *character != '\0')?;
    Some(Cow::Owned(character.to_string()))
}

fn heading(name: &str) -> Option<usize> {
    let depth = name.strip_prefix('h')?.parse().ok()?;
    (1..=6).contains(&depth).then_some(depth)
}

fn is_block(name: &str) -> bool {
    let blocks = [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "details",
        "dialog",
        "div",
        "dl",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "main",
        "nav",
        "ol",
        "p",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "ul",
    ];
    blocks.contains(&name)
}

#[cfg(test)]
mod tests {
    fn text(page: &str) -> String {
        super::text(page.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_page_is_headings_paragraphs_and_rows() {
        let page = "<!doctype html><head><title>no</title><style>p > a {}</style></head><body>\
            <h1>The <b>law</b>\n of x</h1><p>Seventy&nbsp;y&eacute;ars&#x21; R&D <a href='a>b'>link</a>ed\
            <script>if (a < b) '</p>'</script><ul><li>one<li>two</ul>\
            <table><tr><th>a<th>b<tr><td>1<td>2</table><pre>  x\n y</pre>1 < 2<!-- <p>gone --><br>end";
        let expected = "# The law of x\n\nSeventy y\u{e9}ars! R&D linked\n\n- one\n- two\n\na | b\n1 | 2\n\n  x\n y\n\n1 < 2\nend";
        assert_eq!(text(page), expected);
    }

    #[test]
    fn what_does_not_end_ends_with_the_page() {
        for page in ["a<!-- b", "a<p title=\"b>", "a<script>b</scrip>", "a<p", "a</", "a<?"] {
            assert_eq!(text(page), "a", "{page}");
        }
        assert_eq!(text("a<"), "a<");
        assert_eq!(text("&#0;&#xD800;&nothing;&"), "&#0;&#xD800;&nothing;&");
    }
}
