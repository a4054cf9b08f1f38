//! Marketplaces brought in line with this space, without touching what others have published there.

use futures_util::future;

use super::{Chosen, Listings, Trouble, publication::differs, publish::unusable};
use crate::{
    domain::{Listing, ListingState, Marketplace, MarketplaceId, Tenant},
    error::Error,
    hub::Listed,
};

/// What became of one marketplace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub marketplace_id: MarketplaceId,
    pub marketplace_name: String,
    /// Slugs of this space's endpoints that it lists now.
    pub slugs: Vec<String>,
    /// Those that were missing there, or differed.
    pub published: Vec<String>,
    pub removed: Vec<String>,
    /// What went wrong, for the owner.
    pub error: Option<String>,
}

impl Listings {
    /// Brings marketplaces in line: what they should list and do not, or list otherwise, is published;
    /// what this space has published and wants there no more is removed. With `replace_all` the hub's own
    /// sync is called instead: everything that the account lists is replaced, what other spaces have published
    /// included, all or nothing.
    ///
    /// # Errors
    /// `NotFound` for a marketplace; `Invalid` when there is none; `StoreUnavailable`. What goes wrong on
    /// one marketplace is in its own result.
    pub async fn sync(&self, tenant: &Tenant, on: Chosen, replace_all: bool) -> Result<Vec<Synced>, Error> {
        let marketplaces = self.chosen(tenant, on).await?;
        let each = marketplaces.iter().map(async |one| {
            let synced = match (unusable(one), replace_all) {
                (Some(why), _) => return Ok(failed(one, why)),
                (None, true) => self.replace(tenant, one).await,
                (None, false) => self.reconcile(tenant, one).await,
            };
            match synced {
                Err(Trouble::Store(error)) => Err(error),
                Err(trouble) => Ok(failed(one, trouble.words(Some(one)))),
                Ok(synced) => Ok(synced),
            }
        });
        future::join_all(each).await.into_iter().collect()
    }

    async fn reconcile(&self, tenant: &Tenant, marketplace: &Marketplace) -> Result<Synced, Trouble> {
        let store = &self.inner.store;
        let wanted = store.listings_on(tenant.id, marketplace.id).await?;
        let shown = self.inner.hub.listed(marketplace).await?;
        let mut untold = Vec::new();
        for listing in wanted {
            if self.is_untold(tenant, &listing, &shown).await? {
                untold.push(listing);
            }
        }
        store.tell_again(untold.iter().map(|listing| listing.id).collect()).await?;
        let told = self.wait_for(tenant, &untold).await?;
        let now = store.listings_on(tenant.id, marketplace.id).await?;
        Ok(synced(marketplace, &now, &untold, &told))
    }

    /// Whether a marketplace shows something else than it should.
    async fn is_untold(&self, tenant: &Tenant, listing: &Listing, shown: &Listed) -> Result<bool, Error> {
        if listing.is_removal || listing.state != ListingState::Published {
            return Ok(true);
        }
        let Some(shown) = shown.get(&listing.slug) else { return Ok(true) };
        let plan = self.inner.store.plan(tenant.id, &listing.slug).await?;
        // What it would refuse is told too: then the owner is told why.
        let publication = self.inner.publication(tenant, &plan);
        Ok(publication.map_or(true, |wanted| differs(shown, &wanted)))
    }
}

fn synced(marketplace: &Marketplace, now: &[Listing], untold: &[Listing], told: &[Listing]) -> Synced {
    let slug = |listing: &Listing| listing.slug.clone();
    let has = |listing: &&Listing| listing.is_listed && !listing.is_removal;
    let ended = |listing: &Listing| told.iter().find(|one| one.id == listing.id);
    let is_told = |listing: &&Listing| {
        !listing.is_removal && ended(listing).is_some_and(|now| now.state == ListingState::Published)
    };
    let is_gone = |listing: &&Listing| listing.is_removal && ended(listing).is_none();
    let error = told.iter().find(|listing| listing.state != ListingState::Published);
    let error = error.map(|listing| match listing.last_error.as_str() {
        "" => format!("{}: not told yet; it goes on in the background", listing.slug),
        error => format!("{}: {error}", listing.slug),
    });
    Synced {
        slugs: now.iter().filter(has).map(slug).collect(),
        published: untold.iter().filter(is_told).map(slug).collect(),
        removed: untold.iter().filter(is_gone).map(slug).collect(),
        error,
        ..failed(marketplace, String::new())
    }
}

pub(super) fn failed(marketplace: &Marketplace, error: String) -> Synced {
    Synced {
        marketplace_id: marketplace.id,
        marketplace_name: marketplace.name.clone(),
        slugs: Vec::new(),
        published: Vec::new(),
        removed: Vec::new(),
        error: Some(error),
    }
}
