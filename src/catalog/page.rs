//! Pages of lists. A token is sealed for its list, its tenant and its filter: it shows nothing, and
//! opens nowhere else. A page ends after so many items, or before so many bytes: it must be an answer that
//! every client takes.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        ApiKey, Attachment, Document, Endpoint, MarketplaceDetail, Policy, Tenant, TenantId, rules::violation,
    },
    error::{Error, Rule},
    store::Store,
};

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 1000;
/// Bytes of one page, but for a single item: clients take answers of 4 MiB unless they are told otherwise.
const PAGE_BYTES: usize = 3 << 20;
/// Items read at once at most: a thousand of the largest would not fit into memory.
const MAX_STEP: usize = 64;
/// Bytes of ids, times, and what else an item has of one size.
pub(super) const FIXED: usize = 256;

/// Which page a caller wants.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// 0 for the default.
    pub size: i32,
    /// Empty for the first page.
    pub token: String,
}

/// One page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Empty on the last page.
    pub next_token: String,
}

/// What stands in a list.
pub(super) trait Listed: Send {
    /// Items read at first: fewer where one may be large.
    const STEP: usize = MAX_STEP;

    /// What the next page goes on after.
    fn key(&self) -> String;

    /// Bytes that it takes in an answer, about.
    fn bytes(&self) -> usize;
}

/// A list that is being read.
pub(super) struct Listing<'a> {
    store: &'a Store,
    context: String,
    /// What the page before ended with.
    after: Option<String>,
    size: usize,
}

impl<'a> Listing<'a> {
    /// `list` names the list and its filter.
    ///
    /// # Errors
    /// `Invalid` for a negative size and for a token that is not of this list.
    pub(super) fn new(
        store: &'a Store,
        tenant: TenantId,
        list: &str,
        request: &PageRequest,
    ) -> Result<Self, Error> {
        let context = format!("page/{tenant}/{list}");
        let size = match usize::try_from(request.size) {
            Ok(0) => DEFAULT_SIZE,
            Ok(size) => size.min(MAX_SIZE),
            Err(_) => {
                let message = "must be greater than or equal to 0";
                return Err(Error::Invalid(vec![violation("page_size", Rule::AtLeast(0.0), message)]));
            }
        };
        let after = match request.token.as_str() {
            "" => None,
            token => {
                let refused = || violation("page_token", Rule::Pattern, "is not a token of this list");
                Some(store.open_token(&context, token).ok_or_else(|| Error::Invalid(vec![refused()]))?)
            }
        };
        Ok(Self { store, context, after, size })
    }

    /// Reads a page. `next` reads so many items after a key.
    ///
    /// # Errors
    /// Those of `next`.
    pub(super) async fn read<T, F>(&self, next: impl Fn(Option<String>, u64) -> F) -> Result<Page<T>, Error>
    where
        T: Listed,
        F: Future<Output = Result<Vec<T>, Error>>,
    {
        let (mut items, mut bytes, mut step) = (Vec::<T>::new(), 0, T::STEP);
        loop {
            // One more than the page, to see whether there is another.
            let wanted = (self.size + 1 - items.len()).min(step);
            let after = items.last().map(T::key).or_else(|| self.after.clone());
            let found = next(after, wanted as u64).await?;
            let last = found.len() < wanted;
            for item in found {
                bytes += item.bytes();
                if items.len() == self.size || (bytes > PAGE_BYTES && !items.is_empty()) {
                    return self.before_others(items);
                }
                items.push(item);
            }
            if last {
                return Ok(Page { items, next_token: String::new() });
            }
            let fitting = PAGE_BYTES.saturating_sub(bytes) / (bytes / items.len()).max(1) + 1;
            step = (step * 2).min(fitting).min(MAX_STEP);
        }
    }

    /// A page that has others after it.
    fn before_others<T: Listed>(&self, items: Vec<T>) -> Result<Page<T>, Error> {
        let last = items.last().map(T::key).unwrap_or_default();
        let next_token = self.store.seal_token(&self.context, &last)?;
        Ok(Page { items, next_token })
    }
}

/// The id that a key is, in lists that are in the order of ids.
pub(super) fn id(key: Option<String>) -> Option<Uuid> {
    key.and_then(|key| key.parse().ok())
}

impl Listed for Endpoint {
    fn key(&self) -> String {
        self.id.to_string()
    }

    fn bytes(&self) -> usize {
        let texts = [&self.slug, &self.name, &self.summary, &self.description];
        let listings = self.listings.iter().map(|listing| {
            FIXED + listing.marketplace_name.len() + listing.slug.len() + listing.last_error.len()
        });
        FIXED + texts.map(String::len).iter().sum::<usize>() + tags(&self.tags) + listings.sum::<usize>()
    }
}

impl Listed for Attachment {
    const STEP: usize = 16;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn bytes(&self) -> usize {
        let texts = self.name.len() + self.dtype.len() + self.summary.len();
        FIXED + texts + tags(&self.tags) + object(&self.configuration)
    }
}

impl Listed for Document {
    const STEP: usize = 2;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn bytes(&self) -> usize {
        FIXED + self.id.len() + self.content.len() + object(&self.metadata)
    }
}

impl Listed for Policy {
    const STEP: usize = 16;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn bytes(&self) -> usize {
        let texts = self.endpoint_slug.len() + self.name.len() + self.policy_type.len();
        FIXED + texts + object(&self.configuration)
    }
}

impl Listed for ApiKey {
    fn key(&self) -> String {
        self.id.to_string()
    }

    fn bytes(&self) -> usize {
        FIXED + self.name.len() + self.email.len()
    }
}

impl Listed for MarketplaceDetail {
    fn key(&self) -> String {
        self.marketplace.id.to_string()
    }

    fn bytes(&self) -> usize {
        let one = &self.marketplace;
        let texts = [&one.name, &one.username, &one.url, &one.email, &one.report_error];
        FIXED + texts.map(String::len).iter().sum::<usize>()
    }
}

impl Listed for Tenant {
    fn key(&self) -> String {
        self.id.to_string()
    }

    fn bytes(&self) -> usize {
        FIXED + self.name.len() + self.display_name.len()
    }
}

fn tags(tags: &[String]) -> usize {
    tags.iter().map(|tag| tag.len() + 4).sum()
}

/// As a `google.protobuf.Struct`, in which every value is a message in a message.
fn object(object: &Map<String, Value>) -> usize {
    object.iter().map(|(name, value)| name.len() + 12 + json(value)).sum()
}

fn json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 12,
        Value::String(text) => text.len() + 12,
        Value::Array(values) => 12 + values.iter().map(json).sum::<usize>(),
        Value::Object(fields) => 12 + object(fields),
    }
}
