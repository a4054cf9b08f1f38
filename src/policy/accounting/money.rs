//! Prices and amounts, as whole numbers. A price is read from the number's text and is exact to 10⁻¹⁸ of a
//! unit (JSON numbers come to us with some 15 digits; a text keeps all), so that a price per token may be far below the smallest amount; what a query costs is rounded once,
//! half up, to 10⁻⁹.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Number;

/// Digits after the point of a price, and of an amount.
const FINE: usize = 18;
const COARSE: usize = 9;
/// A price in units at most: a billion of them is still a whole number of 64 bits in an amount.
const MAX_UNITS: i128 = 1_000_000_000;

/// A price in 10⁻¹⁸ of the currency's unit. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::policy) struct Price(i128);

impl Price {
    /// Reads a decimal number, as JSON writes it.
    fn parse(text: &str) -> Option<Self> {
        if let Some(negative) = text.strip_prefix('-') {
            // Less than nothing is no price, and minus nothing is nothing.
            return Self::parse(negative.trim_start_matches('-')).filter(|price| price.is_zero());
        }
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || all.len() > 64 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
        let value = Self(fixed(all.trim_start_matches('0'), point.checked_sub(leading_zeros(&all))?)?);
        (value.0 <= MAX_UNITS * 10_i128.pow(FINE as u32)).then_some(value)
    }

    /// In 10⁻¹⁸ of the unit.
    pub(in crate::policy) fn fine(self) -> i128 {
        self.0
    }

    pub(in crate::policy) fn of_fine(fine: i128) -> Self {
        Self(fine)
    }

    pub(super) fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What so many of it cost.
    pub(super) fn times(self, count: i64) -> Self {
        Self(self.0.saturating_mul(count.max(0).into()))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// In 10⁻⁹ of the unit, rounded half up.
    pub(super) fn nano_units(self) -> i64 {
        let step = 10_i128.pow((FINE - COARSE) as u32);
        let (whole, rest) = (self.0 / step, self.0 % step);
        i64::try_from(whole + i128::from(rest >= step / 2)).unwrap_or(i64::MAX)
    }
}

/// Every digit of it, in units: `0.000000000001`. Never negative.
pub(in crate::policy) fn decimal_of(price: Price) -> String {
    let step = 10_i128.pow(FINE as u32);
    let text = format!("{}.{:018}", price.0 / step, price.0 % step);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An amount in units, as JSON writes numbers: `12.5`.
pub(super) fn decimal(nano_units: i64) -> String {
    let (whole, rest) = (nano_units / 1_000_000_000, nano_units % 1_000_000_000);
    let text = format!("{whole}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn leading_zeros(digits: &str) -> i32 {
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    i32::try_from(zeros).unwrap_or(i32::MAX)
}

/// `0.digits` times ten to the `point`, in 10⁻¹⁸, rounded half up.
fn fixed(digits: &str, point: i32) -> Option<i128> {
    let kept = point.checked_add(FINE as i32)?;
    if digits.is_empty() || kept < 0 {
        return Some(0);
    }
    let kept = usize::try_from(kept).ok().filter(|kept| *kept <= 38)?;
    let mut value: i128 = 0;
    for place in 0..kept {
        let digit = digits.as_bytes().get(place).map_or(0, |digit| digit - b'0');
        value = value.checked_mul(10)?.checked_add(digit.into())?;
    }
    let rounds_up = digits.as_bytes().get(kept).is_some_and(|digit| *digit >= b'5');
    Some(value + i128::from(rounds_up))
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(Number),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a price"))
    }
}

impl JsonSchema for Price {
    fn schema_name() -> Cow<'static, str> {
        "Price".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000_000},
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,18})?$"},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Price, decimal};

    fn price(text: &str) -> Price {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn prices_are_read_from_their_text_and_rounded_once() {
        for (text, nano_units) in [
            ("0", 0),
            ("0.0", 0),
            ("1", 1_000_000_000),
            ("0.1", 100_000_000),
            ("1e-9", 1),
            ("4.9e-10", 0),
            ("5e-10", 1),
            ("1.5e3", 1_500_000_000_000),
            ("0.30000000000000004", 300_000_000),
            ("1e9", 1_000_000_000_000_000_000),
            ("\"0.000000001\"", 1),
            ("\"0.0000000005\"", 1),
            ("\"0.000000000499999999\"", 0),
            ("1e-30", 0),
            ("-0.0", 0),
        ] {
            assert_eq!(price(text).nano_units(), nano_units, "{text}");
        }
        for bad in [
            "-1",
            "1e10",
            "1e400",
            "\"\"",
            "\"1.\u{0661}\"",
            "\"1e\"",
            "null",
            "\".\"",
            "\"-\"",
            "\"0.0e-2147483648\"",
        ] {
            assert!(serde_json::from_str::<Price>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_may_cost_less_than_the_smallest_amount() {
        let token = price("0.0000000000125");
        assert_eq!(token.times(1).nano_units(), 0);
        assert_eq!(token.times(1_000).nano_units(), 13);
        assert_eq!(token.times(40).nano_units(), 1, "half a nano-unit is rounded up");
        assert_eq!(price("1e9").times(i64::MAX).nano_units(), i64::MAX);
        assert_eq!(price("1").times(-3).nano_units(), 0);
    }

    proptest! {
        #[test]
        fn amounts_come_back_from_their_text(nano_units in 0..=1_000_000_000_000_000_000_i64) {
            prop_assert_eq!(Price::parse(&decimal(nano_units)).unwrap().nano_units(), nano_units);
        }

        #[test]
        fn no_text_panics(text in ".{0,30}", number in any::<f64>()) {
            Price::parse(&text);
            Price::parse(&number.to_string());
            Price::parse(&format!("{number:e}"));
        }
    }
}
