//! Filters of a configuration: Qdrant's own, as far as they are about a document's payload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What documents must keep to be found.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// All of these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    must: Vec<Condition>,
    /// At least one of these holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    should: Vec<Condition>,
    /// None of these holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    must_not: Vec<Condition>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Condition {
    Match(MatchCondition),
    Range(RangeCondition),
    IsEmpty(IsEmptyCondition),
    IsNull(IsNullCondition),
}

/// The payload's value at `key` is one of these.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MatchCondition {
    #[schemars(length(min = 1, max = 512))]
    key: String,
    r#match: Match,
}

/// The payload's value at `key` lies between bounds.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RangeCondition {
    #[schemars(length(min = 1, max = 512))]
    key: String,
    range: Range,
}

/// The payload has no value there, or an empty list.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IsEmptyCondition {
    is_empty: Key,
}

/// The payload's value there is null.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IsNullCondition {
    is_null: Key,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Key {
    #[schemars(length(min = 1, max = 512))]
    key: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Match {
    /// This value.
    Value(Scalar),
    /// One of these.
    Any(Vec<Scalar>),
    /// None of these.
    Except(Vec<Scalar>),
    /// The words of this text, by the payload's full-text index.
    Text(String),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Scalar {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

/// Numbers, or moments in RFC 3339.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Range {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gt: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gte: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lt: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lte: Option<Bound>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Bound {
    Number(f64),
    Moment(String),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn filters_leave_as_they_were_written() {
        let filter = json!({
            "must": [
                {"key": "a", "match": {"value": "x\"}"}}, {"key": "b.c", "match": {"any": [1, true, "y"]}},
                {"key": "n", "range": {"gte": 1.5, "lt": 3.0}}, {"key": "t", "range": {"gt": "2024-01-01T00:00:00Z"}},
            ],
            "should": [{"is_empty": {"key": "e"}}, {"is_null": {"key": "f"}}],
            "must_not": [{"key": "a", "match": {"except": ["z"]}}, {"key": "a", "match": {"text": "some words"}}],
        });
        let read: Filter = serde_json::from_value(filter.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), filter);
    }

    #[test]
    fn nothing_else_passes() {
        let must = |condition: Value| json!({ "must": [condition] });
        for filter in [
            json!({"min_should": {}}),
            must(json!({"has_id": [1]})),
            must(json!({"key": "a", "match": {"value": {"x": 1}}})),
            must(json!({"key": "a", "match": {"value": "x"}, "range": {"gt": 1}})),
            must(json!({"key": "a", "match": {"value": "x", "any": []}})),
            must(json!({"key": "a", "range": {"above": 1}})),
            must(json!({"nested": {"key": "a", "filter": {}}})),
        ] {
            assert!(serde_json::from_value::<Filter>(filter.clone()).is_err(), "{filter}");
        }
    }
}
