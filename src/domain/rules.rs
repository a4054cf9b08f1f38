//! The rules that values must keep, each said once. They are pure; every transport renders their
//! violations in its own form.

use crate::error::{Error, Rule, Violation};

/// References returned at most, whatever the query asks for.
pub const MAX_REFERENCES: usize = 1000;
/// Stop sequences a query may name.
pub const MAX_STOP_SEQUENCES: usize = 16;
/// Bytes of a document's text.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Bytes of a password.
pub const MAX_PASSWORD: usize = 1024;
/// Bytes of a hub's API token.
pub const MAX_API_TOKEN: usize = 4096;
/// Options a query may not pass through: they belong to the service.
pub const RESERVED_EXTRAS: [&str; 5] = ["model", "messages", "stream", "stream_options", "n"];

/// Collects violations, so that a caller learns of all of them at once.
#[derive(Default)]
pub struct Check {
    violations: Vec<Violation>,
}

impl Check {
    /// Goes on from violations that were found before.
    pub fn of(violations: Vec<Violation>) -> Self {
        Self { violations }
    }

    /// Keeps the value, or the violation.
    pub fn take<T>(&mut self, checked: Result<T, Violation>) -> Option<T> {
        checked.map_err(|violation| self.violations.push(violation)).ok()
    }

    /// Notes a violation.
    pub fn fail(&mut self, field: impl Into<String>, rule: Rule, message: impl Into<String>) {
        self.violations.push(violation(field, rule, message));
    }

    /// Takes over violations found elsewhere, with `prefix` before their fields.
    pub fn absorb(&mut self, prefix: &str, violations: Vec<Violation>) {
        self.violations.extend(violations.into_iter().map(|mut violation| {
            violation.field = format!("{prefix}.{}", violation.field);
            violation
        }));
    }

    /// The violations, if there are any.
    pub fn finish(self) -> Result<(), Vec<Violation>> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }

    /// The value if nothing was violated. `value` is `None` only when something was.
    pub fn with<T>(self, value: Option<T>) -> Result<T, Error> {
        self.finish()?;
        value.ok_or_else(|| Error::internal("a value is missing without a violation"))
    }
}

/// One violation.
pub fn violation(field: impl Into<String>, rule: Rule, message: impl Into<String>) -> Violation {
    Violation { field: field.into(), rule, message: message.into() }
}

/// An endpoint's slug or a tenant's name: lower-cased, 3 to 64 of a-z, 0-9 and single inner hyphens.
pub fn slug(field: &str, value: &str) -> Result<String, Violation> {
    let value = value.to_ascii_lowercase();
    if value.is_empty() {
        return Err(violation(field, Rule::Missing, "is required"));
    }
    if value.len() < 3 {
        return Err(violation(field, Rule::TooShort(3), "must be at least 3 characters long"));
    }
    if value.len() > 64 {
        return Err(violation(field, Rule::TooLong(64), "must be at most 64 characters long"));
    }
    let allowed = value.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !allowed || value.starts_with('-') || value.ends_with('-') || value.contains("--") {
        let rule = "must contain only lowercase letters, numbers, and hyphens \
                    (no leading/trailing/consecutive hyphens)";
        return Err(violation(field, Rule::Pattern, rule));
    }
    Ok(value)
}

/// The name of a dataset or model: it is part of paths.
pub fn resource_name(field: &str, value: &str) -> Result<String, Violation> {
    let value = text(field, value, 64)?;
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Ok(value);
    }
    Err(violation(field, Rule::Pattern, "must contain only letters, digits, '.', '_' and '-'"))
}

/// A text that must be there, of at most `max` bytes.
pub fn text(field: &str, value: &str, max: usize) -> Result<String, Violation> {
    if value.trim().is_empty() {
        return Err(violation(field, Rule::Missing, "is required"));
    }
    optional_text(field, value, max)
}

/// A text of at most `max` bytes, without the one character that Postgres cannot store.
pub fn optional_text(field: &str, value: &str, max: usize) -> Result<String, Violation> {
    if value.len() > max {
        return Err(violation(field, Rule::TooLong(max), format!("must be at most {max} bytes long")));
    }
    if !can_be_stored(value, max) {
        return Err(violation(field, Rule::Pattern, "must not contain the character NUL"));
    }
    Ok(value.to_owned())
}

/// The name of something to be looked up: all that is asked of it is to be there.
pub fn named(field: &str, value: &str) -> Result<(), Violation> {
    if value.is_empty() { Err(violation(field, Rule::Missing, "is required")) } else { Ok(()) }
}

/// Whether a text could be one that was stored: of at most `max` bytes, and without NUL. What could not
/// is not looked up.
pub fn can_be_stored(value: &str, max: usize) -> bool {
    value.len() <= max && !value.contains('\0')
}

/// The URL of a service that has a host to itself: scheme, host, and port if it is not the scheme's.
/// Returned without a slash at the end.
pub fn origin(field: &str, value: &str) -> Result<String, Violation> {
    let rule = "must be an http or https URL of scheme, host and port, as https://space.example.org";
    let url = base_url(field, value).map_err(|found| match found.rule {
        Rule::Pattern => violation(field, Rule::Pattern, rule),
        _ => found,
    })?;
    let bare = url::Url::parse(&url).is_ok_and(|url| url.path() == "/");
    if bare { Ok(url) } else { Err(violation(field, Rule::Pattern, rule)) }
}

/// The URL below which a service is: without credentials, and with nothing behind the path. Returned
/// without a slash at the end.
pub fn base_url(field: &str, value: &str) -> Result<String, Violation> {
    let value = text(field, value, 500)?;
    let url = url::Url::parse(&value).ok().filter(|url| {
        let bare = url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && bare && anonymous
    });
    let rule = "must be an http or https URL, without credentials and query, as https://hub.example.org";
    let url = url.ok_or_else(|| violation(field, Rule::Pattern, rule))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The name of a new account on a hub, which lower-cases it.
pub fn username(field: &str, value: &str) -> Result<String, Violation> {
    if value.is_empty() {
        return Err(violation(field, Rule::Missing, "is required"));
    }
    if value.len() < 3 {
        return Err(violation(field, Rule::TooShort(3), "must be at least 3 characters long"));
    }
    if value.len() > 50 {
        return Err(violation(field, Rule::TooLong(50), "must be at most 50 characters long"));
    }
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Ok(value.to_owned());
    }
    Err(violation(field, Rule::Pattern, "must contain only letters, digits, '_' and '-'"))
}

/// The full name of somebody.
pub fn full_name(field: &str, value: &str) -> Result<String, Violation> {
    if value.chars().count() > 100 {
        return Err(violation(field, Rule::TooLong(100), "must be at most 100 characters long"));
    }
    text(field, value, 400)
}

/// A password that an account has.
pub fn password(field: &str, value: &str) -> Result<(), Violation> {
    if value.is_empty() {
        return Err(violation(field, Rule::Missing, "is required"));
    }
    if value.len() > MAX_PASSWORD {
        let message = format!("must be at most {MAX_PASSWORD} bytes long");
        return Err(violation(field, Rule::TooLong(MAX_PASSWORD), message));
    }
    Ok(())
}

/// A password for a new account on a hub.
pub fn new_password(field: &str, value: &str) -> Result<(), Violation> {
    password(field, value)?;
    if value.chars().count() < 8 {
        return Err(violation(field, Rule::TooShort(8), "must be at least 8 characters long"));
    }
    if value.chars().any(char::is_alphabetic) && value.chars().any(|c| c.is_ascii_digit()) {
        return Ok(());
    }
    Err(violation(field, Rule::Pattern, "must have a letter and a digit"))
}

/// A token that a header can carry.
pub fn api_token(field: &str, value: &str) -> Result<(), Violation> {
    if value.len() > MAX_API_TOKEN {
        let message = format!("must be at most {MAX_API_TOKEN} bytes long");
        return Err(violation(field, Rule::TooLong(MAX_API_TOKEN), message));
    }
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(violation(field, Rule::Pattern, "must have visible ASCII characters only"))
}

/// The code that a hub sends to an e-mail address.
pub fn code(field: &str, value: &str) -> Result<(), Violation> {
    if value.is_empty() {
        return Err(violation(field, Rule::Missing, "is required"));
    }
    if value.len() == 6 && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(violation(field, Rule::Pattern, "must be six digits"))
}

/// An e-mail address, lower-cased.
pub fn email(field: &str, value: &str) -> Result<String, Violation> {
    let value = text(field, value, 254)?.to_lowercase();
    let shape = value.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@') && !domain.starts_with('.')
    });
    if shape && !value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(value);
    }
    Err(violation(field, Rule::Pattern, "must be an e-mail address"))
}

/// Labels: at most 20, each 1 to 50 bytes, without commas.
pub fn tags(field: &str, values: &[String]) -> Result<Vec<String>, Violation> {
    if values.len() > 20 {
        return Err(violation(field, Rule::TooLong(20), "must be at most 20"));
    }
    for (i, tag) in values.iter().enumerate() {
        let field = format!("{field}.{i}");
        let tag = text(&field, tag, 50)?;
        if tag.contains(',') {
            return Err(violation(field, Rule::Pattern, "must not contain a comma"));
        }
    }
    Ok(values.iter().map(|tag| tag.trim().to_owned()).collect())
}

/// A finite number within bounds, both included.
pub fn number(field: &str, value: f64, min: f64, max: f64) -> Result<f64, Violation> {
    if !value.is_finite() {
        return Err(violation(field, Rule::NotFinite, "must be a finite number"));
    }
    if value < min {
        return Err(violation(field, Rule::AtLeast(min), format!("must be greater than or equal to {min}")));
    }
    if value > max {
        return Err(violation(field, Rule::AtMost(max), format!("must be less than or equal to {max}")));
    }
    Ok(value)
}

/// A count of 1 or more.
pub fn count(field: &str, value: i32) -> Result<u32, Violation> {
    match u32::try_from(value) {
        Ok(value) if value >= 1 => Ok(value),
        _ => Err(violation(field, Rule::AtLeast(1.0), "must be greater than or equal to 1")),
    }
}
