//! Filters over content: what `prompt_filter` and `pii_filter` have in common.

mod compiled;
mod detector;
mod scanner;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) use compiled::{Source, aside, compiled};
pub(super) use detector::{Detector, Detectors, MAX_AUTOMATA, TOO_LARGE, Valid};
use scanner::{Room, Scanner};

use super::{AnswerFilter, Filters, Outcome, Phase, Policy, Turn};
use crate::{
    domain::{HIGHLIGHTS, PolicyEntry, Reference, References},
    error::{Error, Refusal},
};

/// Bytes of an answer that are held back at most, for a match that may still come.
const LONGEST: usize = 8 << 10;

/// Bytes of replacements in one query, for each type.
const MAX_REPLACED: usize = 1 << 20;

/// What is done with what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// The query is refused.
    Block,
    /// It is replaced.
    Redact,
}

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// Every message of the question, before the search and the model see it.
    Question,
    /// The ids and texts of documents that were found, and the names, texts and numbers in their metadata.
    References,
    /// What the model says.
    Answer,
}

/// One configuration, compiled.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) detectors: Arc<Detectors>,
    pub(super) mode: Mode,
    pub(super) places: Vec<Place>,
    pub(super) replacement: Arc<str>,
}

/// All filters of one type on one endpoint. Each works on what the one before has left.
pub(super) struct ContentFilter {
    policy_type: &'static str,
    rules: Vec<Rule>,
}

/// How often something was replaced in this query, and how much room there is for more.
#[derive(Clone)]
struct Replaced {
    count: Arc<AtomicUsize>,
    room: Room,
}

impl Default for Replaced {
    fn default() -> Self {
        Self { count: Arc::default(), room: Room::new(MAX_REPLACED) }
    }
}

impl ContentFilter {
    pub(super) fn new(policy_type: &'static str, rules: Vec<Rule>) -> Self {
        Self { policy_type, rules }
    }

    fn rules_on(&self, place: Place) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.places.contains(&place))
    }

    fn question(&self, turn: &mut Turn, replaced: &Replaced) -> Result<(), Refusal> {
        for rule in self.rules_on(Place::Question) {
            let mut judged = Ok(());
            let query = Arc::make_mut(&mut turn.query);
            query.rewrite(|text| {
                if judged.is_ok() {
                    judged = rule.pass(text, || refusal(self.policy_type, "question"), replaced);
                }
            });
            judged?;
        }
        Ok(())
    }
}

#[async_trait]
impl Policy for ContentFilter {
    fn policy_type(&self) -> &'static str {
        self.policy_type
    }

    fn phase(&self) -> Phase {
        Phase::Content
    }

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        let replaced = turn.note::<Replaced>();
        Ok(self.question(turn, &replaced)?)
    }

    /// Says whether anything was replaced, when anything could be.
    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        let replaced = turn.note::<Replaced>().count.load(Ordering::Relaxed);
        if *outcome == Outcome::Completed && self.rules.iter().any(|rule| rule.mode == Mode::Redact) {
            turn.entries.push(PolicyEntry {
                policy_type: self.policy_type,
                kind: "transform",
                status: if replaced > 0 { "applied" } else { "skipped" },
                reason_code: None,
                reason: None,
                cost: None,
                transaction: None,
                details: Map::from_iter([("replacements".to_owned(), json!(replaced))]),
            });
        }
        Ok(())
    }

    fn answer_filter(&self, turn: &mut Turn) -> Option<Box<dyn AnswerFilter>> {
        let replaced = turn.note::<Replaced>();
        let filter = |rule: &Rule| -> Box<dyn AnswerFilter> {
            let answer = rule.places.contains(&Place::Answer).then(|| rule.scanner(&replaced, LONGEST));
            let (policy_type, replaced) = (self.policy_type, replaced.clone());
            Box::new(RuleFilter { policy_type, rule: rule.clone(), answer, replaced })
        };
        let leaving = |rule: &&Rule| rule.places.iter().any(|place| *place != Place::Question);
        let filters: Vec<_> = self.rules.iter().filter(leaving).map(filter).collect();
        (!filters.is_empty()).then(|| Box::new(Filters::new(filters)) as Box<dyn AnswerFilter>)
    }

    /// An answer that may be refused must not have left.
    fn withholds_answer(&self, _turn: &Turn) -> bool {
        self.rules_on(Place::Answer).any(|rule| rule.mode == Mode::Block)
    }
}

impl Rule {
    fn scanner(&self, replaced: &Replaced, longest: usize) -> Scanner {
        let replacement = (Arc::clone(&self.replacement), replaced.room.clone());
        Scanner::new(Arc::clone(&self.detectors), replacement, longest)
    }

    /// Passes a whole text, or replaces what is found in it.
    fn pass(
        &self,
        text: &mut String,
        refusal: impl FnOnce() -> Refusal,
        replaced: &Replaced,
    ) -> Result<(), Refusal> {
        let mut scanner = self.scanner(replaced, usize::MAX);
        let mut passed = scanner.push(text);
        passed.push_str(&scanner.finish());
        match (scanner.replacements(), self.mode) {
            (0, _) => Ok(()),
            (_, Mode::Block) => Err(refusal()),
            (count, Mode::Redact) => {
                *text = passed;
                replaced.add(count);
                Ok(())
            }
        }
    }
}

impl Replaced {
    fn add(&self, count: usize) {
        self.count.fetch_add(count, Ordering::Relaxed);
    }
}

/// One rule over one answer.
struct RuleFilter {
    policy_type: &'static str,
    rule: Rule,
    /// `None` when it leaves the answer alone.
    answer: Option<Scanner>,
    replaced: Replaced,
}

impl RuleFilter {
    fn value(&self, value: &mut Value) -> Result<(), Refusal> {
        match value {
            Value::String(text) => self.reference(text),
            Value::Array(values) => values.iter_mut().try_for_each(|value| self.value(value)),
            Value::Object(fields) => self.object(fields),
            Value::Number(number) => {
                let written = number.to_string();
                let mut text = written.clone();
                self.reference(&mut text)?;
                if text != written {
                    *value = Value::String(text);
                }
                Ok(())
            }
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    /// Names are texts too. Of two that have become the same, the second gets a number.
    fn object(&self, fields: &mut Map<String, Value>) -> Result<(), Refusal> {
        fields.values_mut().try_for_each(|value| self.value(value))?;
        let names = fields.keys().map(|name| {
            let mut passed = name.clone();
            self.reference(&mut passed).map(|()| passed)
        });
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if names.iter().eq(fields.keys()) {
            return Ok(());
        }
        let mut renamed = Map::with_capacity(fields.len());
        for (name, value) in names.into_iter().zip(std::mem::take(fields).into_iter().map(|(_, value)| value))
        {
            let mut free = name.clone();
            for n in 2.. {
                if !renamed.contains_key(&free) {
                    break;
                }
                free = format!("{name} {n}");
            }
            renamed.insert(free, value);
        }
        *fields = renamed;
        Ok(())
    }

    /// What says where words stood in the text says so of no other.
    fn content(&self, document: &mut Reference) -> Result<(), Refusal> {
        let is_marked = document.metadata.as_ref().is_some_and(|metadata| metadata.contains_key(HIGHLIGHTS));
        let before = is_marked.then(|| document.content.clone());
        self.reference(&mut document.content)?;
        if let (Some(before), Some(metadata)) = (before, &mut document.metadata)
            && before != document.content
        {
            metadata.remove(HIGHLIGHTS);
        }
        Ok(())
    }

    fn reference(&self, text: &mut String) -> Result<(), Refusal> {
        self.rule.pass(text, || refusal(self.policy_type, "references"), &self.replaced)
    }
}

impl AnswerFilter for RuleFilter {
    fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        if !self.rule.places.contains(&Place::References) {
            return Ok(());
        }
        for document in &mut references.documents {
            self.reference(&mut document.document_id)?;
            self.content(document)?;
            document.metadata.iter_mut().try_for_each(|metadata| self.object(metadata))?;
        }
        Ok(())
    }

    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        let Some(scanner) = &mut self.answer else { return Ok(text) };
        let passed = scanner.push(&text);
        match self.rule.mode {
            Mode::Redact => Ok(passed),
            Mode::Block if scanner.has_found() => Err(refusal(self.policy_type, "answer")),
            Mode::Block => Ok(text),
        }
    }

    fn finish(&mut self) -> Result<String, Refusal> {
        let Some(scanner) = &mut self.answer else { return Ok(String::new()) };
        let rest = scanner.finish();
        match self.rule.mode {
            Mode::Redact => {
                self.replaced.add(scanner.replacements());
                Ok(rest)
            }
            Mode::Block if scanner.has_found() => Err(refusal(self.policy_type, "answer")),
            Mode::Block => Ok(String::new()),
        }
    }
}

/// What was found is the owner's business.
fn refusal(policy_type: &'static str, place: &str) -> Refusal {
    Refusal {
        policy_type,
        kind: "transform",
        code: "CONTENT_BLOCKED",
        message: format!("The {place} cannot be passed on: it holds content that this endpoint blocks"),
        retry_after: None,
        details: Map::from_iter([("place".to_owned(), json!(place))]),
    }
}

pub(super) fn everywhere() -> Vec<Place> {
    vec![Place::Question, Place::References, Place::Answer]
}

pub(super) fn redacted() -> String {
    "[REDACTED]".to_owned()
}

/// A text in pieces with `#` for what is found.
#[cfg(test)]
pub(super) fn strike<'a>(detectors: &Arc<Detectors>, pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut scanner = Scanner::new(Arc::clone(detectors), ("#".into(), Room::new(MAX_REPLACED)), LONGEST);
    let mut out: String = pieces.into_iter().map(|piece| scanner.push(piece)).collect();
    out.push_str(&scanner.finish());
    out
}
