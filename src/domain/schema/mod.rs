//! What every type of dataset, model and policy has in common: a name, and a configuration with a
//! JSON Schema, derived from the struct it is read into.

mod nested;

use std::sync::Arc;

use jsonschema::Validator;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Configuration, TypeInfo, rules::violation};
use crate::error::{Cause, Rule, Violation};
use nested::Held;

/// The field that marks a sealed value.
pub const SEALED: &str = "$sealed";

/// What stands in an answer where a secret would.
pub const REDACTED: &str = "[redacted]";

/// A type, as far as its owner sees it.
pub struct TypeSpec {
    name: &'static str,
    aliases: &'static [&'static str],
    description: &'static str,
    icon: &'static str,
    secrets: &'static [&'static str],
    public: &'static [&'static str],
    schema: Map<String, Value>,
    validator: Option<Validator>,
    beyond_schema: fn(&Configuration) -> Vec<Violation>,
    /// Types that may stand in a configuration of this one.
    holds: Option<Held>,
}

impl TypeSpec {
    /// The type whose configuration is a `C`. `icon` is one emoji, `secrets` names the fields to seal and
    /// to redact, as `api_key` or, within an object, `embedding.api_key`.
    pub fn of<C: JsonSchema>(
        name: &'static str,
        description: &'static str,
        icon: &'static str,
        secrets: &'static [&'static str],
    ) -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<C>().to_value();
        let validator = jsonschema::validator_for(&schema).ok();
        let Value::Object(mut schema) = schema else { unreachable!("a struct's schema is an object") };
        mark_secrets(&mut schema, secrets);
        Self {
            name,
            aliases: &[],
            description,
            icon,
            secrets,
            public: &[],
            schema,
            validator,
            beyond_schema: |_| Vec::new(),
            holds: None,
        }
    }

    /// Other names of the type. What is stored and shown is its own.
    #[must_use]
    pub fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// Names the fields that anybody may see, as on a marketplace. Without it, none.
    #[must_use]
    pub fn publishing(self, public: &'static [&'static str]) -> Self {
        Self { public, ..self }
    }

    /// Checks what a schema cannot say, once a configuration keeps it. No message may hold a value.
    #[must_use]
    pub fn checking(self, beyond_schema: fn(&Configuration) -> Vec<Violation>) -> Self {
        Self { beyond_schema, ..self }
    }

    /// Configurations of these types stand in its field `policies`, each beside its `policy_type`. They are
    /// checked, struck out and published as their types say. At rest they are sealed as a whole.
    #[must_use]
    pub fn holding(self, types: Arc<[Arc<Self>]>) -> Self {
        Self { secrets: &[nested::FIELD], holds: Some(Held::new(types)), ..self }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether a name is its own or an alias.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    pub fn secrets(&self) -> &'static [&'static str] {
        self.secrets
    }

    pub fn info(&self) -> TypeInfo {
        let Self { name, aliases, description, icon, .. } = *self;
        TypeInfo { name, aliases, description, icon, config_schema: self.schema.clone() }
    }

    /// Everything in which a configuration breaks the schema. No message holds a value.
    pub fn check(&self, configuration: &Configuration) -> Vec<Violation> {
        let Some(validator) = &self.validator else {
            return vec![violation("configuration", Rule::Schema, "cannot be checked")];
        };
        let instance = Value::Object(configuration.clone());
        if let Some(message) = unstorable(&instance) {
            return vec![violation("configuration", Rule::Pattern, message)];
        }
        let mut broken: Vec<_> = validator
            .iter_errors(&instance)
            .map(|error| {
                let path = error.instance_path().to_string().replace('/', ".");
                violation(format!("configuration{path}"), Rule::Schema, error.masked().to_string())
            })
            .collect();
        if broken.is_empty() {
            broken = (self.beyond_schema)(configuration);
            broken.extend(self.holds.iter().flat_map(|held| held.check(configuration)));
        }
        broken
    }

    /// What anybody may see of a configuration.
    pub fn public(&self, configuration: &Configuration) -> Configuration {
        if let Some(held) = &self.holds {
            return held.public(configuration);
        }
        let fields = configuration.iter().filter(|(field, _)| self.public.contains(&field.as_str()));
        fields.map(|(field, value)| (field.clone(), value.clone())).collect()
    }

    /// The configuration with its secrets struck out.
    pub fn redact(&self, mut configuration: Configuration) -> Configuration {
        if let Some(held) = &self.holds {
            return held.redact(configuration);
        }
        for path in self.secrets {
            if let Some(value) = field_at(&mut configuration, path).filter(|value| !value.is_null()) {
                *value = json!(REDACTED);
            }
        }
        configuration
    }
}

/// Reads a configuration into its struct. One that has been checked can fail only in what a schema
/// cannot say.
///
/// # Errors
/// Why it cannot be read; may hold values, so it is for the log.
pub fn read<C: DeserializeOwned>(configuration: &Configuration) -> Result<C, Cause> {
    Ok(serde_json::from_value(Value::Object(configuration.clone()))?)
}

/// A field of a configuration, or of an object in it: `api_key` or `embedding.api_key`.
pub fn field_at<'a>(configuration: &'a mut Configuration, path: &str) -> Option<&'a mut Value> {
    match path.split_once('.') {
        Some((outer, inner)) => configuration.get_mut(outer)?.as_object_mut()?.get_mut(inner),
        None => configuration.get_mut(path),
    }
}

/// Why a value cannot be kept: NUL is the one character that Postgres cannot store, and [`SEALED`] is ours.
fn unstorable(value: &Value) -> Option<&'static str> {
    let nul = |text: &str| text.contains('\0').then_some("must not contain the character NUL");
    match value {
        Value::String(text) => nul(text),
        Value::Array(values) => values.iter().find_map(unstorable),
        Value::Object(object) if object.contains_key(SEALED) => Some("must not contain a field `$sealed`"),
        Value::Object(object) => {
            object.iter().find_map(|(name, value)| nul(name).or_else(|| unstorable(value)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn mark_secrets(schema: &mut Map<String, Value>, secrets: &[&str]) {
    for path in secrets {
        let (outer, inner) =
            path.split_once('.').map_or((None, *path), |(outer, inner)| (Some(outer), inner));
        let object = match outer {
            Some(outer) => property(schema, outer).and_then(object_of),
            None => Some(&mut *schema),
        };
        if let Some(secret) = object.and_then(|object| property(object, inner)) {
            secret["secret"] = json!(true);
        }
    }
}

fn property<'a>(schema: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Value> {
    schema.get_mut("properties")?.get_mut(name)
}

/// The object's schema in that of a field, which may also be null.
fn object_of(field: &mut Value) -> Option<&mut Map<String, Value>> {
    if field.get("anyOf").is_none() {
        return field.as_object_mut();
    }
    let forms = field.get_mut("anyOf")?.as_array_mut()?;
    forms.iter_mut().find(|form| form.get("properties").is_some())?.as_object_mut()
}
