//! Plain values: no I/O, no async, nothing that knows a wire or a table.

mod answer;
mod caller;
mod catalog;
mod ids;
mod ingestion;
mod listing;
mod marketplace;
mod query;
pub mod rules;
pub mod schema;
mod usage;
pub mod words;

pub use answer::{
    Answer, Completion, Cost, FinishReason, HIGHLIGHTS, PolicyEntry, QueryEvent, Reference, References,
    Transaction, Usage,
};
pub use caller::{Access, Caller, Peer, Scope, Tenant};
pub use catalog::{
    ApiKey, Attachment, AttachmentChange, Configuration, ConfigurationChange, Document, Endpoint,
    EndpointChange, EndpointRef, Health, NewAttachment, NewEndpoint, NewPolicy, Policy, PolicyChange,
    ResponseType, TypeInfo,
};
pub use ids::{
    ApiKeyId, AttachmentId, ChargeId, EndpointId, FileId, IngestionId, ListingId, MarketplaceId, PolicyId,
    QueryId, TenantId,
};
pub use ingestion::{
    FileOrigin, FileState, FileWriter, IngestedFile, IngestionCounts, IngestionJob, IngestionSource,
    IngestionState,
};
pub use listing::{Listing, ListingState};
pub use marketplace::{Credential, Marketplace, MarketplaceDetail, NewMarketplace, Tally};
pub use query::{ChatOptions, Message, Query, QueryDraft, Role, SearchOptions, defaults};
pub use usage::{
    BucketWidth, QueryOutcome, QueryRecord, RecordFilter, RecordedText, Spread, UsageBucket, UsageShare,
    UsageTotals,
};
