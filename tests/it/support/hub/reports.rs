//! Reports of what is alive.

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::{
    accounts::origin,
    routes::{Answer, Asked, invalid, violation},
    satellites,
    script::State,
};

/// Hubs believe no report for longer.
const MAX_TTL: u64 = 1_800;

/// What has been said of one endpoint.
#[derive(Clone, Debug)]
pub struct Report {
    pub slug: String,
    pub healthy: bool,
    /// On the hub's clock, both; until then it is believed.
    pub checked_at: OffsetDateTime,
    pub believed_until: OffsetDateTime,
    /// When it came: on the hub's clock, and on ours.
    pub arrived_at: OffsetDateTime,
    pub arrived: Instant,
    /// Where the space was said to be.
    pub url: String,
    pub satellite_id: Option<String>,
}

impl State {
    /// The slugs that [`super::OWNER`] lists of which a report was believed no longer before the next one came, or
    /// now; one for each time.
    pub(super) fn lapses(&self) -> Vec<String> {
        let mut lapses = Vec::new();
        for slug in self.slugs(super::OWNER) {
            let reports: Vec<&Report> = self.reports.iter().filter(|report| report.slug == slug).collect();
            let comings = reports.iter().skip(1).map(|next| next.arrived_at).chain([self.now()]);
            // One that is old when it comes has a second to be followed by a better one.
            let gap = |(report, next): &(&&Report, OffsetDateTime)| {
                *next - report.believed_until.max(report.arrived_at) > time::Duration::SECOND
            };
            let gaps = reports.iter().zip(comings).filter(gap).count();
            lapses.extend(std::iter::repeat_n(slug, gaps));
        }
        lapses
    }
}

pub(super) fn health(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let body = asked.object()?;
    let satellite_id = satellites::needed(state, &account, body.get("satellite_id").and_then(Value::as_str))?;
    let bad = |field: &str, msg: &str| invalid(vec![violation(json!(["body", field]), msg)]);
    let url = body.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    let domain = origin(&url).ok_or_else(|| bad("url", "Value error, not a URL"))?;
    let ttl = body.get("ttl_seconds").map_or(Some(300), Value::as_u64);
    let Some(ttl @ 1..=3_600) = ttl else { return Err(bad("ttl_seconds", "Input should be 1 to 3600")) };
    let items = body.get("endpoints").and_then(Value::as_array);
    let items = items.filter(|items| (1..=300).contains(&items.len()));
    let items = items.ok_or_else(|| bad("endpoints", "List should have at most 300 items"))?;
    let read: Option<Vec<_>> = items.iter().map(item).collect();
    let read = read.ok_or_else(|| bad("endpoints", "Input should be 'healthy' or 'unhealthy'"))?;
    state.account_mut(&account).unwrap().domain = Some(domain);
    let (mut updated, arrived_at) = (0, state.now());
    for (slug, healthy, checked_at) in read {
        let Some(record) = state.endpoints.get_mut(&(account.clone(), slug.clone())) else { continue };
        updated += 1;
        record.insert("health_status".to_owned(), if healthy { "healthy" } else { "unhealthy" }.into());
        record.insert("health_checked_at".to_owned(), checked_at.format(&Rfc3339).unwrap().into());
        record.insert("health_ttl_seconds".to_owned(), ttl.into());
        let believed_until = checked_at + std::time::Duration::from_secs(ttl.min(MAX_TTL));
        let (arrived, url, satellite_id) = (Instant::now(), url.clone(), satellite_id.clone());
        state.reports.push(Report {
            slug,
            healthy,
            checked_at,
            believed_until,
            arrived_at,
            arrived,
            url,
            satellite_id,
        });
    }
    Ok(Answer::new(200, &json!({"updated": updated, "ignored": items.len() - updated})))
}

fn item(item: &Value) -> Option<(String, bool, OffsetDateTime)> {
    let slug = item["slug"].as_str()?.to_owned();
    let healthy = match item["status"].as_str()? {
        "healthy" => true,
        "unhealthy" => false,
        _ => return None,
    };
    Some((slug, healthy, OffsetDateTime::parse(item["checked_at"].as_str()?, &Rfc3339).ok()?))
}
