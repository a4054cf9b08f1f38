//! The words of a text, as search compares them: lower-cased, without accents, stop words and endings.

use serde::{Deserialize, Serialize};
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as Stems, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer,
    StopWordFilter, TextAnalyzer,
};

/// English stop words: Snowball's, as tantivy has them for all other languages; its own list for English is Lucene's 33 words, which leaves
/// `how`, `what`, `do` and `my` of a question in. Contractions are as the tokenizer cuts them.
pub const STOP_WORDS: &str = "i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself \
    she her hers herself it its itself they them their theirs themselves what which who whom this that these those \
    am is are was were be been being have has had having do does did doing will would shall should can could may \
    might must ought cannot a an the and but if or because as until while of at by for with about against between \
    into through during before after above below to from up down in out on off over under again further then once \
    here there when where why how all any both each few more most other some such no nor not only own same so than \
    too very s t ll re ve don doesn didn isn aren wasn weren hasn haven hadn wouldn shouldn couldn mustn";

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
        let stop_words = match stems {
            Stems::English => Some(StopWordFilter::remove(STOP_WORDS.split_whitespace().map(str::to_owned))),
            stems => StopWordFilter::new(stems),
        };
        let words = match stop_words {
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
