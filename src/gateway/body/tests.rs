use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shape, read, shape_of};

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Body {
    zeta: i64,
    #[schemars(range(min = 0, max = 1))]
    alpha: f64,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    either: Option<Either>,
    #[serde(default)]
    #[schemars(extend("format" = "slug"))]
    slug: Option<String>,
    #[serde(default)]
    #[schemars(length(max = 3))]
    short: Option<String>,
    #[serde(default)]
    id: Option<uuid::Uuid>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Text(String),
    Items(Vec<Item>),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Item {
    name: String,
}

fn body(value: &Value) -> Result<Body, Value> {
    let read = read::<Body>(&shape_of::<Body>(), value.to_string().as_bytes(), true);
    read.map_err(|violations| serde_json::to_value(violations).unwrap())
}

fn one(field: &str, value: Value) -> Result<Body, Value> {
    let mut given = json!({"zeta": 1, "alpha": 0.5});
    given[field] = value;
    body(&given).map_err(|violations| violations[0].clone())
}

#[test]
fn values_are_taken_as_they_are_meant() {
    for (value, expected) in
        [(json!("3"), 3), (json!(3.0), 3), (json!(" +3.0 "), 3), (json!(true), 1), (json!(-0.0), 0)]
    {
        assert_eq!(one("zeta", value.clone()).unwrap().zeta, expected, "{value}");
    }
    for value in [json!("0.5"), json!(0.5)] {
        assert!((one("alpha", value).unwrap().alpha - 0.5).abs() < f64::EPSILON);
    }
    for value in [json!("true"), json!("Yes"), json!(1), json!("on")] {
        assert!(one("flag", value).unwrap().flag);
    }
    assert_eq!(one("zeta", json!(1e300)).unwrap().zeta, i64::MAX);
    assert_eq!(one("slug", json!("My-Docs")).unwrap().slug.unwrap(), "my-docs");
    assert_eq!(one("unknown", json!([1, {}])).unwrap().zeta, 1);
    assert_eq!(one("either", json!("x")).unwrap().either, Some(Either::Text("x".to_owned())));
}

#[test]
fn everything_is_told_in_the_order_of_the_fields() {
    let violations = body(&json!({"alpha": 2, "flag": "maybe", "words": [1, "x", null]})).unwrap_err();
    insta::assert_json_snapshot!(violations);
}

#[test]
fn each_rule_has_its_words() {
    let cases = [
        ("zeta", json!(3.5)),
        ("zeta", json!("3.5")),
        ("zeta", json!(null)),
        ("alpha", json!(-0.1)),
        ("alpha", json!("nan")),
        ("alpha", json!("x")),
        ("alpha", json!([])),
        ("flag", json!(2)),
        ("flag", json!({})),
        ("words", json!("x")),
        ("slug", json!(7)),
        ("slug", json!("")),
        ("slug", json!("ab")),
        ("slug", json!("abc\n")),
        ("slug", json!("-abc")),
        ("short", json!("four")),
        ("id", json!("x")),
        ("id", json!(1)),
    ];
    let told: Vec<Value> = cases.into_iter().map(|(field, value)| one(field, value).unwrap_err()).collect();
    insta::assert_json_snapshot!(told);
}

#[test]
fn a_union_tells_what_each_of_its_branches_misses() {
    let mut given = json!({"zeta": 1, "alpha": 0.5});
    given["either"] = json!(3);
    insta::assert_json_snapshot!("union_of_a_number", body(&given).unwrap_err());
    given["either"] = json!([{"name": "a"}, {}]);
    insta::assert_json_snapshot!("union_of_items", body(&given).unwrap_err());
}

#[test]
fn what_is_no_object_is_told_as_such() {
    let shape = shape_of::<Body>();
    let told = |bytes: &[u8], is_json| read::<Body>(&shape, bytes, is_json).unwrap_err();
    let told =
        [told(b"", true), told(b"{\"zeta\": 1,\n  x}", true), told(b"[1]", true), told(b"zeta=1", false)];
    insta::assert_json_snapshot!(told);
}

#[test]
fn secrets_and_prompts_are_not_repeated() {
    #[derive(Debug, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Secrets {
        configuration: i64,
        messages: i64,
    }
    let given = json!({"configuration": "s3cret", "messages": "s3cret"}).to_string();
    let told = read::<Secrets>(&shape_of::<Secrets>(), given.as_bytes(), true).unwrap_err();
    let told = serde_json::to_string(&told).unwrap();
    assert!(!told.contains("s3cret"), "{told}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name =
            prop_oneof!["zeta", "alpha", "flag", "words", "either", "slug", "id", "name", "[a-z]{1,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(name, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever passes the check can be read, so nobody hears "cannot be read".
    #[test]
    fn what_passes_the_shape_can_be_read(value in any_json()) {
        if let Err(violations) = body(&value) {
            prop_assert!(!violations.to_string().contains("cannot be read"), "{value}: {violations}");
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read::<Body>(&shape_of::<Body>(), &bytes, true);
    }

    #[test]
    fn no_schema_is_too_strange(value in any_json()) {
        let _ = Shape::of(&value);
    }
}
