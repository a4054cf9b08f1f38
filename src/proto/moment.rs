//! Moments as text.

use prost_types::Timestamp;
use time::OffsetDateTime;

/// A moment in UTC, as RFC 3339 writes it, always to the microsecond: Python before 3.11 reads no other
/// number of digits.
pub fn moment(at: Option<Timestamp>) -> String {
    let at = at.unwrap_or_default();
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time, micros) = (at.date(), at.time(), at.microsecond());
    let (hour, minute, second) = time.as_hms();
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}
