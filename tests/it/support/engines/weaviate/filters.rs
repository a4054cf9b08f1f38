//! Weaviate's `where`: what it takes, and which objects keep it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{graphql::Value, types};

/// Whether an object keeps a filter.
///
/// # Errors
/// As Weaviate says it.
pub fn keeps(filter: &Value, object: &Map<String, Json>) -> Result<bool, String> {
    let wrong = |what: &str| format!("invalid 'where' filter: {what}");
    let Value::Object(filter) = filter else { return Err(wrong("not an object")) };
    let Some(Value::Word(operator)) = filter.get("operator") else { return Err(wrong("no operator")) };
    if let Some(Value::List(operands)) = filter.get("operands") {
        if filter.len() != 2 || operands.is_empty() {
            return Err(wrong("operands beside something else"));
        }
        let kept = operands.iter().map(|operand| keeps(operand, object)).collect::<Result<Vec<_>, _>>()?;
        return match operator.as_str() {
            "And" => Ok(kept.into_iter().all(|kept| kept)),
            "Or" => Ok(kept.into_iter().any(|kept| kept)),
            "Not" => Ok(!kept.into_iter().all(|kept| kept)),
            _ => Err(wrong("operands without And, Or or Not")),
        };
    }
    condition(operator, filter, object).map_err(|what| wrong(&what))
}

fn condition(
    operator: &str,
    filter: &BTreeMap<String, Value>,
    object: &Map<String, Json>,
) -> Result<bool, String> {
    let property = match filter.get("path") {
        Some(Value::List(path)) => match &path[..] {
            [Value::Text(property)] => property,
            _ => return Err("a path of one property is expected".to_owned()),
        },
        _ => return Err("no path".to_owned()),
    };
    let Some(kind) = types().get(property.as_str()).copied() else {
        return Err(format!(
            "no such prop with name '{property}' found in class 'X' in the schema. Check your schema files for \
             which properties in this class are available"
        ));
    };
    let values: Vec<_> = filter.iter().filter(|(name, _)| name.starts_with("value")).collect();
    let [(field, value)] = values[..] else { return Err("one value is expected".to_owned()) };
    let found = object.get(property).filter(|value| !value.is_null());
    if operator == "IsNull" {
        let (true, Value::Bool(wanted)) = (field == "valueBoolean", value) else {
            return Err("operator IsNull requires a booleanValue".to_owned());
        };
        return Ok(found.is_none() == *wanted);
    }
    let base = kind.trim_end_matches("[]");
    let expected = match base {
        "text" => "valueText",
        "int" => "valueInt",
        "number" => "valueNumber",
        "boolean" => "valueBoolean",
        "date" => "valueDate",
        _ => unreachable!(),
    };
    if field != expected {
        return Err(format!(
            "data type filter cannot use \"{field}\" on type \"{base}\", use \"{expected}\" instead"
        ));
    }
    compare(operator, value, found)
}

fn compare(operator: &str, wanted: &Value, found: Option<&Json>) -> Result<bool, String> {
    let wanted: Vec<Json> = match (operator, wanted) {
        ("ContainsAny" | "ContainsAll", Value::List(values)) => values.iter().map(plain).collect(),
        ("ContainsAny" | "ContainsAll", _) => return Err("a list is expected".to_owned()),
        (_, Value::List(_)) => return Err("no list is expected".to_owned()),
        (_, value) => vec![plain(value)],
    };
    let found: Vec<Json> = match found {
        None => return Ok(operator == "NotEqual"),
        Some(Json::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    };
    let order = |test: fn(f64, f64) -> bool| found.iter().any(|found| test(rank(found), rank(&wanted[0])));
    Ok(match operator {
        "Equal" => found.contains(&wanted[0]) || order(|a, b| !a.is_nan() && (a - b).abs() < 1e-9),
        "NotEqual" => !found.contains(&wanted[0]),
        "GreaterThan" => order(|a, b| a > b),
        "GreaterThanEqual" => order(|a, b| a >= b),
        "LessThan" => order(|a, b| a < b),
        "LessThanEqual" => order(|a, b| a <= b),
        "Like" => {
            let prefix = wanted[0].as_str().unwrap().trim_end_matches('*').to_lowercase();
            found.iter().any(|found| found.as_str().unwrap().to_lowercase().starts_with(&prefix))
        }
        "ContainsAny" => wanted.iter().any(|wanted| found.contains(wanted)),
        "ContainsAll" => wanted.iter().all(|wanted| found.contains(wanted)),
        _ => return Err(format!("unrecognized operator: {operator}")),
    })
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Bool(value) => (*value).into(),
        other => panic!("no scalar: {other:?}"),
    }
}

/// Numbers and moments as one number.
#[expect(clippy::cast_precision_loss, reason = "years and prices")]
fn rank(value: &Json) -> f64 {
    let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| at.unix_timestamp() as f64);
    value.as_f64().or_else(|| value.as_str().and_then(moment)).unwrap_or(f64::NAN)
}
