//! `grpc-timeout`, as the gRPC protocol writes it.
//!
//! tonic's own handling covers the time to the response headers only, answers CANCELLED, and passes
//! over malformed values; the service therefore reads the header itself and serves without it.

use std::time::Duration;

use http::HeaderMap;

use crate::{
    domain::rules::violation,
    error::{Error, Rule},
};

/// The time that the client's deadline leaves, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientTimeout(pub(super) Duration);

/// Reads the header.
///
/// # Errors
/// `Invalid` when it is not 1 to 8 digits and a unit of H, M, S, m, u, n.
pub(super) fn parse(headers: &HeaderMap) -> Result<Option<ClientTimeout>, Error> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(duration);
    let message = "must be 1 to 8 digits and one of H, M, S, m, u, n";
    let timeout = timeout.ok_or_else(|| vec![violation("grpc-timeout", Rule::Pattern, message)])?;
    Ok(Some(ClientTimeout(timeout)))
}

fn duration(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        assert_eq!(duration("1S").unwrap().as_secs(), 1);
        assert_eq!(duration("99999999H").unwrap().as_secs(), 99_999_999 * 3600);
        assert_eq!(duration("250m").unwrap().as_millis(), 250);
        for bad in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", "+1S", "é", "1é"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
