//! What stands for a language model: texts with the same words are alike.

/// Numbers of a vector.
pub use crate::support::embedder::DIMENSIONS;

/// The vector of a text, as the embedding endpoint of the tests has it.
pub fn vector(text: &str) -> Vec<f64> {
    crate::support::embedder::vector(text, DIMENSIONS).into_iter().map(f64::from).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn words(text: &str) -> Vec<String> {
    let split = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    split.map(str::to_lowercase).collect()
}

/// What words of a question stand in a text, by how seldom they are: a score without an upper end.
pub fn bm25(question: &str, text: &str, all: &[&str]) -> f64 {
    let (has, question) = (|text: &str, word: &String| words(text).contains(word), words(question));
    let weight = |word: &String| {
        let found = all.iter().filter(|text| has(text, word)).count();
        #[expect(clippy::cast_precision_loss, reason = "a few documents")]
        let (all, found) = (all.len() as f64, found as f64);
        (1.0 + (all - found + 0.5) / (found + 0.5)).ln()
    };
    question.iter().filter(|word| has(text, word)).map(weight).sum()
}
