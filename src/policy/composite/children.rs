//! Which children were asked in one query, and the filters of those that count.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::AnswerFilter;
use crate::{domain::References, error::Refusal};

/// A group of children, and a child in it.
pub(super) type Place = (usize, usize);

/// What came of a `pre_hook`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has not returned, or it failed.
    Pending,
    Admitted,
    Refused,
}

/// The children that were asked, in order. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Asked(pub(super) Arc<Mutex<Vec<(Place, Verdict)>>>);

impl Asked {
    pub(super) fn note(&self, place: Place, verdict: Verdict) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.last_mut().filter(|(last, _)| *last == place) {
            Some((_, noted)) => *noted = verdict,
            None => asked.push((place, verdict)),
        }
    }

    /// The children of a group that were asked, in order; from now on they were not.
    pub(super) fn take(&self, group: usize) -> Vec<Place> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.extract_if(.., |((of, _), _)| *of == group).map(|(place, _)| place).collect()
    }

    fn admitted(&self, place: Place) -> bool {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.contains(&(place, Verdict::Admitted))
    }
}

/// The filters of the children that admitted the query; of all, where all must.
pub(super) struct Chosen {
    pub(super) asked: Asked,
    pub(super) always: bool,
    pub(super) filters: Vec<(Place, Box<dyn AnswerFilter>)>,
}

impl Chosen {
    fn filters(&mut self) -> impl Iterator<Item = &mut Box<dyn AnswerFilter>> {
        let (asked, always) = (&self.asked, self.always);
        let chosen = self.filters.iter_mut().filter(move |(place, _)| always || asked.admitted(*place));
        chosen.map(|(_, filter)| filter)
    }
}

impl AnswerFilter for Chosen {
    fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        self.filters().try_for_each(|filter| filter.references(references))
    }

    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        self.filters().try_fold(text, |text, filter| filter.delta(text))
    }

    fn finish(&mut self) -> Result<String, Refusal> {
        self.filters().try_fold(String::new(), |before, filter| {
            let mut text = if before.is_empty() { before } else { filter.delta(before)? };
            text.push_str(&filter.finish()?);
            Ok(text)
        })
    }
}
