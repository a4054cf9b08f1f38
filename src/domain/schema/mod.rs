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
    /// to redact.
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
        if has_nul(&instance) {
            return vec![violation("configuration", Rule::Pattern, "must not contain the character NUL")];
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
        for (field, value) in &mut configuration {
            if self.secrets.contains(&field.as_str()) && !value.is_null() {
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

/// The one character that Postgres cannot store.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn mark_secrets(schema: &mut Map<String, Value>, secrets: &[&str]) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (_, property) in properties.iter_mut().filter(|(name, _)| secrets.contains(&name.as_str())) {
        property["secret"] = json!(true);
    }
}
