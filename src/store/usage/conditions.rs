//! What a statement asks of records.

use sea_orm::Value;
use time::OffsetDateTime;

use crate::domain::{EndpointRef, RecordFilter, TenantId};

/// Conditions that must all hold, with the values in them. Every one begins with the tenant.
#[derive(Clone)]
pub(super) struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    pub(super) fn of(tenant: TenantId, filter: &RecordFilter) -> Self {
        let mut conditions = Self { text: "tenant_id = $1".to_owned(), values: vec![tenant.0.into()] };
        match &filter.endpoint {
            Some(EndpointRef::Slug(slug)) => conditions.are("endpoint_slug = ?", [slug.clone().into()]),
            Some(EndpointRef::Id(id)) => conditions.are("endpoint_id = ?", [id.0.into()]),
            None => {}
        }
        let asked: [(&str, Option<Value>); 7] = [
            ("dataset_id = ?", filter.dataset.map(|id| id.0.into())),
            ("caller = ?", filter.caller.clone().map(Value::from)),
            ("outcome = ?", filter.outcome.map(|outcome| outcome.name().into())),
            ("started_micros >= ?", filter.from.map(|at| micros(at).into())),
            ("started_micros < ?", filter.to.map(|at| micros(at).into())),
            ("request_id = ?", filter.request_id.map(Value::from)),
            ("correlation_id = ?", filter.correlation_id.clone().map(Value::from)),
        ];
        for (condition, value) in asked {
            if let Some(value) = value {
                conditions.are(condition, [value]);
            }
        }
        conditions
    }

    /// One more. Each `?` in it stands for a value.
    pub(super) fn are<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.text.push_str(" AND ");
        let mut values = values.into_iter();
        for (i, piece) in condition.split('?').enumerate() {
            if i > 0
                && let Some(value) = values.next()
            {
                let place = self.value(value);
                self.text.push_str(&place);
            }
            self.text.push_str(piece);
        }
    }

    /// A value, and what stands for it in the statement.
    pub(super) fn value(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// The first whole microsecond since 1970 that is not before `at`: that is how exact records are.
pub(super) fn micros(at: OffsetDateTime) -> i64 {
    let micros = -(-at.unix_timestamp_nanos()).div_euclid(1_000);
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::micros;

    #[test]
    fn bounds_are_rounded_up() {
        assert_eq!(micros(datetime!(1970-01-01 00:00:00.000001 UTC)), 1);
        assert_eq!(micros(datetime!(1970-01-01 00:00:00.0000011 UTC)), 2);
        assert_eq!(micros(datetime!(1969-12-31 23:59:59.9999999 UTC)), 0);
        assert_eq!(micros(datetime!(1969-12-31 23:59:59.999999 UTC)), -1);
    }
}
