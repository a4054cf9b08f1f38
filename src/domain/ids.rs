//! Ids that cannot be mistaken for one another. UUIDv7: they sort by age.

use std::fmt;

use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, later than every one before it.
            #[expect(clippy::new_without_default, reason = "a default id would be a different one each time")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

id! {
    /// A tenant.
    TenantId;
    /// An endpoint.
    EndpointId;
    /// A dataset or a model.
    AttachmentId;
    /// A policy.
    PolicyId;
    /// An API key.
    ApiKeyId;
    /// A marketplace.
    MarketplaceId;
    /// An endpoint on a marketplace.
    ListingId;
    /// One reservation of money.
    ChargeId;
    /// One query.
    QueryId;
    /// A job that reads files into a dataset.
    IngestionId;
    /// A file of a dataset.
    FileId;
}
