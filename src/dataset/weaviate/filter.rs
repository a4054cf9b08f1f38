//! Filters of a configuration, as the Python Space has them, and the `where` that they become.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use time::{
    OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::well_known::Iso8601,
    format_description::well_known::Rfc3339,
};

use super::{class::Class, graphql::Literal};

/// What documents must keep to be found.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Filter {
    Condition(Condition),
    Group(Group<Inner>),
}

/// A condition, or a group of conditions only.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Inner {
    Condition(Condition),
    Group(Group<Innermost>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Innermost {
    Condition(Condition),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Group<T> {
    /// `not` refuses documents that keep all of them.
    op: Join,
    #[schemars(length(min = 1, max = 100))]
    operands: Vec<T>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    #[schemars(regex(pattern = "^[_A-Za-z][_0-9A-Za-z]{0,230}$"))]
    property: String,
    op: Op,
    #[serde(default)]
    value_dtype: Dtype,
    #[serde(default)]
    value: Value,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Join {
    And,
    Or,
    Not,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    Like,
    IsNone,
    ContainsAny,
    ContainsAll,
}

/// The type of a condition's value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    #[default]
    String,
    Numeric,
    Datetime,
    Boolean,
}

/// Why a filter cannot be built.
pub(super) type Broken = &'static str;

impl Filter {
    /// What is wrong with it, whatever collection it is for.
    pub(super) fn check(&self) -> Result<(), Broken> {
        self.conditions().into_iter().try_for_each(|condition| condition.value().map(drop))
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = &str> {
        self.conditions().into_iter().map(|condition| condition.property.as_str())
    }

    /// The `where` of a query to a collection.
    pub(super) fn build(&self, class: &Class) -> Result<Literal, Broken> {
        match self {
            Self::Condition(condition) => condition.build(class),
            Self::Group(group) => group.build(|inner| match inner {
                Inner::Condition(condition) => condition.build(class),
                Inner::Group(group) => group.build(|Innermost::Condition(condition)| condition.build(class)),
            }),
        }
    }

    fn conditions(&self) -> Vec<&Condition> {
        match self {
            Self::Condition(condition) => vec![condition],
            Self::Group(group) => group.operands.iter().flat_map(Inner::conditions).collect(),
        }
    }
}

impl Inner {
    fn conditions(&self) -> Vec<&Condition> {
        match self {
            Self::Condition(condition) => vec![condition],
            Self::Group(group) => {
                group.operands.iter().map(|Innermost::Condition(condition)| condition).collect()
            }
        }
    }
}

impl<T> Group<T> {
    fn build(&self, operand: impl Fn(&T) -> Result<Literal, Broken>) -> Result<Literal, Broken> {
        let operands = self.operands.iter().map(operand).collect::<Result<Vec<_>, _>>()?;
        let joined = |word, operands| {
            Literal::Object(vec![("operator", Literal::Word(word)), ("operands", Literal::List(operands))])
        };
        Ok(match self.op {
            Join::And => joined("And", operands),
            Join::Or => joined("Or", operands),
            Join::Not => joined("Not", vec![joined("And", operands)]),
        })
    }
}

impl Condition {
    fn build(&self, class: &Class) -> Result<Literal, Broken> {
        let value = self.value()?;
        let field = match (self.op, self.dtype()) {
            (Op::IsNone, _) | (_, Dtype::Boolean) => "valueBoolean",
            (_, Dtype::String) => "valueText",
            (_, Dtype::Datetime) => "valueDate",
            (_, Dtype::Numeric) => match class.type_of(&self.property) {
                Some("number") => "valueNumber",
                Some("int") => "valueInt",
                _ if holds_fraction(&value) => "valueNumber",
                _ => "valueInt",
            },
        };
        let path = Literal::List(vec![Literal::Text(self.property.clone())]);
        let operator = Literal::Word(self.op.word());
        Ok(Literal::Object(vec![("path", path), ("operator", operator), (field, value)]))
    }

    fn value(&self) -> Result<Literal, Broken> {
        if !self.op.fits(self.dtype()) {
            return Err("has an `op` that its `value_dtype` does not allow");
        }
        match self.op {
            Op::IsNone => match &self.value {
                Value::Null => Ok(Literal::Boolean(true)),
                value => boolean(value).map(Literal::Boolean),
            },
            Op::ContainsAny | Op::ContainsAll => {
                let elements: Vec<Value> = match &self.value {
                    Value::Array(elements) => elements.clone(),
                    Value::String(text) => text.split(',').map(|part| part.trim().into()).collect(),
                    value => vec![value.clone()],
                };
                let elements =
                    elements.iter().map(|value| self.scalar(value)).collect::<Result<Vec<_>, _>>()?;
                if elements.is_empty() { Err("has no value") } else { Ok(Literal::List(elements)) }
            }
            _ => self.scalar(&self.value),
        }
    }

    fn scalar(&self, value: &Value) -> Result<Literal, Broken> {
        match self.dtype() {
            Dtype::String => text(value).map(Literal::Text),
            Dtype::Numeric => number(value),
            Dtype::Boolean => boolean(value).map(Literal::Boolean),
            Dtype::Datetime => moment(value).map(Literal::Text),
        }
    }

    fn dtype(&self) -> Dtype {
        self.value_dtype
    }
}

impl Op {
    fn fits(self, dtype: Dtype) -> bool {
        match self {
            Self::Eq | Self::Ne | Self::IsNone => true,
            Self::Gt | Self::Gte | Self::Lt | Self::Lte => matches!(dtype, Dtype::Numeric | Dtype::Datetime),
            Self::Like => dtype == Dtype::String,
            Self::ContainsAny | Self::ContainsAll => matches!(dtype, Dtype::String | Dtype::Numeric),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Eq => "Equal",
            Self::Ne => "NotEqual",
            Self::Gt => "GreaterThan",
            Self::Gte => "GreaterThanEqual",
            Self::Lt => "LessThan",
            Self::Lte => "LessThanEqual",
            Self::Like => "Like",
            Self::IsNone => "IsNull",
            Self::ContainsAny => "ContainsAny",
            Self::ContainsAll => "ContainsAll",
        }
    }
}

fn text(value: &Value) -> Result<String, Broken> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err("has a value that is no text"),
    }
}

/// A whole number unless it has a point; `1e5` is neither.
fn number(value: &Value) -> Result<Literal, Broken> {
    const NONE: Broken = "has a value that is no number";
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => Ok(Literal::Integer(number)),
            None => number.as_f64().map(Literal::Number).ok_or(NONE),
        },
        Value::String(text) if text.contains('.') => {
            let number: f64 = text.trim().parse().map_err(|_| NONE)?;
            if number.is_finite() { Ok(Literal::Number(number)) } else { Err(NONE) }
        }
        Value::String(text) => text.trim().parse().map(Literal::Integer).map_err(|_| NONE),
        _ => Err(NONE),
    }
}

fn boolean(value: &Value) -> Result<bool, Broken> {
    match text(value)?.trim().to_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("has a value that is neither true nor false"),
    }
}

/// A moment without a zone is one in UTC, and a day is its first moment.
fn moment(value: &Value) -> Result<String, Broken> {
    const NONE: Broken = "has a value that is no ISO 8601 date";
    let text = text(value)?;
    let text = text.trim().replacen(' ', "T", 1);
    let text = if text.contains('T') { text } else { format!("{text}T00:00:00") };
    let moment = OffsetDateTime::parse(&text, &Iso8601::DEFAULT)
        .or_else(|_| PrimitiveDateTime::parse(&text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc));
    moment.map_err(|_| NONE)?.to_offset(UtcOffset::UTC).format(&Rfc3339).map_err(|_| NONE)
}

fn holds_fraction(value: &Literal) -> bool {
    match value {
        Literal::List(values) => values.iter().any(holds_fraction),
        value => matches!(value, Literal::Number(_)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class() -> Class {
        let properties = json!([
            {"name": "year", "dataType": ["int"]}, {"name": "price", "dataType": ["number"]},
            {"name": "tags", "dataType": ["text[]"]},
        ]);
        serde_json::from_value(json!({"class": "A", "properties": properties})).unwrap()
    }

    fn built(filter: Value) -> Result<String, Broken> {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        filter.check()?;
        filter.build(&class()).map(|literal| literal.to_string())
    }

    fn one(property: &str, op: &str, dtype: &str, value: Value) -> Value {
        json!({"type": "condition", "property": property, "op": op, "value_dtype": dtype, "value": value})
    }

    #[test]
    fn values_are_read_by_their_type_and_written_under_the_propertys() {
        let written = |filter| built(filter).unwrap();
        let at = |property: &str, op: &str, value: &str| {
            format!(r#"{{path:["{property}" ] operator:{op} {value} }}"#)
        };
        let plain = json!({"type": "condition", "property": "title", "op": "eq", "value": "x"});
        assert_eq!(written(plain), at("title", "Equal", r#"valueText:"x""#));
        for (filter, expected) in [
            (one("year", "gte", "numeric", json!("2024")), at("year", "GreaterThanEqual", "valueInt:2024")),
            (one("price", "lt", "numeric", json!("2")), at("price", "LessThan", "valueNumber:2")),
            (one("other", "lt", "numeric", json!("2.5")), at("other", "LessThan", "valueNumber:2.5")),
            (one("x", "ne", "boolean", json!("Yes")), at("x", "NotEqual", "valueBoolean:true")),
            (
                one("x", "eq", "datetime", json!("2024-05-01")),
                at("x", "Equal", r#"valueDate:"2024-05-01T00:00:00Z""#),
            ),
            (
                one("x", "gt", "datetime", json!("2024-05-01 10:00:00+02:00")),
                at("x", "GreaterThan", r#"valueDate:"2024-05-01T08:00:00Z""#),
            ),
            (one("x", "like", "string", json!("a*")), at("x", "Like", r#"valueText:"a*""#)),
            (one("x", "is_none", "string", Value::Null), at("x", "IsNull", "valueBoolean:true")),
            (
                one("tags", "contains_any", "string", json!("a, b")),
                at("tags", "ContainsAny", r#"valueText:["a" "b" ]"#),
            ),
            (
                one("year", "contains_all", "numeric", json!([1, 2])),
                at("year", "ContainsAll", "valueInt:[1 2 ]"),
            ),
        ] {
            assert_eq!(written(filter.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for filter in [
            one("x", "gt", "string", json!("a")),
            one("x", "like", "numeric", json!(1)),
            one("x", "contains_any", "boolean", json!(true)),
            one("x", "contains_any", "datetime", json!("2024-01-01")),
            one("x", "eq", "numeric", json!("1e5")),
            one("x", "eq", "numeric", json!("inf.")),
            one("x", "eq", "boolean", json!("maybe")),
            one("x", "eq", "datetime", json!("yesterday")),
            one("x", "eq", "string", json!({"a": 1})),
            one("x", "contains_all", "string", json!([])),
        ] {
            assert!(built(filter.clone()).is_err(), "{filter}");
        }
        for unreadable in [
            json!({"property": "x", "op": "eq", "value": "y"}),
            json!({"type": "group", "op": "and", "operands": [
                {"type": "group", "op": "or", "operands": [{"type": "group", "op": "or", "operands": []}]}]}),
            json!({"type": "condition", "property": "x", "op": "eq", "value": "y", "valueText": "z"}),
        ] {
            assert!(serde_json::from_value::<Filter>(unreadable.clone()).is_err(), "{unreadable}");
        }
    }

    #[test]
    fn groups_join_and_not_refuses_what_keeps_all() {
        let (a, b) = (one("a", "eq", "string", json!("1")), one("b", "eq", "string", json!("2")));
        let not = json!({"type": "group", "op": "not", "operands": [a, b]});
        let filter = json!({"type": "group", "op": "or", "operands": [a, not]});
        let a = r#"{path:["a" ] operator:Equal valueText:"1" }"#;
        let b = r#"{path:["b" ] operator:Equal valueText:"2" }"#;
        let not = format!("{{operator:Not operands:[{{operator:And operands:[{a} {b} ] }} ] }}");
        assert_eq!(built(filter).unwrap(), format!("{{operator:Or operands:[{a} {not} ] }}"));
    }

    #[test]
    fn no_value_becomes_syntax() {
        let attack = r#"x"}}){_additional{vector}}}#"#;
        let written = built(one("title", "eq", "string", json!(attack))).unwrap();
        assert!(written.ends_with(&format!("valueText:{} }}", Value::from(attack))), "{written}");
    }
}
