//! BM25 over live rows.
//!
//! tantivy's own scores count deleted documents until a merge removes them, so two replicas that
//! merged at different times would disagree. Here every number comes from documents that are alive.

use std::collections::BTreeSet;

use tantivy::{
    DocAddress, DocSet, Searcher, SegmentReader, TERMINATED, Term,
    fieldnorm::FieldNormReader,
    postings::Postings,
    schema::{Field, IndexRecordOption},
};

use crate::domain::SearchOptions;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// A searcher, and what BM25 needs to know of all of it.
pub(super) struct Statistics {
    searcher: Searcher,
    documents: f64,
    average_length: f64,
}

/// A document that was found.
pub(super) struct Hit {
    pub(super) address: DocAddress,
    pub(super) similarity: f64,
}

/// Occurrences of one word: `(segment, document, frequency)`, alive ones only.
type Occurrences = Vec<(u32, u32, u32)>;

impl Statistics {
    /// Counts once per commit, not once per search.
    pub(super) fn of(searcher: &Searcher, content: Field) -> tantivy::Result<Self> {
        let (mut documents, mut length) = (0_u64, 0_u64);
        for segment in searcher.segment_readers() {
            let lengths = segment.get_fieldnorms_reader(content)?;
            for document in segment.doc_ids_alive() {
                documents += 1;
                length += u64::from(lengths.fieldnorm(document));
            }
        }
        let average_length = if documents == 0 { 1.0 } else { (length as f64 / documents as f64).max(1.0) };
        Ok(Self { searcher: searcher.clone(), documents: documents as f64, average_length })
    }

    pub(super) fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    fn idf(&self, occurrences: &Occurrences) -> f64 {
        let n = occurrences.len() as f64;
        (1.0 + (self.documents - n + 0.5) / (n + 0.5)).ln()
    }
}

/// The best `limit` documents at or above the threshold, in no order. Of documents that tie at the end,
/// each segment gives those with the first ids, so there may be up to `limit` a segment.
pub(super) fn search(
    statistics: &Statistics,
    content: Field,
    words: Vec<String>,
    options: SearchOptions,
) -> tantivy::Result<Vec<Hit>> {
    let segments = statistics.searcher.segment_readers();
    let lengths = segments.iter().map(|s| s.get_fieldnorms_reader(content)).collect::<Result<Vec<_>, _>>()?;
    let mut scores: Vec<Vec<f64>> = segments.iter().map(|s| vec![0.0; s.max_doc() as usize]).collect();
    let mut weight = 0.0;
    // In the order of the words, so that the sums come out alike everywhere.
    for word in words.into_iter().collect::<BTreeSet<_>>() {
        let occurrences = occurrences(segments, &Term::from_field_text(content, &word))?;
        if occurrences.is_empty() {
            continue;
        }
        let idf = statistics.idf(&occurrences);
        weight += idf;
        for (segment, document, frequency) in occurrences {
            let length = length(&lengths[segment as usize], document);
            scores[segment as usize][document as usize] += idf * saturation(frequency, length, statistics);
        }
    }
    let mut hits = select(&scores, weight, options);
    cut_ties(segments, &mut hits, options.limit)?;
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

/// With x the score as a share of the weight that could be matched, similarity is x / (x + 0.5): a
/// document that matches half of the weight has 0.5.
fn select(scores: &[Vec<f64>], weight: f64, options: SearchOptions) -> Vec<Hit> {
    if weight <= 0.0 {
        return Vec::new();
    }
    let mut hits = Vec::new();
    for (segment, scores) in (0_u32..).zip(scores) {
        for (document, score) in (0_u32..).zip(scores).filter(|(_, score)| **score > 0.0) {
            let x = score / weight;
            let similarity = (x / (x + 0.5)).clamp(0.0, 1.0);
            if similarity >= options.similarity_threshold {
                hits.push(Hit { address: DocAddress::new(segment, document), similarity });
            }
        }
    }
    if hits.len() > options.limit {
        let descending = |a: &Hit, b: &Hit| b.similarity.total_cmp(&a.similarity);
        let (_, last, _) = hits.select_nth_unstable_by(options.limit - 1, descending);
        let least = last.similarity;
        hits.retain(|hit| hit.similarity >= least);
    }
    hits
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
