//! What a server says of a collection: its properties, its vectors, how they are compared.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::similarity::{self, Distance},
    graphql::{Field, Name},
};

/// How deep objects within objects are read.
const MAX_DEPTH: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Class {
    /// Its name. What has none is no class.
    #[serde(rename = "class")]
    _class: String,
    #[serde(default)]
    properties: Option<Vec<Property>>,
    /// Of the vector without a name.
    #[serde(default)]
    vectorizer: Option<String>,
    #[serde(default)]
    vector_index_config: Option<IndexConfig>,
    /// Of vectors with names.
    #[serde(default)]
    vector_config: Option<BTreeMap<String, VectorConfig>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    #[serde(default)]
    data_type: Vec<String>,
    #[serde(default)]
    nested_properties: Option<Vec<Property>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VectorConfig {
    #[serde(default)]
    vectorizer: Value,
    #[serde(default)]
    vector_index_config: Option<IndexConfig>,
}

#[derive(Deserialize)]
struct IndexConfig {
    #[serde(default)]
    distance: Option<String>,
}

/// How vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Cosine,
    Dot,
    SquaredL2,
    /// Any other whose distance has no upper end.
    Unbounded,
}

/// The vectors that a search compares.
pub(super) enum Vectors<'a> {
    One {
        metric: Metric,
        vectorizer: &'a str,
    },
    /// There is none of that name.
    Unknown,
    /// There are several, and none is named.
    Several,
}

impl Class {
    pub(super) fn has(&self, property: &str) -> bool {
        self.property(property).is_some()
    }

    /// The type of a property's values, or of the elements of a list.
    pub(super) fn type_of(&self, property: &str) -> Option<&str> {
        self.property(property).and_then(Property::base_type)
    }

    /// The fields to ask for: all that can be shown, or those named.
    pub(super) fn fields(&self, named: Option<&[&str]>) -> Vec<Field> {
        let wanted = |property: &&Property| named.is_none_or(|named| named.contains(&property.name.as_str()));
        self.properties().iter().filter(wanted).filter_map(|property| property.field(0)).collect()
    }

    pub(super) fn vectors(&self, named: Option<&str>) -> Vectors<'_> {
        let named_vectors = self.vector_config.as_ref().filter(|vectors| !vectors.is_empty());
        match (named, named_vectors) {
            (None, None) => Vectors::One {
                metric: metric(self.vector_index_config.as_ref()),
                vectorizer: self.vectorizer.as_deref().unwrap_or("none"),
            },
            (Some(name), Some(vectors)) => vectors.get(name).map_or(Vectors::Unknown, VectorConfig::vectors),
            (None, Some(vectors)) if vectors.len() == 1 => {
                vectors.values().next().map_or(Vectors::Unknown, VectorConfig::vectors)
            }
            (Some(_), None) => Vectors::Unknown,
            (None, Some(_)) => Vectors::Several,
        }
    }

    fn properties(&self) -> &[Property] {
        self.properties.as_deref().unwrap_or_default()
    }

    fn property(&self, name: &str) -> Option<&Property> {
        self.properties().iter().find(|property| property.name == name)
    }
}

impl VectorConfig {
    fn vectors(&self) -> Vectors<'_> {
        let vectorizer = match &self.vectorizer {
            Value::String(name) => name,
            // An object with one field: the module's name.
            Value::Object(modules) => modules.keys().next().map_or("none", String::as_str),
            _ => "none",
        };
        Vectors::One { metric: metric(self.vector_index_config.as_ref()), vectorizer }
    }
}

impl Property {
    fn base_type(&self) -> Option<&str> {
        self.data_type.first().map(|name| name.trim_end_matches("[]"))
    }

    /// How it is asked for; `None` for links to other collections, and for what is no text: files.
    fn field(&self, depth: usize) -> Option<Field> {
        let name = Name::property(&self.name)?;
        match self.base_type()? {
            "text" | "string" | "int" | "number" | "boolean" | "date" | "uuid" => Some(Field::plain(name)),
            "geoCoordinates" => Some(within(name, &["latitude", "longitude"])),
            "phoneNumber" => Some(within(name, &["input", "internationalFormatted"])),
            "object" if depth < MAX_DEPTH => {
                let nested = self.nested_properties.as_deref().unwrap_or_default();
                let nested: Vec<_> = nested.iter().filter_map(|property| property.field(depth + 1)).collect();
                (!nested.is_empty()).then(|| Field::of(name, nested))
            }
            _ => None,
        }
    }
}

impl Metric {
    pub(super) fn similarity(self, distance: f64) -> f64 {
        match self {
            Self::Cosine => Distance::Cosine.similarity(distance),
            // It is the negative dot product.
            Self::Dot => Distance::InnerProduct.similarity(1.0 + distance),
            Self::SquaredL2 => Distance::SquaredL2.similarity(distance),
            Self::Unbounded => similarity::of_distance(distance),
        }
    }
}

fn within(name: Name, fields: &[&str]) -> Field {
    Field::of(name, fields.iter().filter_map(|field| Name::property(field)).map(Field::plain).collect())
}

/// Weaviate's own default is cosine.
fn metric(config: Option<&IndexConfig>) -> Metric {
    match config.and_then(|config| config.distance.as_deref()) {
        None | Some("" | "cosine") => Metric::Cosine,
        Some("dot") => Metric::Dot,
        Some("l2-squared") => Metric::SquaredL2,
        Some(_) => Metric::Unbounded,
    }
}
