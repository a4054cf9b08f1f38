//! Filters over what leaves, streaming.

use crate::{domain::References, error::Refusal};

/// Changes or refuses an answer on its way out. Text comes in pieces as the model makes them; a filter
/// may hold text back until it has seen enough, and gives the rest in `finish`.
pub trait AnswerFilter: Send {
    /// Sees the references before they are sent, and before the model does.
    ///
    /// # Errors
    /// A refusal ends the query.
    fn references(&mut self, _references: &mut References) -> Result<(), Refusal> {
        Ok(())
    }

    /// Takes the next piece and returns what may leave now.
    ///
    /// # Errors
    /// A refusal ends the query.
    fn delta(&mut self, text: String) -> Result<String, Refusal>;

    /// Returns what was held back, once the model has finished.
    ///
    /// # Errors
    /// A refusal ends the query.
    fn finish(&mut self) -> Result<String, Refusal> {
        Ok(String::new())
    }
}

/// Filters in a row: each sees what the one before lets through.
#[derive(Default)]
pub struct Filters {
    filters: Vec<Box<dyn AnswerFilter>>,
}

impl Filters {
    pub fn new(filters: Vec<Box<dyn AnswerFilter>>) -> Self {
        Self { filters }
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Passes references through every filter.
    ///
    /// # Errors
    /// The first refusal.
    pub fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        self.filters.iter_mut().try_for_each(|filter| filter.references(references))
    }

    /// Passes a piece through every filter.
    ///
    /// # Errors
    /// The first refusal.
    pub fn delta(&mut self, text: String) -> Result<String, Refusal> {
        self.filters.iter_mut().try_fold(text, |text, filter| filter.delta(text))
    }

    /// Ends every filter; what one held back still passes those after it.
    ///
    /// # Errors
    /// The first refusal.
    pub fn finish(&mut self) -> Result<String, Refusal> {
        self.filters.iter_mut().try_fold(String::new(), |before, filter| {
            let mut text = if before.is_empty() { before } else { filter.delta(before)? };
            text.push_str(&filter.finish()?);
            Ok(text)
        })
    }
}

impl AnswerFilter for Filters {
    fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        Self::references(self, references)
    }

    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        Self::delta(self, text)
    }

    fn finish(&mut self) -> Result<String, Refusal> {
        Self::finish(self)
    }
}
