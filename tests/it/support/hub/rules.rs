//! The limits of what is listed.

use serde_json::{Map, Value, json};

use super::routes::violation;

const RESERVED: &str = "api auth docs redoc openapi.json health admin www mail ftp blog help support about contact \
                        terms privacy login register dashboard settings profile search explore";

/// What is wrong with an endpoint; `partial` when it is a change of one.
pub(super) fn violations(endpoint: &Map<String, Value>, partial: bool) -> Vec<Value> {
    let mut found = Found::default();
    for name in ["name", "type"] {
        found.check(partial || endpoint.contains_key(name), json!(["body", name]), "Field required");
    }
    for (name, value) in endpoint {
        let at = json!(["body", name]);
        match name.as_str() {
            "name" => found.text(&at, value, 1, 100),
            "description" => found.text(&at, value, 0, 500),
            "readme" => found.text(&at, value, 0, 50_000),
            "type" => found.one_of(&at, value, &["model", "data_source", "model_data_source", "agent"]),
            "visibility" => found.one_of(&at, value, &["public", "private", "internal"]),
            "version" => {
                found.check(is_version(value, 3), at, "String should match pattern '^\\d+\\.\\d+\\.\\d+$'")
            }
            "slug" => found.check(is_slug(value), at, "Value error, not a slug"),
            "tags" => found.tags(&at, value),
            "policies" => {
                found.parts(&at, value, 100, &["type", "version", "enabled", "description", "config"])
            }
            "connect" => found.parts(&at, value, 50, &["type", "enabled", "description", "config"]),
            // Unknown ones are ignored.
            _ => {}
        }
    }
    found.violations
}

#[derive(Default)]
struct Found {
    violations: Vec<Value>,
}

impl Found {
    fn check(&mut self, good: bool, at: Value, msg: &str) {
        if !good {
            self.violations.push(violation(at, msg));
        }
    }

    fn text(&mut self, at: &Value, value: &Value, least: usize, most: usize) {
        let length = value.as_str().map(|text| text.chars().count());
        let msg = format!("String should have at most {most} characters");
        self.check(length.is_some_and(|length| (least..=most).contains(&length)), at.clone(), &msg);
    }

    fn one_of(&mut self, at: &Value, value: &Value, known: &[&str]) {
        let good = value.as_str().is_some_and(|value| known.contains(&value));
        self.check(good, at.clone(), &format!("Input should be one of {known:?}"));
    }

    fn tags(&mut self, at: &Value, value: &Value) {
        let Some(tags) = value.as_array() else {
            return self.check(false, at.clone(), "Input should be a valid list");
        };
        self.check(tags.len() <= 10, at.clone(), "List should have at most 10 items");
        for (index, tag) in tags.iter().enumerate() {
            let tag = tag.as_str().unwrap_or_default().to_lowercase();
            let good = (1..=30).contains(&tag.chars().count()) && is_hyphened(&tag);
            self.check(good, json!(["body", "tags", index]), "Value error, not a tag");
        }
    }

    fn parts(&mut self, at: &Value, value: &Value, most: usize, known: &[&str]) {
        let Some(parts) = value.as_array() else {
            return self.check(false, at.clone(), "Input should be a valid list");
        };
        for (index, part) in parts.iter().enumerate() {
            let at = |name: &str| json!([at[0], at[1], index, name]);
            let Some(part) = part.as_object() else {
                self.check(false, at(""), "Input should be a valid dictionary");
                continue;
            };
            self.check(part.contains_key("type"), at("type"), "Field required");
            for (name, value) in part {
                match name.as_str() {
                    unknown if !known.contains(&unknown) => {
                        self.check(false, at(name), "Extra inputs are not permitted");
                    }
                    "type" => self.text(&at(name), value, 1, most),
                    "description" => self.text(&at(name), value, 0, 500),
                    "version" => self.check(is_version(value, 2), at(name), "String should match pattern"),
                    "enabled" => self.check(value.is_boolean(), at(name), "Input should be a valid boolean"),
                    _ => self.check(value.is_object(), at(name), "Input should be a valid dictionary"),
                }
            }
        }
    }
}

fn is_version(value: &Value, parts: usize) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    value.as_str().is_some_and(|text| text.split('.').count() == parts && text.split('.').all(number))
}

fn is_slug(value: &Value) -> bool {
    let Some(slug) = value.as_str() else { return false };
    (3..=63).contains(&slug.len())
        && is_hyphened(slug)
        && !RESERVED.split_whitespace().any(|word| word == slug)
}

/// Lower-case words with single hyphens between them.
fn is_hyphened(text: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.split('-').all(word)
}
