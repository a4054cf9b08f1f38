//! PDF to the text of its pages.
//!
//! `lopdf` knows the grammar of objects, the filters of streams and the names of glyphs. What it does
//! with a whole file is not bounded: objects that overlap are parsed again and again, and a map of codes to
//! characters is spelled out, of four billion codes if it says so. So the objects are found here, each byte
//! belongs to one of them, and everything that can grow is paid for from a [`Budget`].

mod budget;
mod file;
mod font;
mod layout;
mod page;
mod unicode;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Unreadable;
use budget::Budget;
use page::Reader;

/// Pages at most.
const MAX_PAGES: usize = 20_000;

/// The text of every page, in order. A page may have none, but not all of them.
pub(super) fn pages(bytes: &[u8]) -> Result<Vec<String>, Unreadable> {
    // Parsers of a grammar as old and wide as this one have had panics, and this must not be the end of
    // who has called. Nothing outlives the closure, so nothing can be half done.
    catch_unwind(AssertUnwindSafe(|| read(bytes))).unwrap_or_else(|_| Err(broken()))
}

fn read(bytes: &[u8]) -> Result<Vec<String>, Unreadable> {
    let mut budget = Budget::new();
    let document = file::load(bytes, &mut budget)?;
    let ids: Vec<_> = document.page_iter().take(MAX_PAGES + 1).collect();
    if ids.is_empty() {
        return Err(broken());
    }
    if ids.len() > MAX_PAGES {
        return Err(Unreadable::new("more than 20,000 pages"));
    }
    let mut reader = Reader::new(&document, &mut budget);
    let pages = ids.into_iter().map(|id| reader.page(id)).collect::<Result<Vec<_>, _>>()?;
    if pages.iter().all(|page| page.trim().is_empty()) {
        return Err(Unreadable::new("has no text: pages that were scanned must be recognised first"));
    }
    Ok(pages)
}

fn broken() -> Unreadable {
    Unreadable::new("not a PDF, or broken inside")
}
