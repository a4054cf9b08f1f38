//! Fonts: which characters their codes stand for, and how wide they are.

use std::{borrow::Cow, collections::HashMap};

use lopdf::{Dictionary, Document, Encoding, Object};

use super::{budget::Budget, unicode::Map};
use crate::extract::Unreadable;

/// Width of a glyph that the font says nothing of, in ems.
const USUAL: f32 = 0.5;

/// A font, as far as text needs it.
pub(super) struct Font {
    /// Codes have two bytes.
    wide: bool,
    to_unicode: Map,
    /// Characters of codes of one byte.
    simple: Vec<Box<str>>,
    /// Codes of two bytes are UTF-16 themselves.
    utf_16: bool,
    /// In ems.
    widths: HashMap<u32, f32>,
    default_width: f32,
}

/// What one code shows.
pub(super) struct Glyph<'a> {
    pub(super) text: Cow<'a, str>,
    /// In ems.
    pub(super) width: f32,
    /// Whether word spacing applies to it.
    pub(super) is_space: bool,
}

impl Font {
    /// Reads a font. What is broken of it is left out.
    pub(super) fn read(
        document: &Document,
        font: &Dictionary,
        budget: &mut Budget,
    ) -> Result<Self, Unreadable> {
        let name = |key: &[u8]| font.get_deref(key, document).and_then(Object::as_name).unwrap_or_default();
        let wide = name(b"Subtype") == b"Type0";
        let to_unicode = match font.get_deref(b"ToUnicode", document).and_then(Object::as_stream) {
            Ok(stream) => Map::parse(&budget.inflate(stream)?, budget)?,
            Err(_) => Map::default(),
        };
        let encoding = String::from_utf8_lossy(name(b"Encoding"));
        let mut read = Self {
            wide,
            to_unicode,
            simple: if wide { Vec::new() } else { simple(document, font) },
            utf_16: wide && (encoding.contains("UTF16") || encoding.contains("UCS2")),
            widths: HashMap::new(),
            default_width: USUAL,
        };
        if wide {
            read.wide_widths(document, font, budget)?;
        } else {
            read.simple_widths(document, font);
        }
        Ok(read)
    }

    /// What a string shows, glyph by glyph.
    pub(super) fn glyphs<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Glyph<'a>> {
        text.chunks(if self.wide { 2 } else { 1 }).map(|bytes| {
            let code = bytes.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
            let width = self.widths.get(&code).copied().unwrap_or(self.default_width);
            Glyph { text: self.text(bytes.len(), code), width, is_space: !self.wide && code == 32 }
        })
    }

    fn text(&self, length: usize, code: u32) -> Cow<'_, str> {
        if let Some(text) = self.to_unicode.get(length, code) {
            return Cow::Borrowed(text);
        }
        if self.utf_16 {
            return char::from_u32(code).map(String::from).unwrap_or_default().into();
        }
        let simple = usize::try_from(code).ok().and_then(|code| self.simple.get(code));
        simple.map(AsRef::as_ref).unwrap_or_default().into()
    }

    fn simple_widths(&mut self, document: &Document, font: &Dictionary) {
        let first = font.get_deref(b"FirstChar", document).and_then(Object::as_i64).unwrap_or(0);
        let Ok(widths) = font.get_deref(b"Widths", document).and_then(Object::as_array) else { return };
        for (code, width) in (u32::try_from(first).unwrap_or(0)..=255).zip(widths) {
            if let Some(width) = width_of(document, width) {
                self.widths.insert(code, width);
            }
        }
    }

    /// `code [width width …]` and `first last width`, in any order.
    fn wide_widths(
        &mut self,
        document: &Document,
        font: &Dictionary,
        budget: &mut Budget,
    ) -> Result<(), Unreadable> {
        let descendants = font.get_deref(b"DescendantFonts", document).and_then(Object::as_array);
        let first = descendants.ok().and_then(|fonts| fonts.first());
        let found = first.and_then(|font| document.dereference(font).ok()?.1.as_dict().ok());
        let Some(font) = found else { return Ok(()) };
        self.default_width = font.get(b"DW").ok().and_then(|width| width_of(document, width)).unwrap_or(1.0);
        let Ok(widths) = font.get_deref(b"W", document).and_then(Object::as_array) else { return Ok(()) };
        let mut rest = widths.as_slice();
        while let [first, second, tail @ ..] = rest {
            let Some(first) = code_of(document, first) else { break };
            match document.dereference(second).map(|(_, second)| second) {
                Ok(Object::Array(list)) => {
                    budget.values(list.len())?;
                    let widths = (first..=0xffff).zip(list);
                    self.widths
                        .extend(widths.filter_map(|(code, width)| Some((code, width_of(document, width)?))));
                    rest = tail;
                }
                _ => {
                    let [width, tail @ ..] = tail else { break };
                    let (Some(last), Some(width)) = (code_of(document, second), width_of(document, width))
                    else {
                        break;
                    };
                    budget.values(last.saturating_sub(first) as usize + 1)?;
                    self.widths.extend((first..=last).map(|code| (code, width)));
                    rest = tail;
                }
            }
        }
        Ok(())
    }
}

fn code_of(document: &Document, object: &Object) -> Option<u32> {
    let code = document.dereference(object).ok()?.1.as_i64().ok()?;
    u32::try_from(code).ok().filter(|code| *code <= 0xffff)
}

/// Thousandths as ems. A width that cannot be is none.
fn width_of(document: &Document, object: &Object) -> Option<f32> {
    let width = document.dereference(object).ok()?.1.as_float().ok()?;
    (0.0..=10_000.0).contains(&width).then_some(width / 1000.0)
}

/// The characters of codes of one byte, by the font's encoding and what differs from it.
fn simple(document: &Document, font: &Dictionary) -> Vec<Box<str>> {
    let encoding = font.get_deref(b"Encoding", document);
    let (base, differences) = match encoding {
        Ok(Object::Name(name)) => (Some(name.as_slice()), None),
        Ok(Object::Dictionary(found)) => (
            found.get_deref(b"BaseEncoding", document).and_then(Object::as_name).ok(),
            found.get_deref(b"Differences", document).and_then(Object::as_array).ok(),
        ),
        _ => (None, None),
    };
    let mut table = table(base);
    let mut code = 0_usize;
    for difference in differences.into_iter().flatten() {
        match difference {
            Object::Integer(number) => code = usize::try_from(*number).unwrap_or(usize::MAX),
            Object::Name(name) => {
                if let Some(place) = table.get_mut(code) {
                    *place = glyph(name);
                }
                code = code.saturating_add(1);
            }
            _ => {}
        }
    }
    table
}

fn table(base: Option<&[u8]>) -> Vec<Box<str>> {
    let name = match base {
        Some(b"MacRomanEncoding") => "MacRomanEncoding",
        Some(b"StandardEncoding") => "StandardEncoding",
        // What a font has within is not looked at; most have this.
        _ => "WinAnsiEncoding",
    };
    let font = encoded(Object::Name(name.as_bytes().to_vec()));
    (0..=255).map(|code| character(&font, code)).collect()
}

/// The characters of a glyph's name: of the list of Adobe, or `uni` and its number.
fn glyph(name: &[u8]) -> Box<str> {
    let by_number = std::str::from_utf8(name).ok().and_then(|name| {
        let digits = name.strip_prefix("uni").or_else(|| name.strip_prefix('u'))?;
        char::from_u32(u32::from_str_radix(digits.get(..digits.len().min(6))?, 16).ok()?)
    });
    if let Some(character) = by_number.filter(|_| name.len() >= 5) {
        return character.to_string().into();
    }
    // The list can be asked for a font's encoding only. Code 0 is nothing where the name is not known.
    let mut differences = Dictionary::new();
    differences.set("Differences", vec![Object::Integer(0), Object::Name(name.to_vec())]);
    character(&encoded(Object::Dictionary(differences)), 0)
}

fn encoded(encoding: Object) -> Dictionary {
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", encoding);
    font
}

fn character(font: &Dictionary, code: u8) -> Box<str> {
    let document = Document::new();
    let encoding = font.get_font_encoding(&document);
    let text = encoding.and_then(|encoding: Encoding<'_>| Document::decode_text(&encoding, &[code]));
    text.unwrap_or_default().into()
}
