//! BM25 over live rows, and beside it the cosine of vectors.
//!
//! tantivy's own scores count deleted documents until a merge removes them, so two replicas that
//! merged at different times would disagree. Here every number comes from documents that are alive.
//!
//! Every document is scored by both, so the best by their sum are found whatever place they have in each.

use std::{collections::BTreeSet, sync::Arc};

use tantivy::{
    DocAddress, DocSet, Searcher, SegmentReader, TERMINATED, Term,
    fieldnorm::FieldNormReader,
    postings::Postings,
    schema::{Field, IndexRecordOption},
};

use super::matrix::Matrix;
use crate::{
    dataset::similarity::{self, Distance},
    domain::SearchOptions,
};

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// A searcher, what BM25 needs to know of all of it, and its vectors.
pub(super) struct Statistics {
    searcher: Searcher,
    documents: f64,
    average_length: f64,
    /// One for each segment; none at all where nothing is embedded.
    matrices: Vec<Arc<Matrix>>,
}

/// What is looked for.
pub(super) struct Sought<'a> {
    pub(super) words: &'a BTreeSet<String>,
    /// The question's vector, and how much of a similarity it makes up.
    pub(super) meaning: Option<(&'a [f32], f64)>,
}

/// A document that was found.
pub(super) struct Hit {
    pub(super) address: DocAddress,
    pub(super) similarity: f64,
}

/// What BM25 gives each document of each segment, and the length of the question, as a vector of its words' weights.
struct Scores {
    segments: Vec<Vec<f64>>,
    length: f64,
}

/// Occurrences of one word: `(segment, document, frequency)`, alive ones only.
type Occurrences = Vec<(u32, u32, u32)>;

impl Statistics {
    /// Counts once per commit, not once per search. Vectors of segments that are in `before` too are not read again.
    pub(super) fn of(
        searcher: &Searcher,
        content: Field,
        embedding: Option<Field>,
        before: Option<&Self>,
    ) -> tantivy::Result<Self> {
        let (mut documents, mut length) = (0_u64, 0_u64);
        for segment in searcher.segment_readers() {
            let lengths = segment.get_fieldnorms_reader(content)?;
            for document in segment.doc_ids_alive() {
                documents += 1;
                length += u64::from(lengths.fieldnorm(document));
            }
        }
        let average_length = if documents == 0 { 1.0 } else { (length as f64 / documents as f64).max(1.0) };
        let mut matrices = Vec::new();
        for segment in searcher.segment_readers() {
            let Some(embedding) = embedding else { break };
            let known = before.and_then(|before| before.matrix(segment));
            matrices.push(known.map_or_else(|| Matrix::read(segment, embedding).map(Arc::new), Ok)?);
        }
        Ok(Self { searcher: searcher.clone(), documents: documents as f64, average_length, matrices })
    }

    fn matrix(&self, segment: &SegmentReader) -> Option<Arc<Matrix>> {
        let mut known = self.searcher.segment_readers().iter().zip(&self.matrices);
        known
            // Vectors of another length may have been deleted since.
            .find(|(known, matrix)| known.segment_id() == segment.segment_id() && !matrix.is_mixed())
            .map(|(_, matrix)| Arc::clone(matrix))
    }

    /// Whether all vectors can be compared with one of this length.
    pub(super) fn fits(&self, dimensions: usize) -> bool {
        self.matrices.iter().all(|matrix| matrix.fits(dimensions))
    }

    /// Documents that need a vector.
    pub(super) fn unknown(&self) -> impl Iterator<Item = DocAddress> + '_ {
        let segments = (0_u32..).zip(self.searcher.segment_readers().iter().zip(&self.matrices));
        segments.flat_map(|(ordinal, (segment, matrix))| {
            let alive = matrix.unknown().filter(|document| !segment.is_deleted(*document));
            alive.map(move |document| DocAddress::new(ordinal, document))
        })
    }

    pub(super) fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    fn idf(&self, occurrences: &Occurrences) -> f64 {
        let n = occurrences.len() as f64;
        (1.0 + (self.documents - n + 0.5) / (n + 0.5)).ln()
    }
}

impl Scores {
    fn of(statistics: &Statistics, content: Field, words: &BTreeSet<String>) -> tantivy::Result<Self> {
        let segments = statistics.searcher.segment_readers();
        let lengths =
            segments.iter().map(|s| s.get_fieldnorms_reader(content)).collect::<Result<Vec<_>, _>>()?;
        let mut scores: Vec<Vec<f64>> = segments.iter().map(|s| vec![0.0; s.max_doc() as usize]).collect();
        let mut squares = 0.0_f64;
        // In the order of the words, so that the sums come out alike everywhere.
        for word in words {
            let occurrences = occurrences(segments, &Term::from_field_text(content, word))?;
            if occurrences.is_empty() {
                continue;
            }
            let idf = statistics.idf(&occurrences);
            squares += idf * idf;
            for (segment, document, frequency) in occurrences {
                let length = length(&lengths[segment as usize], document);
                scores[segment as usize][document as usize] +=
                    idf * saturation(frequency, length, statistics);
            }
        }
        Ok(Self { segments: scores, length: squares.sqrt() })
    }

    /// With x the score in lengths of the question, similarity is x / (x + 0.5). Of n words that weigh alike, a document
    /// that has m of them comes to x = m / √n: of a short question half must be there for a similarity of 0.5, of
    /// a sentence, many of whose words stand in no answer, a smaller share.
    fn similarity(&self, score: f64) -> f64 {
        if score <= 0.0 || self.length <= 0.0 {
            return 0.0;
        }
        similarity::of_score(score / self.length, 0.5)
    }
}

/// The best `limit` documents at or above the threshold, in no order. Of documents that tie at the end,
/// each segment gives those with the first ids, so there may be up to `limit` a segment.
pub(super) fn search(
    statistics: &Statistics,
    content: Field,
    sought: &Sought<'_>,
    options: SearchOptions,
) -> tantivy::Result<Vec<Hit>> {
    let scores = Scores::of(statistics, content, sought.words)?;
    let mut hits = select(statistics, &scores, sought, options);
    cut_ties(statistics.searcher.segment_readers(), &mut hits, options.limit)?;
    Ok(hits)
}

fn occurrences(segments: &[SegmentReader], term: &Term) -> tantivy::Result<Occurrences> {
    let mut found = Vec::new();
    for (segment, reader) in (0_u32..).zip(segments) {
        let inverted = reader.inverted_index(term.field())?;
        let Some(mut postings) = inverted.read_postings(term, IndexRecordOption::WithFreqs)? else {
            continue;
        };
        let mut document = postings.doc();
        while document != TERMINATED {
            if !reader.is_deleted(document) {
                found.push((segment, document, postings.term_freq()));
            }
            document = postings.advance();
        }
    }
    Ok(found)
}

fn length(lengths: &FieldNormReader, document: u32) -> f64 {
    f64::from(lengths.fieldnorm(document))
}

/// 1 for one occurrence in a document of average length, and never above K1 + 1.
fn saturation(frequency: u32, length: f64, statistics: &Statistics) -> f64 {
    let frequency = f64::from(frequency);
    frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / statistics.average_length))
}

/// The weighted mean of both similarities: it lies between them, so what is above a threshold in both is
/// kept, and what is below it in both is not. A document without a vector has the similarity of its words.
fn fused(words: f64, cosine: Option<f32>, weight: f64) -> f64 {
    let Some(cosine) = cosine else { return words };
    weight * Distance::Cosine.similarity(1.0 - f64::from(cosine)) + (1.0 - weight) * words
}

fn select(statistics: &Statistics, scores: &Scores, sought: &Sought<'_>, options: SearchOptions) -> Vec<Hit> {
    let mut hits = Vec::new();
    let segments = statistics.searcher.segment_readers().iter().zip(&scores.segments);
    for (ordinal, (segment, scores_here)) in (0_u32..).zip(segments) {
        let matrix = statistics.matrices.get(ordinal as usize);
        let (cosines, weight) = sought
            .meaning
            .zip(matrix)
            .map_or((None, 0.0), |((question, weight), matrix)| (Some(matrix.cosines(question)), weight));
        for (document, score) in (0_u32..).zip(scores_here) {
            if *score <= 0.0 && cosines.is_none() {
                continue;
            }
            let cosine = cosines.as_ref().and_then(|cosines| cosines.of(document));
            let similarity = fused(scores.similarity(*score), cosine, weight);
            let found = similarity > 0.0 && similarity >= options.similarity_threshold;
            if found && !segment.is_deleted(document) {
                hits.push(Hit { address: DocAddress::new(ordinal, document), similarity });
            }
        }
    }
    cut(&mut hits, options.limit);
    hits
}

/// Keeps the best, and what ties with the last of them.
fn cut(hits: &mut Vec<Hit>, limit: usize) {
    if hits.len() > limit {
        let descending = |a: &Hit, b: &Hit| b.similarity.total_cmp(&a.similarity);
        let (_, last, _) = hits.select_nth_unstable_by(limit - 1, descending);
        let least = last.similarity;
        hits.retain(|hit| hit.similarity >= least);
    }
}

/// Thousands of documents can tie, and reading them all only to sort them by id would cost more than the
/// search. Within a segment the ordinals of ids are in the order of the ids.
fn cut_ties(segments: &[SegmentReader], hits: &mut Vec<Hit>, limit: usize) -> tantivy::Result<()> {
    if hits.len() <= limit {
        return Ok(());
    }
    let least = hits.iter().map(|hit| hit.similarity).fold(f64::INFINITY, f64::min);
    let (mut kept, ties): (Vec<Hit>, Vec<Hit>) =
        std::mem::take(hits).into_iter().partition(|hit| hit.similarity > least);
    for (ordinal, segment) in (0_u32..).zip(segments) {
        let ids = segment.fast_fields().str("id")?;
        let id = |hit: &Hit| ids.as_ref().and_then(|ids| ids.term_ords(hit.address.doc_id).next());
        let mut here: Vec<(Option<u64>, DocAddress)> = ties
            .iter()
            .filter(|hit| hit.address.segment_ord == ordinal)
            .map(|hit| (id(hit), hit.address))
            .collect();
        here.sort_unstable();
        let first = here.into_iter().take(limit).map(|(_, address)| Hit { address, similarity: least });
        kept.extend(first);
    }
    *hits = kept;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fused;

    proptest! {
        /// What is above a threshold in both is kept, what is below it in both is not.
        #[test]
        fn a_fused_similarity_lies_between_both(words in 0.0..1.0_f64, cosine in -1.0..1.0_f32, weight in 0.0..1.0_f64) {
            let meaning = (1.0 + f64::from(cosine)) / 2.0;
            let both = fused(words, Some(cosine), weight);
            let (least, most) = (words.min(meaning), words.max(meaning));
            prop_assert!(least - 1e-12 <= both && both <= most + 1e-12, "{least} {both} {most}");
            prop_assert!(fused(words, Some(cosine), weight) <= fused(words + 0.1, Some(cosine), weight));
            prop_assert_eq!(fused(words, None, weight), words);
        }
    }

    #[test]
    fn no_word_in_common_takes_a_cosine_of_a_quarter_and_half_of_the_words_takes_none() {
        assert!((fused(0.0, Some(0.25), 0.8) - 0.5).abs() < 1e-12);
        assert!((fused(0.5, Some(0.0), 0.8) - 0.5).abs() < 1e-12);
    }
}
