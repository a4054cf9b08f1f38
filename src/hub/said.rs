//! What hubs say when they refuse, read for the owner.

use serde_json::Value;

/// Characters of a hub's words that are shown.
const MAX_WORDS: usize = 300;
/// Characters of a code for programs.
const MAX_CODE: usize = 64;
/// A secret that is shorter than this could be guessed from where it has been struck out.
const MIN_SECRET: usize = 6;
/// What stands where a secret stood.
const STRUCK: &str = "***";

/// A hub's explanation of a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: Option<String>,
    pub(super) words: Option<String>,
}

impl Said {
    /// Reads the body of a refusal, in none of whose words any of `secrets` may be. A body that is not a hub's,
    /// such as a page of HTML, says nothing.
    pub(super) fn read(body: &str, secrets: &[&str]) -> Self {
        let Ok(body) = serde_json::from_str::<Value>(body) else { return Self::default() };
        let detail = body.get("detail").unwrap_or(&body);
        let code = text(detail, "code").or_else(|| text(detail, "error"));
        let words = match detail {
            Value::String(text) => text.clone(),
            Value::Array(list) => joined(list.iter().filter_map(violation)),
            _ => {
                let errors = detail.get("errors").and_then(Value::as_array).into_iter().flatten();
                let message = text(detail, "message").map(ToOwned::to_owned);
                joined(message.into_iter().chain(errors.filter_map(fault)))
            }
        };
        let secrets = spellings(secrets);
        let code = code.filter(|code| is_code(code, &secrets)).map(ToOwned::to_owned);
        Self { code, words: struck(printable(&words), &secrets) }
    }
}

/// What FastAPI finds wrong with a request. `input`, which quotes it, is not read.
fn violation(item: &Value) -> Option<String> {
    let place = item.get("loc").and_then(Value::as_array).into_iter().flatten();
    placed(place.filter_map(step).skip_while(|step| step == "body"), text(item, "msg")?)
}

/// What is wrong with one of several endpoints.
fn fault(item: &Value) -> Option<String> {
    placed(["index", "field"].iter().filter_map(|name| step(item.get(name)?)), text(item, "error")?)
}

fn placed(place: impl Iterator<Item = String>, words: &str) -> Option<String> {
    let place = place.collect::<Vec<_>>().join(".");
    Some(if place.is_empty() { words.to_owned() } else { format!("{place}: {words}") })
}

/// One step of the way to a field.
fn step(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(index) => Some(index.to_string()),
        _ => None,
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join("; ")
}

/// How secrets may come back: as they are, and as forms, addresses and JSON write them. The longest first, for
/// one may be in another.
fn spellings(secrets: &[&str]) -> Vec<String> {
    let mut spellings = Vec::with_capacity(4 * secrets.len());
    for secret in secrets {
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let quoted = Value::from(*secret).to_string();
        let quoted = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted);
        spellings.push(encoded.replace('+', "%20"));
        spellings.push(encoded);
        spellings.push(printable(quoted));
        spellings.push(printable(secret));
    }
    spellings.retain(|spelling| !spelling.is_empty());
    spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    spellings
}

/// In one line, without anything that moves a cursor.
fn printable(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_code(code: &str, secrets: &[String]) -> bool {
    let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let is_short = (1..=MAX_CODE).contains(&code.len());
    plain && is_short && !secrets.iter().any(|secret| code.contains(secret))
}

fn struck(mut words: String, secrets: &[String]) -> Option<String> {
    for secret in secrets {
        if secret.chars().count() < MIN_SECRET && words.contains(secret) {
            return None;
        }
        words = words.replace(secret, STRUCK);
    }
    let words: String = words.chars().take(MAX_WORDS).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MAX_WORDS, Said};

    fn words(body: &str) -> Option<String> {
        Said::read(body, &[]).words
    }

    #[test]
    fn every_form_of_a_refusal_is_read() {
        assert_eq!(words(r#"{"detail": "slug already exists"}"#).unwrap(), "slug already exists");
        let list = json!({"detail": [
            {"type": "x", "loc": ["body", "slug"], "msg": "too long", "input": "canary"},
            {"type": "x", "loc": ["body", "tags", 2], "msg": "bad", "input": {"a": "canary"}},
            {"type": "x", "loc": [], "msg": "worse"},
        ]});
        assert_eq!(words(&list.to_string()).unwrap(), "slug: too long; tags.2: bad; worse");
        let object = json!({"detail": {"code": "VALIDATION_ERROR", "message": "no", "errors": [
            {"index": 3, "field": "slug", "error": "reserved"}, {"error": "worse"}]}});
        let said = Said::read(&object.to_string(), &[]);
        assert_eq!(said.code.unwrap(), "VALIDATION_ERROR");
        assert_eq!(said.words.unwrap(), "no; 3.slug: reserved; worse");
        let other = Said::read(r#"{"detail": {"error": "AMBIGUOUS", "count": 2, "errors": null}}"#, &[]);
        assert_eq!((other.code.as_deref(), other.words), (Some("AMBIGUOUS"), None));
        // What stands before a hub has no detail.
        let gateway = Said::read(r#"{"code": 7, "message": "too many requests"}"#, &[]);
        assert_eq!((gateway.code, gateway.words.as_deref()), (None, Some("too many requests")));
    }

    #[test]
    fn what_is_no_hubs_says_nothing() {
        for body in
            ["", "<html><body>Bad gateway</body></html>", "{\"detail\": \"cut", "[]", "7", "{\"detail\": 7}"]
        {
            assert_eq!(Said::read(body, &[]), Said::default(), "{body}");
        }
        let odd = json!({"detail": {"code": "a code\nof <two> lines", "message": "x"}});
        assert_eq!(Said::read(&odd.to_string(), &[]).code, None);
    }

    #[test]
    fn words_are_one_short_line() {
        let body = json!({ "detail": format!("a\u{1b}[2J\u{0}b\r\n c{}", "é".repeat(1_000)) });
        let words = words(&body.to_string()).unwrap();
        assert!(words.starts_with("a [2J b cé") && words.chars().count() == MAX_WORDS, "{words}");
    }

    #[test]
    fn secrets_are_struck_out_however_they_come_back() {
        let secret = "pass \" & \tword-1";
        let [form, address, quoted] =
            ["pass+%22+%26+%09word-1", "pass%20%22%20%26%20%09word-1", r#"pass \" & \tword-1"#];
        let said =
            |text: String| Said::read(&json!({ "detail": text }).to_string(), &[secret, "word-1"]).words;
        let all = said(format!("{secret}, {form}, {address}, {quoted}")).unwrap();
        assert_eq!(all, "***, ***, ***, ***");
        assert_eq!(said("only word-1".to_owned()).unwrap(), "only ***");
        // Not even the beginning of one that is cut off.
        let long = said(format!("{}{secret}", "x".repeat(MAX_WORDS - 4))).unwrap();
        assert!(long.ends_with("x***"), "{long}");
        // Where a short one has been could be guessed.
        assert_eq!(Said::read(r#"{"detail": "a cat"}"#, &["a"]).words, None);
        let code = json!({"detail": {"code": "123456", "message": "the code is 123456"}});
        let said = Said::read(&code.to_string(), &["123456"]);
        assert_eq!((said.code, said.words.as_deref()), (None, Some("the code is ***")));
    }
}
