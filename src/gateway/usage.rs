//! `/usage`: the records of queries, a page at a time, or all of them as CSV.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Method, StatusCode, Version, header};
use prost_types::{Duration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::Status;
use uuid::Uuid;

use super::{
    body::Violation,
    problem::Problem,
    resources::{PAGE, moment},
    route::{Answer, Call, Route},
};
use crate::proto::{
    ListQueryRecordsRequest, ListQueryRecordsResponse, QueryOutcome, QueryRecord, QueryRecordFilter, csv,
};

/// Which records, and in which form.
#[derive(Deserialize, JsonSchema)]
struct UsageQuery {
    /// Only queries at this slug, whether or not there is such an endpoint. Not together with `endpoint_id`
    #[serde(default)]
    #[schemars(length(max = 64))]
    endpoint_slug: String,
    /// Only queries of this endpoint, which may be gone
    #[serde(default)]
    #[schemars(with = "Uuid")]
    endpoint_id: Option<Uuid>,
    /// Only queries in this dataset, which may be gone
    #[serde(default)]
    #[schemars(with = "Uuid")]
    dataset_id: Option<Uuid>,
    /// Only queries of this caller: an e-mail address, in lower case
    #[serde(default)]
    #[schemars(length(max = 320))]
    caller: String,
    /// Only queries that ended like this
    #[serde(default)]
    #[schemars(with = "Outcome")]
    outcome: Option<Outcome>,
    /// Only queries from this moment on, as RFC 3339 writes it
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    start_time: Option<String>,
    /// Only queries before this moment
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    end_time: Option<String>,
    /// Only queries with this `X-Correlation-ID`
    #[serde(default)]
    #[schemars(length(max = 128))]
    correlation_id: String,
    /// Only queries with this id of a request
    #[serde(default)]
    #[schemars(with = "Uuid")]
    request_id: Option<Uuid>,
    /// `csv`: all records, as a file; `Accept: text/csv` asks for the same
    #[serde(default)]
    format: Format,
    /// Records of a page at most; 0: 50; above 1000 counts as 1000. Not for `csv`
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    page_size: i64,
    /// The `next_page_token` of the page before. Not for `csv`
    #[serde(default)]
    page_token: String,
}

/// How a query ended.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Outcome {
    Completed,
    Refused,
    Failed,
    ClientGone,
    DeadlineExceeded,
    ShuttingDown,
    Panicked,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Format {
    #[default]
    Json,
    Csv,
}

/// Records of queries, newest first.
#[derive(Serialize, JsonSchema)]
struct UsageResponse {
    records: Vec<UsageRecord>,
    /// For `page_token`; null on the last page.
    next_page_token: Option<String>,
}

/// One query.
#[derive(Serialize, JsonSchema)]
struct UsageRecord {
    /// As in `X-Query-ID`.
    id: String,
    started_at: String,
    endpoint_slug: String,
    /// Null when no endpoint of that slug was published.
    endpoint_id: Option<String>,
    dataset_id: Option<String>,
    /// An e-mail address.
    caller: String,
    outcome: Outcome,
    /// A code of what went wrong; empty when nothing did.
    reason: String,
    preview: bool,
    documents: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    /// Whether the numbers of tokens are the service's and not the provider's.
    usage_estimated: bool,
    /// In units of the currency; null when nothing was charged.
    cost: Option<f64>,
    /// The same in billionths, exactly.
    cost_nano_units: Option<i64>,
    currency: Option<String>,
    first_event_ms: Option<f64>,
    first_token_ms: Option<f64>,
    duration_ms: f64,
    request_id: Option<String>,
    correlation_id: Option<String>,
    /// What was asked, where the service records text.
    question: Option<String>,
    /// What was answered, where the service records text.
    answer: Option<String>,
}

/// A page, or all pages as they come.
enum Listed {
    Page(Box<UsageResponse>),
    Csv(Body),
}

/// Pages of an export.
struct Export {
    call: Call,
    filter: QueryRecordFilter,
    /// Read, but not yet written.
    page: Option<ListQueryRecordsResponse>,
    next: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::asking(Method::GET, "/api/v1/usage", list)
            .says("Lists the records of queries, newest first, as pages of JSON or all of them as CSV")
            .fails(&[400, 422]),
    ]
}

async fn list(call: Call, asked: UsageQuery) -> Result<Listed, Problem> {
    let is_csv = asked.format == Format::Csv || call.accepts("text/csv");
    let (page_size, page_token) = (asked.page_size, asked.page_token.clone());
    let filter = asked.into_filter()?;
    if !is_csv {
        let page_size = i32::try_from(page_size).unwrap_or(i32::MAX);
        let request = ListQueryRecordsRequest { filter: Some(filter), page_size, page_token };
        let page = call.gateway.usage().list_query_records(call.asks(request)).await?.into_inner();
        return Ok(Listed::Page(Box::new(page.into())));
    }
    if call.version < Version::HTTP_11 {
        let detail = "CSV needs HTTP/1.1 or later: over HTTP/1.0 nobody sees it break";
        return Err(Problem::Refused(StatusCode::BAD_REQUEST, detail.into()));
    }
    let mut export = Export { call, filter, page: None, next: String::new() };
    // What is wrong is told before anything is written.
    export.page = Some(export.read().await?);
    Ok(Listed::Csv(Body::from_stream(export.lines())))
}

impl UsageQuery {
    fn into_filter(self) -> Result<QueryRecordFilter, Problem> {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let mut violations = Vec::new();
        let mut time = |name, text: &Option<String>| {
            let read = text.as_deref().map(|text| timestamp(name, text)).transpose();
            read.unwrap_or_else(|violation| {
                violations.push(violation);
                None
            })
        };
        let (start_time, end_time) = (time("start_time", &self.start_time), time("end_time", &self.end_time));
        if !violations.is_empty() {
            return Err(violations.into());
        }
        Ok(QueryRecordFilter {
            endpoint_slug: self.endpoint_slug,
            endpoint_id: id(self.endpoint_id),
            dataset_id: id(self.dataset_id),
            caller: self.caller,
            outcome: self.outcome.map_or(QueryOutcome::Unspecified, Outcome::into_proto).into(),
            start_time,
            end_time,
            correlation_id: self.correlation_id,
            request_id: id(self.request_id),
        })
    }
}

fn timestamp(name: &str, text: &str) -> Result<Timestamp, Violation> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        let msg = "Input should be a valid datetime, as 2027-01-31T00:00:00Z";
        Violation::new("datetime_parsing", vec!["query".into(), name.into()], msg).on(&text.into())
    })?;
    let nanos = i32::try_from(moment.nanosecond()).unwrap_or_default();
    Ok(Timestamp { seconds: moment.unix_timestamp(), nanos })
}

impl Export {
    async fn read(&mut self) -> Result<ListQueryRecordsResponse, Status> {
        let page_token = std::mem::take(&mut self.next);
        let filter = Some(self.filter.clone());
        let request = ListQueryRecordsRequest { filter, page_size: PAGE, page_token };
        let request = self.call.asks(request);
        let mut page = self.call.gateway.usage().list_query_records(request).await?.into_inner();
        self.next = std::mem::take(&mut page.next_page_token);
        Ok(page)
    }

    /// A page at a time, when the reader has room for it. A failure breaks the body off.
    fn lines(self) -> impl Stream<Item = Result<Bytes, Status>> {
        stream::try_unfold((self, true), |(mut export, is_first)| async move {
            let page = match export.page.take() {
                Some(page) => page,
                None if export.next.is_empty() => return Ok(None),
                None => export.read().await?,
            };
            let mut text = if is_first { csv::HEADER.to_owned() } else { String::new() };
            page.query_records.iter().for_each(|record| csv::write(record, &mut text));
            Ok(Some((Bytes::from(text), (export, false))))
        })
    }
}

impl Answer for Listed {
    fn response(self, status: StatusCode) -> Response {
        match self {
            Self::Page(page) => (status, Json(page)).into_response(),
            Self::Csv(body) => {
                let headers = [
                    (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
                    (header::CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\""),
                    (header::CACHE_CONTROL, "no-store"),
                ];
                (status, headers, body).into_response()
            }
        }
    }

    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        let csv = json_schema!({
            "type": "string",
            "description": "A line of names, then one a record, newest first (RFC 4180). A text that a \
                spreadsheet would take for a formula has an apostrophe in front. A failure on the way breaks the \
                body off.",
        });
        vec![("application/json", generator.subschema_for::<UsageResponse>()), ("text/csv", csv)]
    }
}

impl From<ListQueryRecordsResponse> for UsageResponse {
    fn from(page: ListQueryRecordsResponse) -> Self {
        Self {
            records: page.query_records.into_iter().map(UsageRecord::from).collect(),
            next_page_token: Some(page.next_page_token).filter(|token| !token.is_empty()),
        }
    }
}

impl From<QueryRecord> for UsageRecord {
    fn from(record: QueryRecord) -> Self {
        let usage = record.usage.unwrap_or_default();
        Self {
            outcome: record.outcome().into(),
            id: record.id,
            started_at: moment(record.start_time),
            endpoint_slug: record.endpoint_slug,
            endpoint_id: record.endpoint_id,
            dataset_id: record.dataset_id,
            caller: record.caller,
            reason: record.reason,
            preview: record.preview,
            documents: record.documents,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            usage_estimated: usage.estimated,
            cost: record.cost.as_ref().map(|cost| units(cost.nano_units)),
            cost_nano_units: record.cost.as_ref().map(|cost| cost.nano_units),
            currency: record.cost.map(|cost| cost.currency),
            first_event_ms: record.first_event_delay.map(millis),
            first_token_ms: record.first_token_delay.map(millis),
            duration_ms: record.duration.map(millis).unwrap_or_default(),
            request_id: record.request_id,
            correlation_id: record.correlation_id,
            question: record.question,
            answer: record.answer,
        }
    }
}

/// Billionths, in units: as exact as a JSON number is.
#[expect(clippy::cast_precision_loss, reason = "JSON has no other numbers")]
pub(super) fn units(nano_units: i64) -> f64 {
    nano_units as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "no query takes that long")]
fn millis(time: Duration) -> f64 {
    time.seconds as f64 * 1e3 + f64::from(time.nanos) / 1e6
}

impl Outcome {
    fn into_proto(self) -> QueryOutcome {
        match self {
            Self::Completed => QueryOutcome::Completed,
            Self::Refused => QueryOutcome::Refused,
            Self::Failed => QueryOutcome::Failed,
            Self::ClientGone => QueryOutcome::ClientGone,
            Self::DeadlineExceeded => QueryOutcome::DeadlineExceeded,
            Self::ShuttingDown => QueryOutcome::ShuttingDown,
            Self::Panicked => QueryOutcome::Panicked,
        }
    }
}

impl From<QueryOutcome> for Outcome {
    fn from(outcome: QueryOutcome) -> Self {
        match outcome {
            QueryOutcome::Completed => Self::Completed,
            QueryOutcome::Refused => Self::Refused,
            QueryOutcome::Failed | QueryOutcome::Unspecified => Self::Failed,
            QueryOutcome::ClientGone => Self::ClientGone,
            QueryOutcome::DeadlineExceeded => Self::DeadlineExceeded,
            QueryOutcome::ShuttingDown => Self::ShuttingDown,
            QueryOutcome::Panicked => Self::Panicked,
        }
    }
}
