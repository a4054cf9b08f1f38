//! The vectors of one segment of an index, in memory.
//!
//! A segment never changes but for what is deleted in it, so its matrix is read once, and goes when the
//! segment is merged into another. Nothing is moved or marked here when documents change: which of them
//! are alive is the segment's business.

use tantivy::{
    SegmentReader, TantivyDocument,
    schema::{Field, Value},
};

/// A document that needs a vector.
const UNKNOWN: u32 = u32::MAX;
/// A document that has none: nothing can be made of it.
const NOTHING: u32 = u32::MAX - 1;
/// Numbers that are added up side by side: as many as two registers of AVX hold, or four of SSE.
const LANES: usize = 16;

/// One row for each document that has a vector, of 4 bytes a number.
pub(super) struct Matrix {
    dimensions: usize,
    numbers: Vec<f32>,
    /// The row of each document of the segment.
    rows: Vec<u32>,
    /// Whether vectors of another length were left out.
    mixed: bool,
}

impl Matrix {
    /// Reads the vectors of what is alive.
    pub(super) fn read(segment: &SegmentReader, embedding: Field) -> tantivy::Result<Self> {
        let rows = vec![NOTHING; segment.max_doc() as usize];
        let mut matrix = Self { dimensions: 0, numbers: Vec::new(), rows, mixed: false };
        let store = segment.get_store_reader(1)?;
        let documents = store.iter::<TantivyDocument>(segment.alive_bitset());
        for (document, stored) in segment.doc_ids_alive().zip(documents) {
            let stored = stored?;
            let bytes = stored.get_first(embedding).and_then(|value| value.as_bytes());
            matrix.rows[document as usize] = matrix.add(bytes);
        }
        matrix.numbers.shrink_to_fit();
        Ok(matrix)
    }

    fn add(&mut self, bytes: Option<&[u8]>) -> u32 {
        let Some(bytes) = bytes else { return UNKNOWN };
        let (numbers, _) = bytes.as_chunks();
        if numbers.is_empty() {
            return NOTHING;
        }
        if self.dimensions == 0 {
            self.dimensions = numbers.len();
        }
        if self.dimensions != numbers.len() {
            // Another would have this length too: it is the model that has changed, and the owner who must know.
            self.mixed = true;
            return NOTHING;
        }
        let row = self.numbers.len() / self.dimensions;
        self.numbers.extend(numbers.iter().copied().map(f32::from_le_bytes));
        u32::try_from(row).unwrap_or(UNKNOWN)
    }

    /// Whether it has vectors of two lengths.
    pub(super) fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Whether all its vectors have this length.
    pub(super) fn fits(&self, dimensions: usize) -> bool {
        !self.mixed && (self.dimensions == 0 || self.dimensions == dimensions)
    }

    /// The cosine of each row and a question, of the same length, both of length 1.
    pub(super) fn cosines(&self, question: &[f32]) -> Cosines<'_> {
        let rows = self.numbers.chunks_exact(self.dimensions.max(1));
        Cosines { rows: &self.rows, cosines: rows.map(|row| product(row, question)).collect() }
    }

    /// Documents that need a vector, deleted ones among them.
    pub(super) fn unknown(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.rows).filter(|(_, row)| **row == UNKNOWN).map(|(document, _)| document)
    }
}

/// How alike a question and each document of a segment are.
pub(super) struct Cosines<'a> {
    rows: &'a [u32],
    cosines: Vec<f32>,
}

impl Cosines<'_> {
    /// `None` when the document has no vector.
    pub(super) fn of(&self, document: u32) -> Option<f32> {
        let row = *self.rows.get(document as usize)?;
        self.cosines.get(row as usize).copied()
    }
}

/// The sum of the products. Lanes are independent, so that the compiler can take registers for them, and
/// each is added up in a fixed order without fused steps, so that every machine comes to the same sum.
pub(super) fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::product;

    proptest! {
        #[test]
        fn products_are_what_plain_sums_are(pairs in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 0..100)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let plain: f64 = pairs.iter().map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(product(&a, &b)) - plain).abs() < 1e-4);
        }
    }
}
