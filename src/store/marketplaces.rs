//! Marketplaces: accounts on SyftHubs, with their credentials sealed.

mod accounts;

pub(super) use accounts::keep;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, Select, Statement,
    sea_query::{Expr, LockType},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Store, attachments,
    entities::{Texts, marketplace, tenant},
    listings, now,
    seal::Owner,
};
use crate::{
    domain::{Configuration, Credential, Marketplace, MarketplaceId, NewMarketplace, TenantId},
    error::Error,
};

/// The sealed fields of a credential: it has one of them.
const API_TOKEN: &str = "api_token";
const PASSWORD: &str = "password";

/// What a marketplace is to its tenant.
#[derive(Clone, Copy)]
struct Rank {
    is_configured: bool,
    is_default: bool,
}

impl Store {
    /// The tenant's active marketplaces, oldest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn active_marketplaces(&self, tenant: TenantId) -> Result<Vec<Marketplace>, Error> {
        let find = of(tenant).filter(marketplace::Column::IsActive.eq(true));
        let rows = find.order_by_asc(marketplace::Column::Id).all(self.reader()).await?;
        rows.into_iter().map(|row| self.open_marketplace(tenant, row)).collect()
    }

    /// Makes the configured marketplace of a tenant its default one: the row of its URL if there is one,
    /// which becomes active. What was configured before is active no longer. Writes nothing when all is
    /// as it should be, so any number of replicas start with it.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn configure_marketplace(
        &self,
        tenant: TenantId,
        new: Option<NewMarketplace>,
    ) -> Result<(), Error> {
        if self.is_configured(tenant, new.as_ref()).await? {
            return Ok(());
        }
        self.reconfigure(tenant, new).await
    }

    /// Notes the account's e-mail address.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn set_marketplace_email(
        &self,
        tenant: TenantId,
        id: MarketplaceId,
        email: String,
    ) -> Result<(), Error> {
        self.change(move |txn| {
            Box::pin(async move {
                marketplace::Entity::update_many()
                    .col_expr(marketplace::Column::Email, Expr::value(email))
                    .col_expr(marketplace::Column::UpdatedAt, Expr::value(now()))
                    .filter(marketplace::Column::TenantId.eq(tenant.0))
                    .filter(marketplace::Column::Id.eq(id.0))
                    .exec(txn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn is_configured(&self, tenant: TenantId, new: Option<&NewMarketplace>) -> Result<bool, Error> {
        let rows = configured(tenant).all(self.reader()).await?;
        let same = |row: marketplace::Model, new: &NewMarketplace| {
            self.open_marketplace(tenant, row).is_ok_and(|stored| {
                // One whose credential does not open is written anew.
                let credential = stored.credential.as_ref().map(field);
                stored.is_default
                    && stored.is_active
                    && stored.url == new.url
                    && stored.name == new.name
                    && stored.username == new.username
                    && stored.issuers == new.issuers
                    && credential == Some(field(&new.credential))
            })
        };
        Ok(rows.len() == usize::from(new.is_some())
            && rows.into_iter().zip(new).all(|(row, new)| same(row, new)))
    }

    async fn reconfigure(&self, tenant: TenantId, new: Option<NewMarketplace>) -> Result<(), Error> {
        let store = self.clone();
        self.change(move |txn| {
            Box::pin(async move {
                lock_tenant(txn, tenant).await?;
                for row in configured(tenant).all(txn).await? {
                    marketplace::Entity::update(retired(row)).exec(txn).await?;
                }
                let Some(new) = new else { return Ok(()) };
                marketplace::Entity::update_many()
                    .col_expr(marketplace::Column::IsDefault, Expr::value(false))
                    .filter(marketplace::Column::TenantId.eq(tenant.0))
                    .filter(marketplace::Column::IsDefault.eq(true))
                    .exec(txn)
                    .await?;
                let found = at(tenant, &new.url).one(txn).await?;
                store.put(txn, tenant, (found, new), Rank { is_configured: true, is_default: true }).await?;
                Ok(())
            })
        })
        .await
    }

    /// Stores an account: in the row of its URL, if there is one, which is active again, and is told again of
    /// whatever it does not know.
    async fn put(
        &self,
        txn: &DatabaseTransaction,
        tenant: TenantId,
        (found, new): (Option<marketplace::Model>, NewMarketplace),
        rank: Rank,
    ) -> Result<marketplace::Model, Error> {
        let Some(found) = found else {
            let row = self.fresh(tenant, new, rank)?;
            return Ok(marketplace::Entity::insert(row).exec_with_returning(txn).await?);
        };
        if found.username != new.username {
            forget_listings(txn, found.id).await?;
        }
        let untold = "marketplace_id = $1 AND state <> 'published'";
        listings::again(txn, untold, [found.id.into()]).await?;
        Ok(marketplace::Entity::update(self.changed(tenant, found, new, rank)?).exec(txn).await?)
    }

    fn fresh(
        &self,
        tenant: TenantId,
        new: NewMarketplace,
        rank: Rank,
    ) -> Result<marketplace::ActiveModel, Error> {
        let id = MarketplaceId::new();
        Ok(marketplace::ActiveModel {
            id: Set(id.0),
            tenant_id: Set(tenant.0),
            credential: Set(self.sealed(Owner { tenant, row: id.0 }, &new.credential)?),
            name: Set(new.name),
            username: Set(new.username),
            url: Set(new.url),
            satellite_id: Set(None),
            issuers: Set(Texts(new.issuers)),
            email: Set(new.email),
            announced_url: Set(None),
            report_error: Set(String::new()),
            removed_at: Set(None),
            is_configured: Set(rank.is_configured),
            is_default: Set(rank.is_default),
            is_active: Set(true),
            created_at: Set(now()),
            updated_at: Set(now()),
        })
    }

    fn changed(
        &self,
        tenant: TenantId,
        found: marketplace::Model,
        new: NewMarketplace,
        rank: Rank,
    ) -> Result<marketplace::ActiveModel, Error> {
        let other_account = found.username != new.username;
        let credential = self.sealed(Owner { tenant, row: found.id }, &new.credential)?;
        let mut row = found.into_active_model();
        if other_account {
            // What was known was known of the other one.
            row.email = Set(String::new());
            row.satellite_id = Set(None);
            row.announced_url = Set(None);
        }
        if !new.email.is_empty() {
            row.email = Set(new.email);
        }
        row.credential = Set(credential);
        row.name = Set(new.name);
        row.username = Set(new.username);
        row.issuers = Set(Texts(new.issuers));
        row.report_error = Set(String::new());
        row.is_configured = Set(rank.is_configured);
        row.is_default = Set(rank.is_default);
        row.is_active = Set(true);
        row.removed_at = Set(None);
        row.updated_at = Set(now());
        Ok(row)
    }

    fn sealed(&self, owner: Owner, credential: &Credential) -> Result<Value, Error> {
        let (name, secret) = field(credential);
        let mut credential = Configuration::from_iter([(name.to_owned(), secret.into())]);
        self.secrets().seal(owner, &[name], &mut credential)?;
        Ok(Value::Object(credential))
    }

    pub(super) fn open_marketplace(
        &self,
        tenant: TenantId,
        row: marketplace::Model,
    ) -> Result<Marketplace, Error> {
        let mut credential = attachments::object(row.credential)?;
        let opened = self.secrets().open(Owner { tenant, row: row.id }, &mut credential);
        if let Err(error) = &opened {
            // It is not needed to know who the marketplace's account is, nor should it keep the owner out.
            tracing::error!(cause = error.cause(), "a marketplace's credential does not open");
        }
        let secret = |name| Some(credential.get(name)?.as_str()?.to_owned().into());
        let credential = secret(API_TOKEN).map(Credential::ApiToken);
        let credential = credential.or_else(|| secret(PASSWORD).map(Credential::Password));
        Ok(Marketplace {
            id: MarketplaceId(row.id),
            credential: credential.filter(|_| opened.is_ok()),
            name: row.name,
            username: row.username,
            url: row.url,
            satellite_id: row.satellite_id,
            issuers: row.issuers.0,
            email: row.email,
            is_default: row.is_default,
            is_active: row.is_active,
            is_configured: row.is_configured,
            announced_url: row.announced_url,
            report_error: row.report_error,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

fn of(tenant: TenantId) -> Select<marketplace::Entity> {
    marketplace::Entity::find().filter(marketplace::Column::TenantId.eq(tenant.0))
}

/// The marketplace of that URL. What is found is nobody else's to change until the transaction ends.
fn at(tenant: TenantId, url: &str) -> Select<marketplace::Entity> {
    of(tenant).filter(marketplace::Column::Url.eq(url)).lock(LockType::NoKeyUpdate)
}

fn configured(tenant: TenantId) -> Select<marketplace::Entity> {
    of(tenant).filter(marketplace::Column::IsConfigured.eq(true))
}

/// Takes the tenant's row lock until the transaction ends: of its marketplaces, one at most is the default
/// one, and one at most has a URL.
async fn lock_tenant(txn: &DatabaseTransaction, tenant: TenantId) -> Result<(), Error> {
    tenant::Entity::find_by_id(tenant.0).lock(LockType::NoKeyUpdate).one(txn).await?;
    Ok(())
}

/// What was listed was listed by another account, which cannot be entered any more; this one is to list
/// all of it anew, and has nothing that could be taken away.
async fn forget_listings(txn: &DatabaseTransaction, marketplace: Uuid) -> Result<(), Error> {
    let forget = [
        "DELETE FROM listings WHERE marketplace_id = $1 AND is_removal",
        "UPDATE listings SET state = 'pending', is_listed = FALSE, last_error = '', published_at = NULL, \
         reported_at = NULL, healthy = FALSE WHERE marketplace_id = $1",
    ];
    for sql in forget {
        let values = [marketplace.into()];
        txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values)).await?;
    }
    Ok(())
}

/// What the configuration names no longer.
fn retired(row: marketplace::Model) -> marketplace::ActiveModel {
    let mut row = row.into_active_model();
    row.is_configured = Set(false);
    row.is_default = Set(false);
    row.is_active = Set(false);
    row.updated_at = Set(now());
    row
}

/// The field in which a credential is kept, and what is in it.
fn field(credential: &Credential) -> (&'static str, &str) {
    match credential {
        Credential::ApiToken(token) => (API_TOKEN, token.expose_secret()),
        Credential::Password(password) => (PASSWORD, password.expose_secret()),
    }
}
