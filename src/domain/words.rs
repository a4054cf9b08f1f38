//! The words of a text, as search compares them: lower-cased, without accents, stop words and endings.

use serde::{Deserialize, Serialize};
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as Stems, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer,
    StopWordFilter, TextAnalyzer,
};

/// The language whose stop words and endings are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    English,
    Danish,
    Dutch,
    Finnish,
    French,
    German,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Russian,
    Spanish,
    Swedish,
    /// Nothing is removed.
    None,
}

impl Language {
    /// Turns texts into words.
    pub fn analyzer(self) -> TextAnalyzer {
        let words = TextAnalyzer::builder(SimpleTokenizer::default())
            .filter(RemoveLongFilter::limit(100))
            .filter(LowerCaser)
            .dynamic();
        let Some(stems) = self.stems() else { return words.filter_dynamic(AsciiFoldingFilter).build() };
        let words = match StopWordFilter::new(stems) {
            Some(stop_words) => words.filter_dynamic(stop_words),
            None => words,
        };
        words.filter_dynamic(Stemmer::new(stems)).filter_dynamic(AsciiFoldingFilter).build()
    }

    /// The name, as in configurations.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn stems(self) -> Option<Stems> {
        Some(match self {
            Self::None => return None,
            Self::English => Stems::English,
            Self::Danish => Stems::Danish,
            Self::Dutch => Stems::Dutch,
            Self::Finnish => Stems::Finnish,
            Self::French => Stems::French,
            Self::German => Stems::German,
            Self::Hungarian => Stems::Hungarian,
            Self::Italian => Stems::Italian,
            Self::Norwegian => Stems::Norwegian,
            Self::Portuguese => Stems::Portuguese,
            Self::Russian => Stems::Russian,
            Self::Spanish => Stems::Spanish,
            Self::Swedish => Stems::Swedish,
        })
    }
}

/// The words of `text`, in order.
pub fn words(analyzer: &mut TextAnalyzer, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut tokens = analyzer.token_stream(text);
    tokens.process(&mut |token| words.push(token.text.clone()));
    words
}
