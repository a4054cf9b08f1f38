//! What time it is at hubs. A hub believes a report for some time from the moment that the report names, so
//! the moment must be one of the hub's own clock.

use moka::future::Cache;
use reqwest::header::{AGE, DATE, HeaderMap};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc2822};

/// Hubs whose clocks are known at most.
const HUBS: u64 = 10_000;
/// A date in a header has no fraction: on average it is half a second old.
const HALF_A_SECOND: Duration = Duration::milliseconds(500);

/// How far the clocks of hubs are ahead of ours, by their URLs. Clones share them.
#[derive(Clone)]
pub(super) struct Clocks {
    ahead: Cache<String, Duration>,
}

impl Clocks {
    pub(super) fn new() -> Self {
        Self { ahead: Cache::new(HUBS) }
    }

    /// How far this hub's clock is ahead of ours; nothing until it has answered.
    pub(super) async fn ahead(&self, hub: &str) -> Duration {
        self.ahead.get(hub).await.unwrap_or_default()
    }

    /// What time it is there, to the millisecond.
    pub(super) async fn now(&self, hub: &str) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        let there = now.checked_add(self.ahead(hub).await).unwrap_or(now);
        there.replace_millisecond(there.millisecond()).unwrap_or(there)
    }

    /// Reads the date of an answer that has just come.
    pub(super) async fn learn(&self, hub: &str, headers: &HeaderMap, sent_at: OffsetDateTime) {
        if let Some(ahead) = ahead(headers, sent_at, OffsetDateTime::now_utc()) {
            self.ahead.insert(hub.to_owned(), ahead).await;
        }
    }
}

fn ahead(headers: &HeaderMap, sent_at: OffsetDateTime, received_at: OffsetDateTime) -> Option<Duration> {
    // A cache between us and the hub has kept the answer, and its date with it.
    if headers.get(AGE).is_some_and(|age| age != "0") {
        return None;
    }
    let date = OffsetDateTime::parse(headers.get(DATE)?.to_str().ok()?, &Rfc2822).ok()?;
    let midway = sent_at + (received_at - sent_at) / 2;
    Some(date - midway + HALF_A_SECOND)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{AGE, DATE, HeaderMap};
    use time::{Duration, macros::datetime};

    use super::ahead;

    #[test]
    fn an_offset_is_read_from_the_middle_of_a_call_and_from_no_cache() {
        let (sent, received) = (datetime!(2026-11-25 17:00:00 UTC), datetime!(2026-11-25 17:00:04 UTC));
        let mut headers = HeaderMap::new();
        assert_eq!(ahead(&headers, sent, received), None);
        headers.insert(DATE, "Wed, 25 Nov 2026 17:02:01 GMT".parse().unwrap());
        assert_eq!(ahead(&headers, sent, received), Some(Duration::milliseconds(119_500)));
        headers.insert(AGE, "0".parse().unwrap());
        assert_eq!(ahead(&headers, sent, received), Some(Duration::milliseconds(119_500)));
        headers.insert(AGE, "17".parse().unwrap());
        assert_eq!(ahead(&headers, sent, received), None);
        headers.remove(AGE);
        headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(ahead(&headers, sent, received), None);
    }
}
