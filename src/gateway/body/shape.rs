//! What a value must look like: a JSON Schema, of the kind that our types have, made ready to check with.

use serde_json::Value;

/// What is asked of one value.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Any,
    /// A text of at most so many characters.
    Text(Option<usize>),
    /// An endpoint's slug, lower-cased.
    Slug,
    Uuid,
    Choice(Vec<String>),
    Boolean,
    Integer(Bounds),
    Number(Bounds),
    List(Box<Shape>),
    Object(Object),
    /// One of several, each with the name that stands in the path of its violations.
    Union(Vec<(String, Shape)>),
    Nullable(Box<Shape>),
}

/// Lowest and highest value, both included.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bounds {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// The fields of an object, in their order. Others are passed over; an object without named fields
/// takes any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    pub title: String,
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub required: bool,
    pub shape: Shape,
}

impl Shape {
    /// The shape that a schema asks for. What it says beyond our kinds is not checked here.
    pub fn of(schema: &Value) -> Self {
        let branches = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        // At an object's side it says which fields go together, and the handler says it in words.
        if let Some(branches) = branches.filter(|_| schema.get("properties").is_none()) {
            return union(branches);
        }
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let Some(kind) = kinds.iter().find(|kind| **kind != "null") else { return Self::Any };
        let shape = match *kind {
            "string" => text(schema),
            "boolean" => Self::Boolean,
            "integer" => Self::Integer(bounds(schema)),
            "number" => Self::Number(bounds(schema)),
            "array" => Self::List(Box::new(schema.get("items").map_or(Self::Any, Self::of))),
            "object" => Self::Object(object(schema)),
            _ => Self::Any,
        };
        if kinds.contains(&"null") { Self::Nullable(Box::new(shape)) } else { shape }
    }

    /// With the fields of an object in this order.
    pub fn in_order(mut self, names: &[&str]) -> Self {
        if let Self::Object(object) = &mut self {
            object.fields.sort_by_key(|field| names.iter().position(|name| *name == field.name));
        }
        self
    }

    /// The name that pydantic gives to such a type.
    fn name(&self) -> String {
        match self {
            Self::Any | Self::Nullable(_) | Self::Union(_) => "any".to_owned(),
            Self::Text(_) | Self::Slug | Self::Choice(_) => "str".to_owned(),
            Self::Uuid => "uuid".to_owned(),
            Self::Boolean => "bool".to_owned(),
            Self::Integer(_) => "int".to_owned(),
            Self::Number(_) => "float".to_owned(),
            Self::List(item) => format!("list[{}]", item.name()),
            Self::Object(object) if object.title.is_empty() => "dict".to_owned(),
            Self::Object(object) => object.title.clone(),
        }
    }
}

fn union(branches: &[Value]) -> Shape {
    let is_null = |branch: &&Value| branch.get("type").and_then(Value::as_str) == Some("null");
    let nullable = branches.iter().any(|branch| is_null(&branch));
    let mut shapes: Vec<Shape> = branches.iter().filter(|branch| !is_null(branch)).map(Shape::of).collect();
    let shape = match shapes.len() {
        1 => shapes.remove(0),
        _ => Shape::Union(shapes.into_iter().map(|shape| (shape.name(), shape)).collect()),
    };
    if nullable { Shape::Nullable(Box::new(shape)) } else { shape }
}

fn text(schema: &Value) -> Shape {
    match (schema.get("format").and_then(Value::as_str), schema.get("enum").and_then(Value::as_array)) {
        (Some("uuid"), _) => Shape::Uuid,
        (Some("slug"), _) => Shape::Slug,
        (_, Some(names)) => {
            Shape::Choice(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => {
            let max = schema.get("maxLength").and_then(Value::as_u64);
            Shape::Text(max.and_then(|max| usize::try_from(max).ok()))
        }
    }
}

fn bounds(schema: &Value) -> Bounds {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    Bounds { min: bound("minimum"), max: bound("maximum") }
}

/// A schema keeps its required fields in order; its properties it sorts by name.
fn object(schema: &Value) -> Object {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let title = schema.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields = properties.into_iter().flatten().map(|(name, schema)| Field {
        name: name.clone(),
        required: required.contains(&name.as_str()),
        shape: Shape::of(schema),
    });
    let mut fields: Vec<Field> = fields.collect();
    fields
        .sort_by_key(|field| required.iter().position(|name| *name == field.name).unwrap_or(required.len()));
    Object { title, fields }
}
