//! Records of queries as CSV (RFC 4180), for spreadsheets too: a text that one would take for a formula
//! begins with an apostrophe here.

use prost_types::Duration;

use super::{Cost, QueryRecord, moment};

/// The first line.
pub const HEADER: &str = "id,started_at,endpoint_slug,endpoint_id,dataset_id,caller,outcome,reason,preview,documents,\
    prompt_tokens,completion_tokens,usage_estimated,cost,currency,first_event_ms,first_token_ms,duration_ms,\
    request_id,correlation_id,question,answer\r\n";

/// A record's line, behind what `out` holds.
pub fn write(record: &QueryRecord, out: &mut String) {
    let usage = record.usage.unwrap_or_default();
    let mut line = Line { out, is_begun: false };
    line.text(&record.id);
    line.text(&moment(record.start_time));
    line.text(&record.endpoint_slug);
    line.text(record.endpoint_id());
    line.text(record.dataset_id());
    line.text(&record.caller);
    line.text(&record.outcome().word());
    line.text(&record.reason);
    line.plain(&record.preview.to_string());
    for count in [record.documents, usage.prompt_tokens, usage.completion_tokens] {
        line.plain(&count.to_string());
    }
    line.plain(&usage.estimated.to_string());
    let cost = record.cost.as_ref();
    line.plain(&cost.map(Cost::units).unwrap_or_default());
    line.text(cost.map_or("", |cost| &cost.currency));
    for time in [record.first_event_delay, record.first_token_delay, record.duration] {
        line.plain(&time.map(millis).unwrap_or_default());
    }
    for text in [record.request_id(), record.correlation_id(), record.question(), record.answer()] {
        line.text(text);
    }
    line.out.push_str("\r\n");
}

/// A line in the making.
struct Line<'o> {
    out: &'o mut String,
    is_begun: bool,
}

impl Line<'_> {
    /// A number, or nothing.
    fn plain(&mut self, field: &str) {
        if self.is_begun {
            self.out.push(',');
        }
        self.is_begun = true;
        self.out.push_str(field);
    }

    fn text(&mut self, text: &str) {
        let formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
        let guard = if formula || text.starts_with(['\t', '\r', '\n']) { "'" } else { "" };
        if text.contains([',', '"', '\r', '\n']) || text.trim() != text {
            self.plain("\"");
            self.out.push_str(guard);
            self.out.push_str(&text.replace('"', "\"\""));
            self.out.push('"');
        } else {
            self.plain(guard);
            self.out.push_str(text);
        }
    }
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> String {
    let micros = i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos) / 1_000;
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

impl Cost {
    /// The amount in units, all of its digits.
    pub fn units(&self) -> String {
        let (sign, nanos) = (if self.nano_units < 0 { "-" } else { "" }, self.nano_units.unsigned_abs());
        let text = format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl super::QueryOutcome {
    /// As it is called in JSON and CSV: `client_gone`.
    pub fn word(self) -> String {
        self.as_str_name().trim_start_matches("QUERY_OUTCOME_").to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cost, Duration, Line, QueryRecord, millis, write};

    fn text(text: &str) -> String {
        let mut out = String::new();
        Line { out: &mut out, is_begun: false }.text(text);
        out
    }

    #[test]
    fn texts_are_quoted_and_are_no_formulas() {
        for (given, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "'=1+1"),
            ("+491701234", "'+491701234"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("  =1", "\"'  =1\""),
            ("\t=1", "\"'\t=1\""),
            ("\rx", "\"'\rx\""),
            ("=\"a\",b", "\"'=\"\"a\"\",b\""),
            ("a=1", "a=1"),
            ("'quoted'", "'quoted'"),
        ] {
            assert_eq!(text(given), written, "{given:?}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (nano_units, units) in [
            (0, "0"),
            (1, "0.000000001"),
            (12_500_000_000, "12.5"),
            (-1, "-0.000000001"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Cost { nano_units, currency: String::new() }.units(), units);
        }
        assert_eq!(millis(Duration { seconds: 2, nanos: 30_999 }), "2000.030");
    }

    #[test]
    fn a_line_has_a_field_for_each_name() {
        let mut out = String::new();
        write(&QueryRecord::default(), &mut out);
        assert_eq!(out.matches(',').count(), super::HEADER.matches(',').count());
        assert!(out.ends_with("\r\n") && !super::HEADER.contains(' '));
    }
}
