//! Tenants.

use super::{
    Catalog, Page, PageRequest,
    page::{Listing, id},
};
use crate::{
    domain::{
        Tenant, TenantId,
        rules::{self, Check},
    },
    error::Error,
};

impl Catalog {
    /// Creates a tenant.
    ///
    /// # Errors
    /// `MultiTenancyDisabled`, `Invalid`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_tenant(&self, name: &str, display_name: &str) -> Result<Tenant, Error> {
        if !self.settings.multi_tenancy {
            return Err(Error::MultiTenancyDisabled);
        }
        let mut check = Check::default();
        let name = check.take(rules::slug("tenant.name", name));
        let display_name = check.take(rules::optional_text("tenant.display_name", display_name, 200));
        let (name, display_name) = check.with(name.zip(display_name))?;
        let display_name = if display_name.is_empty() { name.clone() } else { display_name };
        self.store.create_tenant(name, display_name).await
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn tenant(&self, name: &str) -> Result<Tenant, Error> {
        rules::named("name", name).map_err(|violation| vec![violation])?;
        self.store.tenant(name).await
    }

    /// A page of all tenants.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>, Error> {
        let everywhere = TenantId(uuid::Uuid::nil());
        let listing = Listing::new(&self.store, everywhere, "tenants", page)?;
        listing.read(|after, limit| self.store.tenants(id(after), limit)).await
    }
}
