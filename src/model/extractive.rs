//! `extractive`: answers with the sentences of the references that match the question best. No
//! network, no weights; the same question and references give the same answer.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{About, ChatEvent, ChatRequest, ChatStream, Model};
use crate::{
    domain::{
        Completion, FinishReason, Health, References, Usage,
        words::{Language, words},
    },
    error::UpstreamError,
};

pub(super) const NAME: &str = "extractive";
pub(super) const ICON: &str = "📝";
pub(super) const DESCRIPTION: &str = "Answers with the sentences of the references that match the question best, \
    each followed by its [document_id]. Runs inside the service.";

/// Said when no sentence shares a word with the question.
const NOTHING_FITS: &str = "The references do not answer this question.";

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// How many sentences an answer has at most.
    #[schemars(range(min = 1, max = 20))]
    sentences: usize,
    /// The language of question and references.
    language: Language,
}

impl Default for Config {
    fn default() -> Self {
        Self { sentences: 3, language: Language::English }
    }
}

pub(super) struct Extractive {
    config: Config,
}

struct Sentence<'a> {
    text: String,
    document_id: &'a str,
    words: BTreeSet<String>,
}

impl Extractive {
    pub(super) fn new(config: Config) -> Self {
        Self { config }
    }

    /// The best sentences, best first, as text. Words that few sentences have weigh more.
    fn answer(&self, question: &str, references: &References) -> String {
        let mut analyzer = self.config.language.analyzer();
        let asked: BTreeSet<String> = words(&mut analyzer, question).into_iter().collect();
        let mut sentences = Vec::new();
        for document in &references.documents {
            for text in sentences_of(&document.content) {
                let words = words(&mut analyzer, &text).into_iter().collect();
                sentences.push(Sentence { text, document_id: &document.document_id, words });
            }
        }
        let weights = weights(&asked, &sentences);
        let mut ranked: Vec<(f64, usize)> = sentences
            .iter()
            .enumerate()
            .map(|(i, sentence)| (score(sentence, &weights), i))
            .filter(|(score, _)| *score > 0.0)
            .collect();
        // Ties in the order of the references, which come most similar first.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut seen = BTreeSet::new();
        let best = ranked
            .into_iter()
            .map(|(_, i)| &sentences[i])
            .filter(|sentence| seen.insert(sentence.text.as_str()));
        let cited = best.take(self.config.sentences).map(|s| format!("{} [{}]", s.text, s.document_id));
        cited.collect::<Vec<_>>().join(" ")
    }
}

#[async_trait]
impl Model for Extractive {
    /// Streams the answer word by word. Reading megabytes of references takes a while, so that happens
    /// off the runtime's workers.
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        let (config, references, question) = (self.config.clone(), request.references, request.question);
        let read = tokio::task::spawn_blocking(move || {
            references.map(|references| Self { config }.answer(&question, &references))
        });
        let answer = match read.await {
            Ok(answer) => answer,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => return Err(UpstreamError::unavailable("it was stopped").because(ended)),
        };
        let answer = answer.filter(|answer| !answer.is_empty()).unwrap_or_else(|| NOTHING_FITS.to_owned());
        let (answer, finish_reason) = cut(&answer, request.options.max_tokens);
        let read: usize = request.messages.iter().map(|message| message.content.chars().count()).sum();
        let completion = Completion {
            id: String::new(),
            model: NAME.to_owned(),
            finish_reason,
            usage: Usage::estimate(read, answer.chars().count()),
        };
        let pieces: Vec<_> =
            answer.split_inclusive(' ').map(|word| ChatEvent::Delta(word.to_owned())).collect();
        let events = pieces.into_iter().chain([ChatEvent::Finished(completion)]);
        Ok(stream::iter(events.map(Ok)).boxed())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    fn about(&self) -> About<'_> {
        About { provider: NAME, model: NAME }
    }
}

/// The first `max_tokens` words, as the nearest thing to tokens here.
fn cut(answer: &str, max_tokens: u32) -> (String, FinishReason) {
    let words: Vec<&str> = answer.split_inclusive(' ').collect();
    let max = usize::try_from(max_tokens).unwrap_or(usize::MAX);
    if words.len() <= max {
        return (answer.to_owned(), FinishReason::Stop);
    }
    (words[..max].concat().trim_end().to_owned(), FinishReason::Length)
}

fn weights(asked: &BTreeSet<String>, sentences: &[Sentence<'_>]) -> HashMap<String, f64> {
    let total = sentences.len() as f64;
    let weight = |word: &String| {
        let having = sentences.iter().filter(|sentence| sentence.words.contains(word)).count() as f64;
        (1.0 + (total - having + 0.5) / (having + 0.5)).ln()
    };
    asked.iter().map(|word| (word.clone(), weight(word))).collect()
}

/// Long sentences match more by chance, so length counts against them, gently.
fn score(sentence: &Sentence<'_>, weights: &HashMap<String, f64>) -> f64 {
    // Summed in the order of the words: the same sum every time.
    let matched: f64 = sentence.words.iter().filter_map(|word| weights.get(word)).sum();
    matched / (sentence.words.len() as f64 + 8.0).sqrt()
}

/// Sentences end at `.`, `!` or `?` before white space, and where a paragraph, a heading or an item of
/// a list ends. A line break alone ends nothing: texts are wrapped.
fn sentences_of(text: &str) -> Vec<String> {
    blocks(text).iter().flat_map(|block| split(block)).map(str::to_owned).collect()
}

/// Paragraphs and items, each on one line. Headings and code are no sentences: they answer nothing.
fn blocks(text: &str) -> Vec<String> {
    let (mut blocks, mut code) = (vec![String::new()], false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            code = !code;
        }
        if code || line.starts_with("```") {
            blocks.push(String::new());
            continue;
        }
        let item = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let begins = line.starts_with(['#', '-', '*', '|', '>'])
            || (item.len() < line.len() && item.starts_with(". "));
        let heading = blocks.last().is_some_and(|open| open.starts_with('#'));
        if line.is_empty() || begins || heading {
            blocks.push(String::new());
        }
        if let Some(open) = blocks.last_mut() {
            if !open.is_empty() {
                open.push(' ');
            }
            open.push_str(line);
        }
    }
    blocks.retain(|block| !block.starts_with('#'));
    blocks
}

fn split(block: &str) -> Vec<&str> {
    let (mut sentences, mut start) = (Vec::new(), 0);
    for ((at, c), next) in block.char_indices().zip(block.chars().skip(1)) {
        // `1. item` is no sentence.
        let counts = block[start..at].trim().bytes().all(|byte| byte.is_ascii_digit());
        if matches!(c, '.' | '!' | '?') && next.is_whitespace() && !counts {
            sentences.push(&block[start..=at]);
            start = at + 1;
        }
    }
    sentences.push(&block[start..]);
    let plain = sentences
        .into_iter()
        .map(|sentence| sentence.trim().trim_start_matches(['#', '*', '-', '>', '|', ' ']));
    plain.filter(|sentence| !sentence.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Config, Extractive, sentences_of};
    use crate::domain::{Reference, References};

    fn references(texts: &[(&str, &str)]) -> References {
        let documents = texts.iter().map(|(id, content)| Reference {
            document_id: (*id).to_owned(),
            content: (*content).to_owned(),
            similarity_score: 1.0,
            metadata: None,
        });
        References { documents: documents.collect(), search_engine: "local".to_owned() }
    }

    #[test]
    fn the_best_sentences_are_cited() {
        let model = Extractive::new(Config { sentences: 1, ..Config::default() });
        let found = references(&[
            ("a", "Cats sleep a lot. The copyright term is seventy years."),
            ("b", "Dogs bark."),
        ]);
        assert_eq!(
            model.answer("What are the copyright terms?", &found),
            "The copyright term is seventy years. [a]"
        );
        assert_eq!(model.answer("quantum chromodynamics", &found), "");
    }

    #[test]
    fn sentences_end_at_marks_and_lines() {
        let text = "# Title\n```\ncode. More\n```\nOne 1.5\nof it. Two! Three?\n\n- item é. End\n1. first\n2. second";
        assert_eq!(
            sentences_of(text),
            ["One 1.5 of it.", "Two!", "Three?", "item é.", "End", "1. first", "2. second"]
        );
    }
}
