//! Pages of lists. A token is sealed for its list, its tenant and its filter: it shows nothing, and
//! opens nowhere else.

use crate::{
    domain::{TenantId, rules::violation},
    error::{Error, Rule},
    store::Store,
};

const DEFAULT_SIZE: u64 = 50;
const MAX_SIZE: u64 = 1000;

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

/// A list that is being read.
pub(super) struct Listing<'a> {
    store: &'a Store,
    context: String,
    /// What the page before ended with.
    pub(super) after: Option<String>,
    size: u64,
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
        let size = match u64::try_from(request.size) {
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

    /// What the page before ended with, for lists in the order of ids.
    pub(super) fn after_id(&self) -> Option<uuid::Uuid> {
        self.after.as_deref().and_then(|after| after.parse().ok())
    }

    /// How many rows to read: one more than the page, to see whether there is another.
    pub(super) fn limit(&self) -> u64 {
        self.size + 1
    }

    /// How many items a page has at most.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// A page with nothing after it.
    pub(super) fn last_page<T>(&self, items: Vec<T>) -> Result<Page<T>, Error> {
        Ok(Page { items, next_token: String::new() })
    }

    /// A page that may have others after it.
    pub(super) fn page_before_others<T>(
        &self,
        items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Error> {
        let last = items.last().map(key).unwrap_or_default();
        let next_token = self.store.seal_token(&self.context, &last)?;
        Ok(Page { items, next_token })
    }

    /// A page of rows that were read up to [`Listing::limit`].
    pub(super) fn page<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>, Error> {
        if items.len() <= self.size() {
            return self.last_page(items);
        }
        items.truncate(self.size());
        self.page_before_others(items, key)
    }
}
