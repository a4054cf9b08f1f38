//! Word documents to text: a DOCX is a ZIP archive, and what is to be read in it is `word/document.xml`.
//! Macros, embedded files and links to elsewhere are not looked at.

use std::io::{BufRead, BufReader, Cursor, Read};

use quick_xml::{
    Reader,
    events::{BytesRef, BytesStart, Event},
};
use zip::{ZipArchive, result::ZipError};

use super::{MAX_TEXT, Unreadable, prose::Prose};

const DOCUMENT: &str = "word/document.xml";
/// Parts of a document at most.
const MAX_ENTRIES: usize = 10_000;
/// Bytes of XML that are read at most, however small they were packed.
const MAX_XML: u64 = 128 << 20;

/// Its paragraphs, with `#` before headings, and its tables, a line for each row.
pub(super) fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    // What Office protects by a password is a container of another kind.
    if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Err(Unreadable::new("protected by a password, or a .doc of old"));
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    if archive.len() > MAX_ENTRIES {
        return Err(Unreadable::new("has too many parts"));
    }
    let part = archive.by_name(DOCUMENT).map_err(broken)?;
    let text = read(BufReader::new(part.take(MAX_XML + 1)))?;
    if text.trim().is_empty() {
        return Err(Unreadable::new("has no text"));
    }
    Ok(text)
}

fn broken(error: ZipError) -> Unreadable {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            Unreadable::new("protected by a password")
        }
        _ => Unreadable::new("not a Word document"),
    }
}

fn read(xml: impl BufRead) -> Result<String, Unreadable> {
    let mut reader = Reader::from_reader(xml);
    reader.config_mut().check_end_names = false;
    let (mut page, mut buffer) = (Page::default(), Vec::new());
    loop {
        let at = reader.buffer_position();
        match reader.read_event_into(&mut buffer).map_err(|_| Unreadable::new("broken inside"))? {
            Event::Start(tag) => page.begin(&tag),
            Event::Empty(tag) => page.empty(&tag),
            Event::End(tag) => page.end(tag.local_name().as_ref()),
            Event::Text(text) => page.text(&text),
            Event::GeneralRef(entity) => page.entity(&entity),
            Event::Eof if at > MAX_XML => return Err(Unreadable::new("larger than 128 MiB inside")),
            Event::Eof => return Ok(page.prose.finish()),
            _ => {}
        }
        if page.prose.len() > MAX_TEXT {
            return Err(super::too_many());
        }
        buffer.clear();
    }
}

#[derive(Default)]
struct Page {
    prose: Prose,
    /// Inside `w:t`, which alone holds text that is shown.
    shown: bool,
    /// Tables within tables.
    tables: usize,
}

impl Page {
    fn begin(&mut self, tag: &BytesStart<'_>) {
        match tag.local_name().as_ref() {
            "t" => self.shown = true,
            "p" if self.tables == 0 => self.prose.paragraph(),
            "p" => self.prose.words(" "),
            "tbl" => {
                self.prose.paragraph();
                self.tables += 1;
            }
            "tr" => self.prose.line(),
            "tc" => self.prose.cell(),
            _ => self.empty(tag),
        }
    }

    /// What has nothing within, or whose inside says nothing.
    fn empty(&mut self, tag: &BytesStart<'_>) {
        match tag.local_name().as_ref() {
            "pStyle" if self.tables == 0 => {
                if let Some(depth) = heading(tag) {
                    self.prose.heading(depth);
                }
            }
            "numPr" if self.tables == 0 => self.prose.item(),
            "tab" => self.prose.words(" "),
            "br" | "cr" => self.prose.line(),
            "noBreakHyphen" => self.prose.words("-"),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "t" => self.shown = false,
            "p" if self.tables == 0 => self.prose.paragraph(),
            "tbl" => {
                self.tables = self.tables.saturating_sub(1);
                self.prose.paragraph();
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.shown {
            self.prose.words(text);
        }
    }

    fn entity(&mut self, entity: &BytesRef<'_>) {
        let text = match entity.resolve_char_ref() {
            Ok(Some(character)) => character.to_string(),
            _ => match entity.as_ref() {
                "amp" => "&".to_owned(),
                "lt" => "<".to_owned(),
                "gt" => ">".to_owned(),
                "quot" => "\"".to_owned(),
                "apos" => "'".to_owned(),
                // Others would have to be declared; declarations are not read, and cannot explode.
                _ => return,
            },
        };
        self.text(&text);
    }
}

/// The depth that a paragraph's style names: `Heading1` to `Heading6`, and `Title`.
fn heading(style: &BytesStart<'_>) -> Option<usize> {
    // A check for doublets would be quadratic.
    let mut attributes = style.attributes();
    let mut values = attributes.with_checks(false).flatten();
    let value = values.find(|attribute| attribute.key.local_name().as_ref() == "val")?;
    let value = value.value.to_ascii_lowercase();
    if value == "title" {
        return Some(1);
    }
    let depth = value.strip_prefix("heading")?.trim().parse().ok()?;
    (1..=6).contains(&depth).then_some(depth)
}
