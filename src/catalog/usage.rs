//! What endpoints were used for.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Catalog, Page, PageRequest,
    page::{FIXED, Listed, Listing},
    policies::named_endpoint,
};
use crate::{
    domain::{
        AttachmentId, BucketWidth, EndpointRef, QueryOutcome, QueryRecord, RecordFilter, Tenant, UsageBucket,
        UsageShare, UsageTotals,
        rules::{self, Check},
    },
    error::{Error, Rule, Violation},
    store::RecordKey,
};

/// What is added up when nobody says.
const RANGE: Duration = Duration::days(30);
/// Buckets of one series at most.
const MAX_BUCKETS: i128 = 10_000;
/// Callers and endpoints that are listed when nobody says, and at most.
const TOP: i32 = 5;
const MAX_TOP: i32 = 100;

/// Which records, as it was asked: nothing is checked, and what is empty does not matter.
#[derive(Default)]
pub struct FilterDraft {
    pub endpoint_slug: String,
    pub endpoint_id: String,
    pub dataset_id: String,
    pub caller: String,
    pub outcome: Option<QueryOutcome>,
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    pub correlation_id: String,
    pub request_id: String,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

/// What to add up, as it was asked.
#[derive(Default)]
pub struct SummaryDraft {
    pub filter: FilterDraft,
    pub bucket: Option<BucketWidth>,
    pub top: Option<i32>,
    pub previews: bool,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

/// Records added up.
pub struct UsageSummary {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    pub totals: UsageTotals,
    pub buckets: Vec<UsageBucket>,
    pub top_callers: Vec<UsageShare>,
    pub top_endpoints: Vec<UsageShare>,
}

impl Catalog {
    /// A page of the tenant's records, newest first.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn query_records(
        &self,
        tenant: &Tenant,
        draft: FilterDraft,
        page: &PageRequest,
    ) -> Result<Page<QueryRecord>, Error> {
        let mut check = Check::default();
        let filter = parsed(&mut check, draft);
        check.finish()?;
        let listing = Listing::new(&self.store, tenant.id, &format!("query_records/{filter:?}"), page)?;
        listing.read(|after, limit| self.store.query_records(tenant.id, &filter, key(after), limit)).await
    }

    /// Adds records up.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn summarize_usage(&self, tenant: &Tenant, draft: SummaryDraft) -> Result<UsageSummary, Error> {
        let mut check = Check::of(draft.problems);
        let mut filter = parsed(&mut check, draft.filter);
        let to = filter.to.unwrap_or_else(OffsetDateTime::now_utc);
        let from = filter.from.unwrap_or_else(|| to.saturating_sub(RANGE));
        if filter.to.is_none() && from >= to {
            check.fail("filter.start_time", Rule::AtMost(0.0), "must be in the past");
        }
        (filter.from, filter.to) = (Some(from), Some(to));
        if draft.bucket.is_some_and(|width| buckets(width, from, to) > MAX_BUCKETS) {
            check.fail("bucket", Rule::TooLong(10_000), format!("makes more than {MAX_BUCKETS} buckets"));
        }
        let top = draft.top.unwrap_or(TOP);
        if top < 0 {
            check.fail("top", Rule::AtLeast(0.0), "must be greater than or equal to 0");
        }
        check.finish()?;
        let (store, previews) = (&self.store, draft.previews);
        let top = u32::try_from(top.min(MAX_TOP)).unwrap_or_default();
        Ok(UsageSummary {
            totals: store.usage_totals(tenant.id, &filter, previews).await?,
            buckets: match draft.bucket {
                Some(width) => store.usage_series(tenant.id, &filter, previews, width).await?,
                None => Vec::new(),
            },
            top_callers: store.top_callers(tenant.id, &filter, previews, top).await?,
            top_endpoints: store.top_endpoints(tenant.id, &filter, previews, top).await?,
            from,
            to,
        })
    }
}

fn parsed(check: &mut Check, draft: FilterDraft) -> RecordFilter {
    let mut own = Check::of(draft.problems);
    let endpoint = named_endpoint(&mut own, &draft.endpoint_slug, &draft.endpoint_id);
    if let Some(EndpointRef::Slug(slug)) = &endpoint {
        own.take(rules::optional_text("endpoint_slug", slug, 64));
    }
    own.take(rules::optional_text("caller", &draft.caller, 320));
    own.take(rules::optional_text("correlation_id", &draft.correlation_id, 128));
    let dataset = id(&mut own, "dataset_id", &draft.dataset_id).map(AttachmentId);
    let request_id = id(&mut own, "request_id", &draft.request_id);
    if draft.from.zip(draft.to).is_some_and(|(from, to)| from >= to) {
        own.fail("end_time", Rule::AtLeast(0.0), "must be after start_time");
    }
    check.absorb("filter", own.finish().err().unwrap_or_default());
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    RecordFilter {
        endpoint,
        dataset,
        caller: said(draft.caller),
        outcome: draft.outcome,
        from: draft.from,
        to: draft.to,
        request_id,
        correlation_id: said(draft.correlation_id),
    }
}

fn id(check: &mut Check, field: &str, text: &str) -> Option<Uuid> {
    if text.is_empty() {
        return None;
    }
    let id = text.parse();
    if id.is_err() {
        check.fail(field, Rule::Pattern, "must be a UUID");
    }
    id.ok()
}

/// How many buckets hold a moment from the one on and before the other.
fn buckets(width: BucketWidth, from: OffsetDateTime, to: OffsetDateTime) -> i128 {
    let begin =
        i64::try_from(from.unix_timestamp_nanos().div_euclid(1_000)).map_or(0, |from| width.begin(from));
    let last = (to.unix_timestamp_nanos() - 1).div_euclid(1_000);
    (last - i128::from(begin)).div_euclid(i128::from(width.micros())) + 1
}

/// The record that a page's key is.
fn key(after: Option<String>) -> Option<RecordKey> {
    let after = after?;
    let (started_micros, id) = after.split_once('/')?;
    Some(RecordKey { started_micros: started_micros.parse().ok()?, id: id.parse().ok()? })
}

impl Listed for QueryRecord {
    fn key(&self) -> String {
        let RecordKey { started_micros, id } = RecordKey::of(self);
        format!("{started_micros}/{id}")
    }

    fn bytes(&self) -> usize {
        let texts = [&self.correlation_id, &self.text.question, &self.text.answer];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        FIXED + self.endpoint_slug.len() + self.caller.len() + self.reason.len() + texts
    }
}
