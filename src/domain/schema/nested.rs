//! Configurations that hold configurations of other types.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{super::rules::violation, TypeSpec};
use crate::{
    domain::Configuration,
    error::{Rule, Violation},
};

/// Where they stand: a list of objects of a type's name and a configuration.
pub(super) const FIELD: &str = "policies";
const TYPE: &str = "policy_type";
const CONFIGURATION: &str = "configuration";

/// Types that may stand in another.
pub(super) struct Held {
    types: Arc<[Arc<TypeSpec>]>,
}

impl Held {
    pub(super) fn new(types: Arc<[Arc<TypeSpec>]>) -> Self {
        Self { types }
    }

    /// Everything that is wrong in any of them.
    pub(super) fn check(&self, configuration: &Configuration) -> Vec<Violation> {
        let mut broken = Vec::new();
        for (i, child) in children(configuration).enumerate() {
            let place = format!("{CONFIGURATION}.{FIELD}.{i}");
            let Some(spec) = self.of(child) else {
                let message = "is not a type that can stand here";
                broken.push(violation(format!("{place}.{TYPE}"), Rule::OneOf, message));
                continue;
            };
            let empty = Map::new();
            let inner = child.get(CONFIGURATION).and_then(Value::as_object).unwrap_or(&empty);
            broken.extend(spec.check(inner).into_iter().map(|mut violation| {
                violation.field = format!("{place}.{}", violation.field);
                violation
            }));
        }
        broken
    }

    /// All of them, their secrets struck out. What cannot be read is struck out whole.
    pub(super) fn redact(&self, mut configuration: Configuration) -> Configuration {
        for (field, value) in &mut configuration {
            match value.as_array_mut().filter(|_| field == FIELD) {
                Some(children) => children.iter_mut().for_each(|child| self.redact_one(child)),
                None => *value = json!(super::REDACTED),
            }
        }
        configuration
    }

    fn redact_one(&self, child: &mut Value) {
        let spec = child.as_object().and_then(|child| self.of(child)).cloned();
        let inner = child.get_mut(CONFIGURATION).and_then(Value::as_object_mut);
        match (spec, inner) {
            (Some(spec), Some(inner)) => *inner = spec.redact(std::mem::take(inner)),
            (Some(_), None) => {}
            (None, _) => *child = json!(super::REDACTED),
        }
    }

    /// Their types, and what anybody may see of each.
    pub(super) fn public(&self, configuration: &Configuration) -> Configuration {
        let public = children(configuration).filter_map(|child| {
            let spec = self.of(child)?;
            let inner = child.get(CONFIGURATION).and_then(Value::as_object);
            let inner = inner.map(|inner| spec.public(inner)).unwrap_or_default();
            Some(json!({ "type": spec.name(), "config": inner }))
        });
        Map::from_iter([(FIELD.to_owned(), public.collect())])
    }

    fn of(&self, child: &Map<String, Value>) -> Option<&Arc<TypeSpec>> {
        let name = child.get(TYPE)?.as_str()?;
        self.types.iter().find(|spec| spec.name() == name)
    }
}

fn children(configuration: &Configuration) -> impl Iterator<Item = &Map<String, Value>> {
    configuration.get(FIELD).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemars::JsonSchema;
    use serde_json::{Value, json};

    use super::TypeSpec;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "it is for the schema")]
    struct Paid {
        price: String,
        password: String,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "it is for the schema")]
    struct Both {
        policies: Vec<Value>,
    }

    fn both() -> TypeSpec {
        let paid = TypeSpec::of::<Paid>("paid", "", "", &["password"]).publishing(&["price"]);
        let inner: Arc<[_]> = [Arc::new(paid)].into();
        let within = Arc::new(TypeSpec::of::<Both>("both", "", "", &[]).holding(Arc::clone(&inner)));
        let types = inner.iter().cloned().chain([within]).collect();
        TypeSpec::of::<Both>("both", "", "", &[]).holding(types)
    }

    fn paid() -> Value {
        json!({"policy_type": "paid", "configuration": {"price": "1", "password": "hunter2"}})
    }

    fn holding(children: Value) -> serde_json::Map<String, Value> {
        json!({ "policies": children }).as_object().unwrap().clone()
    }

    #[test]
    fn secrets_at_any_depth_are_sealed_and_struck_out_and_nothing_but_what_is_public_is_published() {
        let spec = both();
        let deep = json!({"policy_type": "both", "configuration": {"policies": [paid()]}});
        let configuration = holding(json!([paid(), deep]));
        assert_eq!(spec.check(&configuration), vec![]);
        assert_eq!(spec.secrets(), ["policies"]);
        let shown = Value::Object(spec.redact(configuration.clone())).to_string();
        assert!(!shown.contains("hunter2") && shown.matches("[redacted]").count() == 2, "{shown}");
        assert!(shown.contains(r#""price":"1""#), "{shown}");
        let public = Value::Object(spec.public(&configuration));
        let one = json!({"type": "paid", "config": {"price": "1"}});
        let expected = json!({"policies": [one, {"type": "both", "config": {"policies": [one]}}]});
        assert_eq!(public, expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let deep = json!({"policy_type": "both", "configuration": {"policies": [{"policy_type": "both"}]}});
        let wrong = json!([paid(), {"policy_type": "paid", "configuration": {"price": 1}}, {"policy_type": "x"}, deep]);
        let fields: Vec<_> = both().check(&holding(wrong)).into_iter().map(|broken| broken.field).collect();
        let at = "configuration.policies";
        let expected = [
            format!("{at}.1.configuration"),
            format!("{at}.1.configuration.price"),
            format!("{at}.2.policy_type"),
            format!("{at}.3.configuration.policies.0.policy_type"),
        ];
        assert_eq!(fields, expected);
    }

    /// What is stored and cannot be read, as after a type is gone, is not shown.
    #[test]
    fn what_has_no_type_is_struck_out() {
        let shown =
            both().redact(holding(json!([{"policy_type": "gone", "configuration": {"a": "hunter2"}}, 3])));
        assert_eq!(Value::Object(shown), json!({"policies": ["[redacted]", "[redacted]"]}));
    }
}
