//! What a marketplace is told of an endpoint, and what it would refuse.

use serde_json::{Map, Value, json};

use crate::{
    domain::{
        Configuration, Endpoint, Policy,
        rules::{Check, violation},
    },
    error::{Rule, Violation},
    hub::{Connection, ListedPolicy, Publication},
    policy::Policies,
    store::StoredPlan,
};

/// The hub's limits, in characters.
const NAME: usize = 100;
const DESCRIPTION: usize = 500;
const README: usize = 50_000;
const SLUG: usize = 63;
const TAG: usize = 30;
const TAGS: usize = 10;

/// Slugs that are paths of the hub's own.
const RESERVED: [&str; 24] = [
    "about",
    "admin",
    "api",
    "auth",
    "blog",
    "contact",
    "dashboard",
    "docs",
    "explore",
    "ftp",
    "health",
    "help",
    "login",
    "mail",
    "openapi.json",
    "privacy",
    "profile",
    "redoc",
    "register",
    "search",
    "settings",
    "support",
    "terms",
    "www",
];

/// What a marketplace lists of an endpoint. `tenant` is named where a space has several.
///
/// # Errors
/// Everything that the hub would refuse.
pub(super) fn publication(
    plan: &StoredPlan,
    policies: &Policies,
    tenant: Option<&str>,
) -> Result<Publication, Vec<Violation>> {
    let endpoint = &plan.endpoint;
    let tags = tags(&endpoint.tags);
    check(endpoint, &tags).finish()?;
    Ok(Publication {
        name: endpoint.name.clone(),
        description: endpoint.summary.clone(),
        kind: kind(endpoint),
        slug: endpoint.slug.clone(),
        visibility: "public",
        version: "0.1.0",
        readme: endpoint.description.clone(),
        tags,
        policies: plan.policies.iter().map(|policy| listed(policy, policies)).collect(),
        connect: vec![connection(&endpoint.slug, tenant)],
    })
}

/// By what the endpoint answers, not by what is attached to it.
fn kind(endpoint: &Endpoint) -> &'static str {
    let searches = endpoint.response_type.searches() && endpoint.dataset_id.is_some();
    let chats = endpoint.response_type.chats() && endpoint.model_id.is_some();
    match (searches, chats) {
        (true, true) => "model_data_source",
        (false, true) => "model",
        _ => "data_source",
    }
}

fn check(endpoint: &Endpoint, tags: &[String]) -> Check {
    let mut check = Check::default();
    if endpoint.slug.len() > SLUG {
        check.fail("slug", Rule::TooLong(SLUG), format!("must be at most {SLUG} characters long there"));
    }
    if RESERVED.contains(&endpoint.slug.as_str()) {
        check.fail("slug", Rule::Reserved, "is a word that marketplaces keep to themselves");
    }
    let texts = [
        ("name", &endpoint.name, NAME),
        ("summary", &endpoint.summary, DESCRIPTION),
        ("description", &endpoint.description, README),
    ];
    for (field, text, limit) in texts {
        check.take(at_most(field, text, limit));
    }
    if tags.len() > TAGS {
        check.fail("tags", Rule::TooLong(TAGS), format!("must be at most {TAGS} there"));
    }
    for (place, tag) in tags.iter().enumerate() {
        check.take(at_most(&format!("tags.{place}"), tag, TAG));
    }
    check
}

fn at_most(field: &str, text: &str, limit: usize) -> Result<(), Violation> {
    if text.chars().count() <= limit {
        return Ok(());
    }
    Err(violation(field, Rule::TooLong(limit), format!("must be at most {limit} characters long there")))
}

/// Labels as the hub writes them: of a-z, 0-9 and single inner hyphens, each once.
fn tags(labels: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for label in labels {
        let label = label.to_lowercase();
        let words = label.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
        let tag = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

/// A policy as everybody may see it: of its configuration, what its type says is nobody's secret.
fn listed(policy: &Policy, policies: &Policies) -> ListedPolicy {
    let spec = policies.specs().find(|spec| spec.name() == policy.policy_type);
    // A name may hold the address of whom it is about.
    let description = if policy.name.contains('@') { "" } else { &policy.name };
    ListedPolicy {
        kind: policy.policy_type.clone(),
        version: "1.0",
        enabled: true,
        description: description.to_owned(),
        config: spec.map_or_else(Configuration::new, |spec| spec.public(&policy.configuration)),
    }
}

fn connection(slug: &str, tenant: Option<&str>) -> Connection {
    let mut config = Map::new();
    config.insert("path".to_owned(), json!(format!("/api/v1/endpoints/{slug}/query")));
    if let Some(tenant) = tenant {
        config.insert("tenant_name".to_owned(), Value::from(tenant));
    }
    Connection { kind: "https", enabled: true, description: String::new(), config }
}

/// Whether what a hub shows of an endpoint is not what it should be. What the hub does not show is as it
/// should be.
pub(super) fn differs(shown: &Map<String, Value>, wanted: &Publication) -> bool {
    let Ok(Value::Object(wanted)) = serde_json::to_value(wanted) else { return true };
    wanted.iter().any(|(field, value)| shown.get(field).is_some_and(|shown| !covers(shown, value)))
}

/// Whether a value has all that is wanted of it; hubs add fields of their own.
fn covers(shown: &Value, wanted: &Value) -> bool {
    match (shown, wanted) {
        (Value::Object(shown), Value::Object(wanted)) => {
            wanted.iter().all(|(field, value)| shown.get(field).is_some_and(|shown| covers(shown, value)))
        }
        (Value::Array(shown), Value::Array(wanted)) => {
            shown.len() == wanted.len()
                && shown.iter().zip(wanted).all(|(shown, wanted)| covers(shown, wanted))
        }
        (shown, wanted) => shown == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{RESERVED, at_most, covers, tags};

    #[test]
    fn labels_become_tags_of_the_hub() {
        let labels = ["Legal QA", "c++", "legal-qa", "--", "Straße", "a_b"].map(str::to_owned);
        assert_eq!(tags(&labels), ["legal-qa", "c", "stra-e", "a-b"]);
    }

    #[test]
    fn limits_count_characters() {
        assert!(at_most("x", &"ü".repeat(100), 100).is_ok());
        assert!(at_most("x", &"ü".repeat(101), 100).is_err());
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn what_hubs_add_is_no_difference() {
        let wanted = json!({"a": [{"b": 1}], "c": "x"});
        assert!(covers(&json!({"a": [{"b": 1, "id": 7}], "c": "x", "stars": 2}), &wanted));
        assert!(!covers(&json!({"a": [{"b": 1}, {"b": 1}], "c": "x"}), &wanted));
        assert!(!covers(&json!({"a": [{}], "c": "x"}), &wanted));
    }
}
