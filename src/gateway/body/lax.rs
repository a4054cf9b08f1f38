//! Checks a value against a shape, and writes it as the shape says: `"3"` becomes 3, `"true"` true.
//! Types and words of violations are pydantic's.

use serde_json::{Number, Value, json};

use super::{
    Violation,
    shape::{Bounds, Object, Shape},
};
use crate::domain::rules;

/// Violations that one request is told at most.
const MAX_VIOLATIONS: usize = 100;
/// Levels of objects and lists in a value of any shape: protobuf reads a hundred messages in each other,
/// and a level of such a value is three.
const MAX_LEVELS: usize = 30;
/// Digits of a number that is written as a text.
const MAX_DIGITS: usize = 40;

/// Where a value is; its parts are put together only for a violation.
#[derive(Clone, Copy)]
pub(super) struct Loc<'a> {
    above: Above<'a>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Above<'a> {
    Root(&'a [Value]),
    Loc(&'a Loc<'a>),
}

#[derive(Clone, Copy)]
enum Part<'a> {
    None,
    Name(&'a str),
    Place(usize),
}

impl<'a> Loc<'a> {
    pub(super) fn root(path: &'a [Value]) -> Self {
        Self { above: Above::Root(path), part: Part::None }
    }

    fn below(&'a self, part: Part<'a>) -> Self {
        Self { above: Above::Loc(self), part }
    }

    fn path(&self) -> Vec<Value> {
        let mut path = match self.above {
            Above::Root(path) => path.to_vec(),
            Above::Loc(above) => above.path(),
        };
        match self.part {
            Part::None => {}
            Part::Name(name) => path.push(name.into()),
            Part::Place(place) => path.push(place.into()),
        }
        path
    }
}

/// Writes a value as its shape says, and notes every violation, in the order of the fields. What is not
/// named stays as it is.
pub(super) fn check(shape: &Shape, value: &mut Value, loc: &Loc<'_>, violations: &mut Vec<Violation>) {
    match shape {
        Shape::Any => {}
        Shape::Nullable(_) if value.is_null() => {}
        Shape::Nullable(shape) => check(shape, value, loc, violations),
        Shape::List(item) => list(item, value, loc, violations),
        Shape::Object(shape) => object(shape, value, loc, violations),
        Shape::Union(branches) => union(branches, value, loc, violations),
        // Most texts are right as they are.
        Shape::Text(None) if value.is_string() => {}
        scalar => match self::scalar(scalar, value, loc) {
            Ok(read) => *value = read,
            Err(violation) => violations.push(violation.on(value)),
        },
    }
}

fn scalar(shape: &Shape, value: &Value, loc: &Loc<'_>) -> Result<Value, Violation> {
    match shape {
        Shape::Text(max) => text(*max, value, loc),
        Shape::Slug => slug(value, loc),
        Shape::Uuid => uuid(value, loc),
        Shape::Choice(names) => choice(names, value, loc),
        Shape::Boolean => boolean(value, loc),
        Shape::Integer(bounds) => {
            let number = integer(value, loc)?;
            #[expect(clippy::cast_precision_loss, reason = "bounds are small")]
            within(*bounds, number as f64, true, loc)?;
            Ok(number.into())
        }
        Shape::Number(bounds) => {
            let number = number(value, loc)?;
            within(*bounds, number, false, loc)?;
            let finite = Number::from_f64(number);
            finite
                .map(Value::Number)
                .ok_or_else(|| Violation::new("finite_number", loc.path(), "Input should be a finite number"))
        }
        _ => Ok(value.clone()),
    }
}

fn text(max: Option<usize>, value: &Value, loc: &Loc<'_>) -> Result<Value, Violation> {
    let Value::String(text) = value else {
        return Err(Violation::new("string_type", loc.path(), "Input should be a valid string"));
    };
    match max {
        Some(max) if text.chars().nth(max).is_some() => {
            let msg = format!("String should have at most {max} characters");
            Err(Violation::new("string_too_long", loc.path(), msg).with(json!({"max_length": max})))
        }
        _ => Ok(value.clone()),
    }
}

fn slug(value: &Value, loc: &Loc<'_>) -> Result<Value, Violation> {
    let Value::String(text) = value else {
        return Err(Violation::rule(loc.path(), "Slug must be a string"));
    };
    let slug = rules::slug("Slug", text);
    slug.map(Value::String).map_err(|broken| Violation::rule(loc.path(), &format!("Slug {}", broken.message)))
}

fn uuid(value: &Value, loc: &Loc<'_>) -> Result<Value, Violation> {
    let Value::String(text) = value else {
        let msg = "UUID input should be a string, bytes or UUID object";
        return Err(Violation::new("uuid_type", loc.path(), msg));
    };
    match uuid::Uuid::try_parse(text) {
        Ok(id) => Ok(Value::String(id.to_string())),
        Err(_) => {
            let reason = "it is not 32 hexadecimal digits";
            let msg = format!("Input should be a valid UUID, {reason}");
            Err(Violation::new("uuid_parsing", loc.path(), msg).with(json!({"error": reason})))
        }
    }
}

fn choice(names: &[String], value: &Value, loc: &Loc<'_>) -> Result<Value, Violation> {
    if value.as_str().is_some_and(|text| names.iter().any(|name| name == text)) {
        return Ok(value.clone());
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    let violation = Violation::new("enum", loc.path(), format!("Input should be {expected}"));
    Err(violation.with(json!({"expected": expected})))
}

fn boolean(value: &Value, loc: &Loc<'_>) -> Result<Value, Violation> {
    let read = match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => {
            return Err(Violation::new("bool_type", loc.path(), "Input should be a valid boolean"));
        }
    };
    let msg = "Input should be a valid boolean, unable to interpret input";
    read.map(Value::Bool).ok_or_else(|| Violation::new("bool_parsing", loc.path(), msg))
}

/// Whole numbers beyond 64 bits count as the nearest that fits: bounds decide about them.
fn integer(value: &Value, loc: &Loc<'_>) -> Result<i64, Violation> {
    let fail = |kind, why: &str| {
        Err(Violation::new(kind, loc.path(), format!("Input should be a valid integer{why}")))
    };
    match value {
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(whole),
            #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, as is meant")]
            (None, Some(number)) if number.fract() == 0.0 => Ok(number as i64),
            _ => fail("int_from_float", ", got a number with a fractional part"),
        },
        Value::String(text) => match whole(text) {
            Some(number) => Ok(number),
            None => fail("int_parsing", ", unable to parse string as an integer"),
        },
        _ => fail("int_type", ""),
    }
}

/// Digits, perhaps with a sign before and `.0` behind.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    let (digits, rest) = text.split_once('.').unwrap_or((text, "0"));
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let all_digits = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || rest.is_empty() || rest.bytes().any(|byte| byte != b'0') || digits.len() > MAX_DIGITS {
        return None;
    }
    let number: i128 = digits.parse().unwrap_or(i128::MAX);
    i64::try_from(number.clamp(i64::MIN.into(), i64::MAX.into())).ok()
}

fn number(value: &Value, loc: &Loc<'_>) -> Result<f64, Violation> {
    let fail = |kind, why: &str| {
        Err(Violation::new(kind, loc.path(), format!("Input should be a valid number{why}")))
    };
    match value {
        Value::Bool(value) => Ok(f64::from(u8::from(*value))),
        Value::Number(number) => Ok(number.as_f64().unwrap_or(f64::INFINITY)),
        Value::String(text) => match text.trim().parse() {
            Ok(number) if text.len() <= MAX_DIGITS => Ok(number),
            _ => fail("float_parsing", ", unable to parse string as a number"),
        },
        _ => fail("float_type", ""),
    }
}

fn within(bounds: Bounds, number: f64, is_whole: bool, loc: &Loc<'_>) -> Result<(), Violation> {
    #[expect(clippy::cast_possible_truncation, reason = "bounds of whole numbers are whole and small")]
    let written = |bound: f64| if is_whole { json!(bound as i64) } else { json!(bound) };
    match bounds {
        Bounds { min: Some(min), .. } if number < min => {
            let msg = format!("Input should be greater than or equal to {min}");
            Err(Violation::new("greater_than_equal", loc.path(), msg).with(json!({"ge": written(min)})))
        }
        Bounds { max: Some(max), .. } if number > max => {
            let msg = format!("Input should be less than or equal to {max}");
            Err(Violation::new("less_than_equal", loc.path(), msg).with(json!({"le": written(max)})))
        }
        _ => Ok(()),
    }
}

fn list(item: &Shape, value: &mut Value, loc: &Loc<'_>, violations: &mut Vec<Violation>) {
    let Value::Array(values) = value else {
        let violation = Violation::new("list_type", loc.path(), "Input should be a valid list");
        return violations.push(violation.on(value));
    };
    for (place, value) in values.iter_mut().enumerate() {
        if violations.len() >= MAX_VIOLATIONS {
            break;
        }
        check(item, value, &loc.below(Part::Place(place)), violations);
    }
}

fn object(shape: &Object, value: &mut Value, loc: &Loc<'_>, violations: &mut Vec<Violation>) {
    let Value::Object(given) = value else {
        let (kind, words) = match shape.fields.is_empty() {
            true => ("dict_type", "Input should be a valid dictionary"),
            false => (
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            ),
        };
        return violations.push(Violation::new(kind, loc.path(), words).on(value));
    };
    if shape.fields.is_empty() && given.values().any(|value| is_deeper(value, MAX_LEVELS - 1)) {
        let words = format!("is nested too deeply: {MAX_LEVELS} levels are taken");
        return violations.push(Violation::rule(loc.path(), &words).on(value));
    }
    for field in &shape.fields {
        let loc = loc.below(Part::Name(&field.name));
        match given.get_mut(&field.name) {
            Some(value) => check(&field.shape, value, &loc, violations),
            None if field.required => {
                violations.push(Violation::new("missing", loc.path(), "Field required").on(&json!({})));
            }
            None => {}
        }
    }
}

/// Whether a value has more levels than these.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(values) => values.iter().any(|value| is_deeper(value, levels - 1)),
        Value::Object(fields) => fields.values().any(|value| is_deeper(value, levels - 1)),
        _ => false,
    }
}

/// The first branch that takes the value. Branches are of different JSON types, so none of them changes
/// a value that is another's.
fn union(branches: &[(String, Shape)], value: &mut Value, loc: &Loc<'_>, violations: &mut Vec<Violation>) {
    let mut found = Vec::new();
    for (name, shape) in branches {
        let before = found.len();
        check(shape, value, &loc.below(Part::Name(name)), &mut found);
        if found.len() == before {
            return;
        }
    }
    violations.extend(found);
}
