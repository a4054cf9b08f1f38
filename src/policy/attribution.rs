//! `attribution`: an answer names its sources.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, json};

use super::{AnswerFilter, Outcome, Phase, Policy, Turn};
use crate::{
    domain::{PolicyEntry, Reference, References, schema::TypeSpec},
    error::{Error, Refusal},
};

const NAME: &str = "attribution";
const ICON: &str = "📚";
const DESCRIPTION: &str = "Adds a numbered list of the references to the end of the answer: by title, or \
    by document id where there is none. It is part of the text, because SyftHub and its clients read nothing else.";

/// Characters of one source.
const MAX_TITLE: usize = 200;

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[]).publishing(&["max_sources"])
}

/// How the list looks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The line above the list.
    #[serde(default = "sources")]
    #[schemars(length(min = 1, max = 200))]
    heading: String,
    /// The field of a document's metadata that holds its title.
    #[serde(default = "title")]
    #[schemars(length(min = 1, max = 100))]
    title_field: String,
    /// Sources in the list at most, most similar first.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    max_sources: usize,
}

/// All `attribution` policies of one endpoint: each adds its list.
pub(super) struct Attribution {
    configs: Vec<Arc<Config>>,
}

/// How many sources were named in this query.
#[derive(Clone, Default)]
struct Named(Arc<AtomicUsize>);

struct Citations {
    config: Arc<Config>,
    sources: Vec<String>,
    named: Named,
}

impl Attribution {
    pub(super) fn new(configs: Vec<Config>) -> Self {
        Self { configs: configs.into_iter().map(Arc::new).collect() }
    }
}

#[async_trait]
impl Policy for Attribution {
    fn policy_type(&self) -> &'static str {
        NAME
    }

    /// Behind what filters: it names what has left, as it has left.
    fn phase(&self) -> Phase {
        Phase::Addition
    }

    async fn pre_hook(&self, _turn: &mut Turn) -> Result<(), Error> {
        Ok(())
    }

    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        let named = turn.note::<Named>().0.load(Ordering::Relaxed);
        if *outcome == Outcome::Completed {
            turn.entries.push(PolicyEntry {
                policy_type: NAME,
                kind: "transform",
                status: if named > 0 { "applied" } else { "skipped" },
                reason_code: None,
                reason: None,
                cost: None,
                transaction: None,
                details: Map::from_iter([("sources".to_owned(), json!(named))]),
            });
        }
        Ok(())
    }

    fn answer_filter(&self, turn: &mut Turn) -> Option<Box<dyn AnswerFilter>> {
        let named = turn.note::<Named>();
        let citations = self.configs.iter().map(|config| -> Box<dyn AnswerFilter> {
            Box::new(Citations { config: Arc::clone(config), sources: Vec::new(), named: named.clone() })
        });
        Some(Box::new(super::Filters::new(citations.collect())))
    }
}

impl AnswerFilter for Citations {
    fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        let documents = references.documents.iter().take(self.config.max_sources);
        self.sources = documents.map(|document| source(document, &self.config.title_field)).collect();
        // A document that was found in several parts is one source.
        let mut seen = std::collections::HashSet::new();
        self.sources.retain(|source| seen.insert(source.clone()));
        Ok(())
    }

    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        Ok(text)
    }

    fn finish(&mut self) -> Result<String, Refusal> {
        if self.sources.is_empty() {
            return Ok(String::new());
        }
        self.named.0.fetch_add(self.sources.len(), Ordering::Relaxed);
        let mut list = format!("\n\n{}", self.config.heading);
        for (i, source) in self.sources.iter().enumerate() {
            list.push_str(&format!("\n[{}] {source}", i + 1));
        }
        Ok(list)
    }
}

/// One line.
fn source(document: &Reference, title_field: &str) -> String {
    let field =
        |name: &str| document.metadata.as_ref()?.get(name)?.as_str().filter(|title| !title.is_empty());
    let title = field(title_field).or_else(|| field("document_title")).unwrap_or(&document.document_id);
    let line = title.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_TITLE).collect()
}

fn sources() -> String {
    "Sources:".to_owned()
}

fn title() -> String {
    "title".to_owned()
}

fn ten() -> usize {
    10
}
