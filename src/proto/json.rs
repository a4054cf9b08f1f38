//! `google.protobuf.Struct` and JSON objects.

use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde_json::{Map, Number, Value};

/// Whole numbers up to here are exact in the wire's only number type.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The JSON object of a struct; `None` when a number in it is not finite. Whole numbers become
/// integers, as they were before they travelled.
pub fn from_struct(value: Struct) -> Option<Map<String, Value>> {
    value.fields.into_iter().map(|(name, value)| Some((name, from_value(value)?))).collect()
}

/// The struct of a JSON object.
pub fn to_struct(object: Map<String, Value>) -> Struct {
    Struct { fields: object.into_iter().map(|(name, value)| (name, to_value(value))).collect() }
}

fn from_value(value: ProtoValue) -> Option<Value> {
    Some(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::NumberValue(value)) => Value::Number(number(value)?),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(from_value).collect::<Option<_>>()?)
        }
        Some(Kind::StructValue(object)) => Value::Object(from_struct(object)?),
    })
}

fn number(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() <= MAX_EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

fn to_value(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(to_value).collect() })
        }
        Value::Object(object) => Kind::StructValue(to_struct(object)),
    };
    ProtoValue { kind: Some(kind) }
}
