//! Documents that read like text to an index: words as frequent as in a language, from a fixed seed.

use syft_endpoints::proto::{Document, IngestDocumentsRequest};

/// The most frequent words: a real language's, so that they are stop words here too.
const FREQUENT: [&str; 24] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
    "are", "or", "at", "from", "this", "an", "which", "but",
];
const SYLLABLES: [&str; 40] = [
    "ba", "bo", "da", "do", "du", "fa", "fi", "ga", "go", "ka", "ko", "ku", "la", "li", "lo", "lu", "ma",
    "mi", "mo", "mu", "na", "ni", "no", "nu", "pa", "po", "ra", "ri", "ro", "ru", "sa", "si", "so", "ta",
    "ti", "to", "tu", "va", "vo", "zu",
];
const WORDS: usize = 20_000;
/// How much rarer the next word is: the n-th word's frequency is n to minus this.
const STEEPNESS: f64 = 1.05;
/// Documents of one message.
const TOGETHER: usize = 100;
/// Words that occur in nearly every document are in nobody's question.
const ASKED_FROM: f64 = 50.0;

/// Writes documents and questions.
pub struct Writer {
    words: Vec<String>,
    /// Share of the text that is the n-th word or a more frequent one.
    cumulative: Vec<f64>,
    state: u64,
    /// The number of the first document of the next ingestion.
    first: usize,
}

impl Writer {
    pub fn new(seed: u64) -> Self {
        let words: Vec<String> = (0..WORDS).map(word).collect();
        let mut sum = 0.0;
        let cumulative = (1..=WORDS).map(|rank| {
            sum += (rank as f64).powf(-STEEPNESS);
            sum
        });
        let cumulative: Vec<f64> = cumulative.collect();
        let cumulative = cumulative.iter().map(|share| share / sum).collect();
        Self { words, cumulative, state: seed | 1, first: 0 }
    }

    /// From now on documents are numbered from here: what has been ingested is not replaced.
    pub fn go_on_at(&mut self, first: usize) {
        self.first = first;
    }

    /// Messages that ingest so many documents, of 80 to 120 words each.
    pub fn ingestion(&mut self, dataset: &str, count: usize) -> Vec<IngestDocumentsRequest> {
        let numbers: Vec<usize> = (self.first..self.first + count).collect();
        let messages = numbers.chunks(TOGETHER).map(|numbers| {
            let documents = numbers.iter().map(|number| Document {
                id: format!("document-{number}"),
                content: self.text(),
                metadata: None,
            });
            IngestDocumentsRequest { dataset: dataset.to_owned(), documents: documents.collect() }
        });
        messages.collect()
    }

    /// Three words, frequent and rare ones.
    pub fn question(&mut self) -> String {
        let span = (WORDS as f64 / ASKED_FROM).ln();
        let words: Vec<&str> = (0..3)
            .map(|_| (ASKED_FROM * (self.next() * span).exp()) as usize)
            .map(|rank| rank.min(WORDS - 1))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|rank| self.words[rank].as_str())
            .collect();
        words.join(" ")
    }

    /// 80 to 120 words.
    pub fn text(&mut self) -> String {
        let length = 80 + (self.next() * 41.0) as usize;
        let mut text = String::with_capacity(length * 7);
        for _ in 0..length {
            let share = self.next();
            let rank = self.cumulative.partition_point(|below| *below < share).min(WORDS - 1);
            text.push_str(&self.words[rank]);
            text.push(' ');
        }
        text
    }

    /// From 0 to 1, by xorshift.
    fn next(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The `rank`-th most frequent word.
fn word(rank: usize) -> String {
    if let Some(word) = FREQUENT.get(rank) {
        return (*word).to_owned();
    }
    let (mut rest, mut word) = (rank, String::new());
    // Two syllables at least: shorter ones are real words.
    while rest > 0 || word.len() < 4 {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
    }
    word
}
