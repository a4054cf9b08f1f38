//! The statements of a table. Names are quoted, values are parameters; a language has been checked to be
//! one word.

use std::fmt::Write;

use super::config::{Config, Measure, TextSearch};

/// Reciprocal rank fusion counts ranks from here on, so that the first does not outweigh all.
pub(super) const RRF: u32 = 60;

/// What pgvector looks at by default; also how many of each list are fused.
const CANDIDATES: usize = 40;
const MOST_CANDIDATES: usize = 1000;

/// A table's searches. Their parameters: the vector, the limit, the filter if there is one, the text.
pub(super) struct Statements {
    table: String,
    id: String,
    content: String,
    embedding: String,
    metadata: String,
    operator: &'static str,
    /// Begins with `AND`, or is empty.
    filter: String,
    /// The text's parameter, the documents' words, and the question's.
    words: Option<(String, String)>,
}

impl Statements {
    pub(super) fn new(config: &Config) -> Self {
        let column = |name: &str| format!("t.{}", quoted(name));
        let table = quoted(&config.table);
        let schema = config.schema.as_ref().map(|schema| format!("{}.", quoted(schema))).unwrap_or_default();
        let filter = match (&config.filter, &config.metadata_column) {
            (Some(_), Some(metadata)) => format!("AND {}::jsonb @> $3::text::jsonb", column(metadata)),
            _ => String::new(),
        };
        let text = if filter.is_empty() { "$3" } else { "$4" };
        Self {
            table: format!("{schema}{table} AS t"),
            id: column(&config.id_column),
            content: column(&config.content_column),
            embedding: column(&config.embedding_column),
            metadata: metadata(config),
            operator: match config.distance {
                Measure::Cosine => "<=>",
                Measure::InnerProduct => "<#>",
                Measure::L2 => "<->",
            },
            filter,
            words: config.text_search.as_ref().map(|search| words(search, &config.content_column, text)),
        }
    }

    /// The search, by words too if they are to be looked for.
    pub(super) fn search(&self, by_words: bool, with_metadata: bool) -> String {
        match &self.words {
            Some(words) if by_words => self.fused(words, with_metadata),
            _ => self.near(with_metadata),
        }
    }

    fn near(&self, with_metadata: bool) -> String {
        let Self { table, embedding, filter, .. } = self;
        let (columns, distance) = (self.columns(with_metadata), self.distance());
        format!(
            "SELECT {columns} FROM {table} WHERE {embedding} IS NOT NULL {filter} ORDER BY {distance} LIMIT $2"
        )
    }

    /// The nearest and those with the words, each list as long as the other, by the sum of their
    /// reciprocal ranks.
    fn fused(&self, (document, question): &(String, String), with_metadata: bool) -> String {
        let Self { table, id, embedding, filter, .. } = self;
        let (columns, distance) = (self.columns(with_metadata), self.distance());
        let most = format!("GREATEST($2, {CANDIDATES})");
        format!(
            "WITH near AS (SELECT id, row_number() OVER (ORDER BY distance, id) AS place FROM \
             (SELECT {id} AS id, {distance} AS distance FROM {table} WHERE {embedding} IS NOT NULL {filter} \
             ORDER BY {distance} LIMIT {most}) AS n), \
             words AS (SELECT id, row_number() OVER (ORDER BY rank DESC, id) AS place FROM \
             (SELECT {id} AS id, ts_rank_cd({document}, question) AS rank FROM {table}, {question} AS question \
             WHERE {document} @@ question {filter} ORDER BY rank DESC, {id} LIMIT {most}) AS w) \
             SELECT {columns}, f.fused, f.by_words FROM (SELECT id, \
             (coalesce(1.0 / ({RRF} + near.place), 0) + coalesce(1.0 / ({RRF} + words.place), 0))::float8 AS fused, \
             words.place IS NOT NULL AS by_words FROM near FULL JOIN words USING (id)) AS f \
             JOIN {table} ON {id} = f.id ORDER BY f.fused DESC, {id} LIMIT $2"
        )
    }

    fn columns(&self, with_metadata: bool) -> String {
        let Self { id, content, metadata, .. } = self;
        let metadata = if with_metadata { metadata } else { "NULL" };
        let distance = self.distance();
        format!(
            "{id}::text AS id, {content}::text AS content, ({metadata})::text AS metadata, \
             ({distance})::float8 AS distance"
        )
    }

    fn distance(&self) -> String {
        format!("{} {} $1::text::vector", self.embedding, self.operator)
    }
}

/// The beginning of a search's transaction, with its settings, in one message.
pub(super) fn begin(config: &Config, limit: usize) -> String {
    let candidates = config.ef_search.unwrap_or(CANDIDATES).max(limit).min(MOST_CANDIDATES);
    format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL hnsw.ef_search = {candidates}",
        config.timeout_ms
    )
}

/// A vector as pgvector reads it.
pub(super) fn vector(numbers: &[f32]) -> String {
    let mut written = String::with_capacity(numbers.len() * 12 + 2);
    written.push('[');
    for (i, number) in numbers.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing into a string does not fail.
        let _ = write!(written, "{comma}{number}");
    }
    written.push(']');
    written
}

fn metadata(config: &Config) -> String {
    let object = match &config.metadata_column {
        Some(name) => format!("coalesce(t.{}::jsonb, '{{}}'::jsonb)", quoted(name)),
        None => "'{}'::jsonb".to_owned(),
    };
    if config.metadata_columns.is_empty() {
        return object;
    }
    let columns: Vec<_> = config.metadata_columns.iter().map(|name| format!("t.{}", quoted(name))).collect();
    format!("{object} || (SELECT to_jsonb(m) FROM (SELECT {}) AS m)", columns.join(", "))
}

/// The words of a document, and of the question in the parameter `text`.
fn words(search: &TextSearch, content: &str, text: &str) -> (String, String) {
    let language = format!("'{}'::regconfig", search.language);
    let document = match &search.column {
        Some(column) => format!("t.{}", quoted(column)),
        // As in the index that the owner was told to make.
        None => format!("to_tsvector({language}, t.{})", quoted(content)),
    };
    (document, format!("websearch_to_tsquery({language}, {text}::text)"))
}

/// A name that is nothing else, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        assert_eq!(quoted(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
        assert_eq!(vector(&[1.0, -0.5, 1e-9]), "[1,-0.5,0.000000001]");
    }
}
