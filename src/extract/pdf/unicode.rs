//! Which characters a font's codes stand for, as its `ToUnicode` map says.

use std::collections::HashMap;

use lopdf::{Object, content::Content};

use super::budget::Budget;
use crate::extract::Unreadable;

/// Characters by the number of bytes of their code, one or two, and the code.
#[derive(Default)]
pub(super) struct Map {
    characters: HashMap<(usize, u32), Box<str>>,
}

impl Map {
    /// Reads a map. It is a program in PostScript, but looks like a page: operands before operators.
    pub(super) fn parse(program: &[u8], budget: &mut Budget) -> Result<Self, Unreadable> {
        let mut map = Self::default();
        for operation in Content::decode_iter(program) {
            let Ok(operation) = operation else { break };
            budget.time()?;
            match operation.operator.as_str() {
                "endbfchar" => {
                    for [code, text] in operation.operands.as_chunks().0 {
                        map.single(code, text, budget)?;
                    }
                }
                "endbfrange" => {
                    for [first, last, text] in operation.operands.as_chunks().0 {
                        map.range(first, last, text, budget)?;
                    }
                }
                _ => {}
            }
        }
        Ok(map)
    }

    pub(super) fn get(&self, length: usize, code: u32) -> Option<&str> {
        self.characters.get(&(length, code)).map(AsRef::as_ref)
    }

    fn single(&mut self, code: &Object, text: &Object, budget: &mut Budget) -> Result<(), Unreadable> {
        if let (Some((length, code)), Ok(text)) = (number(code), text.as_str()) {
            self.put(length, code, utf_16(text, 0), budget)?;
        }
        Ok(())
    }

    fn range(
        &mut self,
        first: &Object,
        last: &Object,
        text: &Object,
        budget: &mut Budget,
    ) -> Result<(), Unreadable> {
        let (Some((length, first)), Some((_, last))) = (number(first), number(last)) else { return Ok(()) };
        for (i, code) in (first..=last).enumerate() {
            let text = match text {
                Object::Array(texts) => match texts.get(i).map(Object::as_str) {
                    Some(Ok(text)) => utf_16(text, 0),
                    _ => break,
                },
                Object::String(text, _) => utf_16(text, i),
                _ => break,
            };
            self.put(length, code, text, budget)?;
        }
        Ok(())
    }

    fn put(&mut self, length: usize, code: u32, text: String, budget: &mut Budget) -> Result<(), Unreadable> {
        budget.values(1 + text.len() / 64)?;
        self.characters.insert((length, code), text.into());
        Ok(())
    }
}

/// A code of one or two bytes; there are no others in fonts that can be read here.
fn number(code: &Object) -> Option<(usize, u32)> {
    match code.as_str().ok()? {
        [code] => Some((1, u32::from(*code))),
        [high, low] => Some((2, u32::from(u16::from_be_bytes([*high, *low])))),
        _ => None,
    }
}

/// A text, the last unit of which is so many further on.
fn utf_16(text: &[u8], further: usize) -> String {
    let mut units: Vec<u16> = text.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    if let ([single], []) = (text, units.as_slice()) {
        units.push(u16::from(*single));
    }
    if let (Some(last), Ok(further)) = (units.last_mut(), u16::try_from(further)) {
        *last = last.wrapping_add(further);
    }
    String::from_utf16_lossy(&units)
}
