//! A file to its objects, from its first byte to its last: a later definition replaces an earlier one.
//!
//! The file's own table of contents is not asked. It may be broken, and it may name one place a million
//! times.

use lopdf::{Dictionary, Document, Object, ObjectId, ObjectStream, Stream};
use memchr::memmem;

use super::{
    broken,
    budget::{Budget, count},
};
use crate::extract::Unreadable;

/// Bytes in which the file must say what it is.
const HEADER: usize = 1024;
/// Bytes of a trailer that are looked at.
const TRAILER: usize = 4096;
/// Trailers that are looked at, from the end.
const TRAILERS: usize = 16;

/// Values that an object costs beside its own.
const OBJECT: usize = 4;

/// The objects of a file.
///
/// # Errors
/// It is no PDF, is encrypted, or is beyond the budget.
pub(super) fn load(bytes: &[u8], budget: &mut Budget) -> Result<Document, Unreadable> {
    if memmem::find(&bytes[..bytes.len().min(HEADER)], b"%PDF-").is_none() {
        return Err(broken());
    }
    let mut scan =
        Scan { bytes, budget, document: Document::new(), open: None, skip: 0, trailers: Vec::new() };
    let mut streams = memmem::find_iter(bytes, b"stream").peekable();
    let mut objects = memmem::find_iter(bytes, b"obj").peekable();
    let mut trailers = memmem::find_iter(bytes, b"trailer").peekable();
    // In the order of the file.
    loop {
        let next = [streams.peek(), objects.peek(), trailers.peek()].into_iter().flatten().min().copied();
        let Some(at) = next else { break };
        if streams.next_if_eq(&at).is_some() {
            scan.stream(at)?;
        } else if objects.next_if_eq(&at).is_some() {
            scan.object(at)?;
        } else if trailers.next_if_eq(&at).is_some() && at >= scan.skip {
            scan.trailers.push(at);
        }
    }
    scan.close(bytes.len())?;
    scan.finish()
}

struct Scan<'a> {
    bytes: &'a [u8],
    budget: &'a mut Budget,
    document: Document,
    open: Option<Open>,
    /// Inside a stream, whose end is known: nothing before it means anything.
    skip: usize,
    trailers: Vec<usize>,
}

/// An object that has begun.
struct Open {
    id: ObjectId,
    /// Where its value begins.
    value: usize,
    /// Its dictionary and where its data begin, once these have.
    stream: Option<(Dictionary, usize)>,
}

impl Scan<'_> {
    /// At `obj`: the beginning of an object, or its end.
    fn object(&mut self, at: usize) -> Result<(), Unreadable> {
        if at < self.skip {
            return Ok(());
        }
        if self.bytes[..at].ends_with(b"end") {
            let in_stream = self.open.as_ref().is_some_and(|open| open.stream.is_some());
            return if in_stream { Ok(()) } else { self.close(at - 3) };
        }
        let Some((id, begin)) = header(&self.bytes[..at]) else { return Ok(()) };
        if self.open.as_ref().is_some_and(|open| open.stream.is_some()) {
            return Ok(());
        }
        self.close(begin)?;
        self.open = Some(Open { id, value: at + 3, stream: None });
        Ok(())
    }

    /// At `stream`: the beginning of an object's data, or their end.
    fn stream(&mut self, at: usize) -> Result<(), Unreadable> {
        let Some(open) = self.open.as_mut().filter(|_| at >= self.skip) else { return Ok(()) };
        if self.bytes[..at].ends_with(b"end") {
            return if open.stream.is_some() { self.close(at - 3) } else { Ok(()) };
        }
        let value = &self.bytes[open.value..at];
        if open.stream.is_some() || !value.trim_ascii_end().ends_with(b">>") {
            return Ok(());
        }
        self.budget.values(count(value) + OBJECT)?;
        let Some(Object::Dictionary(dictionary)) = parse(value) else {
            self.open = None;
            return Ok(());
        };
        let data = at + 6 + line_end(&self.bytes[at + 6..]);
        // Data may hold anything, even `endstream`. Their length is believed if they end there.
        let length =
            dictionary.get(b"Length").and_then(Object::as_i64).ok().and_then(|n| usize::try_from(n).ok());
        let end = length.and_then(|length| data.checked_add(length)).filter(|end| {
            let behind = self.bytes.get(*end..(*end + 16).min(self.bytes.len())).unwrap_or_default();
            behind.trim_ascii_start().starts_with(b"endstream")
        });
        self.skip = end.unwrap_or(data);
        open.stream = Some((dictionary, data));
        Ok(())
    }

    /// Ends the object that is open.
    fn close(&mut self, end: usize) -> Result<(), Unreadable> {
        let Some(Open { id, value, stream }) = self.open.take() else { return Ok(()) };
        let Some((dictionary, data)) = stream else {
            return self.keep(id, &self.bytes[value.min(end)..end]);
        };
        let stream = Stream::new(dictionary, self.bytes[data.min(end)..end].to_vec());
        match stream.dict.get_type() {
            Ok(b"XRef") => self.trailer(&stream.dict),
            Ok(b"ObjStm") => self.expand(&stream)?,
            _ if matches!(stream.dict.get(b"Subtype").and_then(Object::as_name), Ok(b"Image")) => {}
            _ => drop(self.document.objects.insert(id, Object::Stream(stream))),
        }
        Ok(())
    }

    /// The objects in a stream of objects. Each ends where the next begins.
    fn expand(&mut self, stream: &Stream) -> Result<(), Unreadable> {
        let number = |key: &[u8]| stream.dict.get(key).and_then(Object::as_i64).ok();
        let Some(first) = number(b"First").and_then(|first| usize::try_from(first).ok()) else {
            return Ok(());
        };
        let bytes = self.budget.inflate(stream)?;
        let Some((index, values)) = bytes.split_at_checked(first) else { return Ok(()) };
        self.budget.values(count(index))?;
        let numbers = index.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty());
        let numbers: Vec<usize> =
            numbers.map_while(|number| std::str::from_utf8(number).ok()?.parse().ok()).collect();
        let mut places: Vec<(usize, usize)> =
            numbers.as_chunks().0.iter().map(|[id, at]| (*at, *id)).collect();
        places.sort_unstable();
        places.dedup_by_key(|(at, _)| *at);
        for (i, (at, id)) in places.iter().enumerate() {
            let end = places.get(i + 1).map_or(values.len(), |(next, _)| *next).min(values.len());
            let (Some(value), Ok(id)) = (values.get(*at..end), u32::try_from(*id)) else { continue };
            self.keep((id, 0), value)?;
        }
        Ok(())
    }

    fn keep(&mut self, id: ObjectId, value: &[u8]) -> Result<(), Unreadable> {
        let count = count(value) + OBJECT;
        self.budget.values(count)?;
        match parse(value) {
            Some(object) if is_text(&object) => drop(self.document.objects.insert(id, object)),
            _ => self.budget.refund(count),
        }
        Ok(())
    }

    fn trailer(&mut self, found: &Dictionary) {
        for key in ["Root", "Encrypt"] {
            if let Ok(value) = found.get(key.as_bytes()) {
                self.document.trailer.set(key, value.clone());
            }
        }
    }

    fn finish(mut self) -> Result<Document, Unreadable> {
        let last = self.trailers.len().saturating_sub(TRAILERS);
        for at in self.trailers.split_off(last) {
            let value = &self.bytes[at + 7..(at + 7 + TRAILER).min(self.bytes.len())];
            if let Some(Object::Dictionary(found)) = parse(value) {
                self.trailer(&found);
            }
        }
        if self.document.trailer.has(b"Encrypt") {
            return Err(Unreadable::new("encrypted: take its password off first"));
        }
        if self.document.catalog().is_err() {
            let is_catalog = |object: &Object| {
                object.as_dict().and_then(Dictionary::get_type).is_ok_and(|name| name == b"Catalog")
            };
            let found = self.document.objects.iter().rev().find(|(_, object)| is_catalog(object));
            let root = found.map(|(id, _)| *id).ok_or_else(broken)?;
            self.document.trailer.set("Root", Object::Reference(root));
        }
        Ok(self.document)
    }
}

/// Whether an object may lead to text. The trees that say how a page is built, and notes on it, do not,
/// and are often most of a file.
fn is_text(object: &Object) -> bool {
    let Ok(dictionary) = object.as_dict() else { return true };
    match dictionary.get_type() {
        Ok(name) => !matches!(name, b"StructElem" | b"Annot" | b"OBJR" | b"MCR"),
        Err(_) => !(dictionary.has(b"Nums") || dictionary.has(b"S") && dictionary.has(b"P")),
    }
}

/// A value. The parser can be had for a stream of objects only, so it gets one of one object.
pub(super) fn parse(value: &[u8]) -> Option<Object> {
    let mut dictionary = Dictionary::new();
    dictionary.set("N", 1);
    dictionary.set("First", 4);
    let stream = Stream::new(dictionary, [b"1 0 ", value].concat());
    ObjectStream::new_with_limit(&stream, Some(usize::MAX)).ok()?.objects.remove(&(1, 0))
}

/// The number and the generation before `obj`, and where they begin.
fn header(before: &[u8]) -> Option<(ObjectId, usize)> {
    let (generation, rest) = last_number(before)?;
    let (number, rest) = last_number(rest)?;
    Some(((u32::try_from(number).ok()?, u16::try_from(generation).ok()?), rest.len()))
}

/// The number at the end of a text, with white space behind it, and what is before it.
fn last_number(text: &[u8]) -> Option<(u64, &[u8])> {
    // More white space, or more digits, and it is none.
    let near = &text[text.len().saturating_sub(24)..];
    let trimmed = near.trim_ascii_end();
    let digits = trimmed.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&trimmed[trimmed.len() - digits..]).ok()?.parse().ok()?;
    Some((number, &text[..text.len() - (near.len() - trimmed.len()) - digits]))
}

/// Bytes of the line's end behind `stream`.
fn line_end(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}
