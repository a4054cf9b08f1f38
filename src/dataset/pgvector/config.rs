//! The configuration of a `pgvector` dataset.

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{NAME, link};
use crate::{
    dataset::embedding,
    domain::{Configuration, rules::violation, schema, schema::TypeSpec},
    error::{Rule, Violation},
};

const ICON: &str = "🐘";
const DESCRIPTION: &str =
    "A table of yours in any PostgreSQL with pgvector, searched by vectors and, if you want, by words.";

pub(in crate::dataset) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &["url", embedding::SECRET]).checking(check)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dataset) struct Config {
    /// `postgres://user:password@host:5432/database`, with `?sslmode=` `disable`, `prefer`, `require`,
    /// `verify-ca` or `verify-full` if needed. Servers that are told apart by their name, such as Neon's,
    /// need `verify-full`. A role that may only read is enough.
    #[schemars(with = "String", regex(pattern = r"^postgres(ql)?://\S+$"))]
    pub(super) url: SecretString,
    /// The table's schema; without it, the role's search path finds the table.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63))]
    pub(super) schema: Option<String>,
    #[schemars(length(min = 1, max = 63))]
    pub(super) table: String,
    /// The column that tells documents apart.
    #[serde(default = "default_id_column")]
    #[schemars(length(min = 1, max = 63))]
    pub(super) id_column: String,
    #[serde(default = "default_content_column")]
    #[schemars(length(min = 1, max = 63))]
    pub(super) content_column: String,
    /// A column of pgvector's type `vector`.
    #[serde(default = "default_embedding_column")]
    #[schemars(length(min = 1, max = 63))]
    pub(super) embedding_column: String,
    /// A column of type `jsonb` that holds objects, whose fields are the metadata.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63))]
    pub(super) metadata_column: Option<String>,
    /// Columns that are metadata under their own names.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub(super) metadata_columns: Vec<String>,
    /// The distance that the column's index is made for.
    #[serde(default)]
    pub(super) distance: Measure,
    /// How many candidates an HNSW index looks at; more find better and take longer. Never fewer than are
    /// asked for.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) ef_search: Option<usize>,
    /// Only documents whose `metadata_column` contains this are found.
    #[serde(default)]
    pub(super) filter: Option<Map<String, Value>>,
    /// Looks for the question's words too, and fuses both lists by rank.
    #[serde(default)]
    pub(super) text_search: Option<TextSearch>,
    /// Limit of a statement, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    #[schemars(range(min = 100, max = 60000))]
    pub(super) timeout_ms: u64,
    /// Connections at most, from one process of this service.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 50))]
    pub(super) max_connections: u32,
    /// What embeds the question. The same model must have embedded the documents.
    pub(super) embedding: embedding::Config,
}

/// PostgreSQL's full-text search.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TextSearch {
    /// The text search configuration, such as `english` or `simple`.
    #[serde(default = "default_language")]
    #[schemars(regex(pattern = r"^[a-z_][a-z0-9_]{0,62}$"))]
    pub(super) language: String,
    /// A column of type `tsvector`; without it, one is made of the content, for which an index on
    /// `to_tsvector('english', content)` helps.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63))]
    pub(super) column: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measure {
    #[default]
    Cosine,
    InnerProduct,
    L2,
}

impl Config {
    fn names(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let Self { table, id_column, content_column, embedding_column, .. } = self;
        let required = [
            ("table", table),
            ("id_column", id_column),
            ("content_column", content_column),
            ("embedding_column", embedding_column),
        ];
        let column = self.text_search.as_ref().and_then(|search| search.column.as_ref());
        let optional = [
            ("schema", self.schema.as_ref()),
            ("metadata_column", self.metadata_column.as_ref()),
            ("text_search.column", column),
        ];
        let optional = optional.into_iter().filter_map(|(field, name)| Some((field, name?)));
        let listed = self.metadata_columns.iter().map(|name| ("metadata_columns", name));
        required.into_iter().chain(optional).chain(listed)
    }
}

/// PostgreSQL cuts a longer name off, and would read another table.
const LONGEST_NAME: usize = 63;

fn check(configuration: &Configuration) -> Vec<Violation> {
    let Ok(config) = schema::read::<Config>(configuration) else {
        return vec![violation("configuration", Rule::Schema, "cannot be read")];
    };
    let bad = |name: &str| name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control);
    let mut broken: Vec<_> = config
        .names()
        .filter(|(_, name)| bad(name))
        .map(|(field, _)| {
            let message = "must be at most 63 bytes long, without control characters";
            violation(format!("configuration.{field}"), Rule::TooLong(LONGEST_NAME), message)
        })
        .collect();
    if let Err(message) = link::Target::parse(config.url.expose_secret()) {
        broken.push(violation("configuration.url", Rule::Pattern, message));
    }
    if config.filter.is_some() && config.metadata_column.is_none() {
        broken.push(violation("configuration.metadata_column", Rule::Missing, "is what `filter` looks at"));
    }
    broken
}

fn default_id_column() -> String {
    "id".to_owned()
}

fn default_content_column() -> String {
    "content".to_owned()
}

fn default_embedding_column() -> String {
    "embedding".to_owned()
}

fn default_language() -> String {
    "english".to_owned()
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_max_connections() -> u32 {
    5
}
