//! `prompt_filter`: words and patterns that may not come in, or not go out.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::content::{
    self, ContentFilter, Detector, Detectors, MAX_AUTOMATA, Mode, Place, Rule, Source, TOO_LARGE, compiled,
};
use crate::{
    domain::{Configuration, rules::violation, schema, schema::TypeSpec},
    error::{Cause, Rule as Broken, Violation},
};

pub(super) const NAME: &str = "prompt_filter";
const ICON: &str = "🧹";
const DESCRIPTION: &str = "Blocks queries, or replaces text, by regular expressions and word lists: in the \
    question, in the references and in the answer. An answer that may be blocked is held back until its end; one \
    in which text is replaced still streams.";

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[]).publishing(&["mode", "apply_to"]).checking(check)
}

/// What to look for, where, and what to do with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Regular expressions in the syntax of the Rust crate `regex`. None may match the empty text, and a
    /// word boundary is written `(?-u:\b)`. Compiled, all of them may have 4 MiB, and all of an endpoint's policies 16 MiB. What one matches from any place on counts, so matches may
    /// overlap. Of a match of more than 8192 bytes in a streamed answer only the last 8192 are replaced.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 1000)))]
    patterns: Vec<String>,
    /// Words and phrases.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 100)))]
    words: Vec<String>,
    /// Whether upper and lower case differ.
    #[serde(default)]
    case_sensitive: bool,
    /// Whether a word counts only where no letter or digit stands right before or after it.
    #[serde(default = "yes")]
    whole_words: bool,
    /// `block` refuses the query; `redact` replaces what was found.
    #[serde(default = "block")]
    mode: Mode,
    /// Where to look.
    #[serde(default = "content::everywhere")]
    #[schemars(length(min = 1, max = 3))]
    apply_to: Vec<Place>,
    /// What stands in the place of what was found. After 1 MiB of it in one query, nothing does.
    #[serde(default = "content::redacted")]
    #[schemars(length(min = 1, max = 100))]
    replacement: String,
}

/// All `prompt_filter` policies of one endpoint.
///
/// # Errors
/// When one cannot be compiled.
pub(super) fn filter(configs: Vec<Config>) -> Result<ContentFilter, Cause> {
    let rules = configs.into_iter().map(|config| {
        let detectors = config.detectors().map_err(|(field, problem)| format!("{field} {problem}"))?;
        Ok(Rule {
            detectors: Arc::new(Detectors::new(detectors)),
            mode: config.mode,
            places: config.apply_to,
            replacement: config.replacement.into(),
        })
    });
    Ok(ContentFilter::new(NAME, rules.collect::<Result<_, Cause>>()?))
}

/// Bytes of all automata of one configuration; of one that cannot be compiled, none.
pub(super) fn automata(configuration: &Configuration) -> usize {
    let Ok(config) = schema::read::<Config>(configuration) else { return 0 };
    config.detectors().map_or(0, |detectors| detectors.iter().map(|detector| detector.size()).sum())
}

/// What the schema cannot say.
fn check(configuration: &Configuration) -> Vec<Violation> {
    let Ok(config) = schema::read::<Config>(configuration) else { return Vec::new() };
    let problem = config.detectors().err();
    problem.map(|(field, problem)| violation(field, Broken::Pattern, problem)).into_iter().collect()
}

impl Config {
    fn detectors(&self) -> Result<Vec<Arc<Detector>>, (String, &'static str)> {
        let ignore_case = !self.case_sensitive;
        let (mut detectors, mut room) = (Vec::new(), MAX_AUTOMATA);
        let mut add = |field: &dyn Fn() -> String, source| {
            let made = compiled(source).map_err(|problem| (field(), problem))?;
            room = room.checked_sub(made.size()).ok_or_else(|| (field(), TOO_LARGE))?;
            detectors.push(made);
            Ok(())
        };
        for (i, pattern) in self.patterns.iter().enumerate() {
            let source = Source::Regex { pattern: pattern.clone(), ignore_case };
            add(&|| format!("configuration.patterns.{i}"), source)?;
        }
        if !self.words.is_empty() {
            let (words, whole) = (self.words.clone(), self.whole_words);
            add(&|| "configuration.words".to_owned(), Source::Words { words, ignore_case, whole })?;
        }
        Ok(detectors)
    }
}

fn yes() -> bool {
    true
}

fn block() -> Mode {
    Mode::Block
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::check;

    #[test]
    fn all_patterns_together_are_bounded() {
        let fields = |patterns: usize| {
            let pattern = r"\w+@\w+\.\w+";
            let configuration = json!({"patterns": vec![pattern; patterns]});
            let broken = check(configuration.as_object().unwrap());
            broken.into_iter().map(|broken| broken.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(2), Vec::<String>::new());
        let [field] = fields(100).try_into().unwrap();
        assert!(field.starts_with("configuration.patterns."), "{field}");
    }
}
