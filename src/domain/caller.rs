//! Who is calling, and in which tenant.

use std::sync::Arc;

use super::TenantId;

/// A space within the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub display_name: String,
    pub active: bool,
    pub created_at: time::OffsetDateTime,
}

/// What a credential allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Query and StreamQuery.
    Query,
    /// Everything in its tenant.
    Manage,
    /// Everything, tenants included. Only the admin key has it.
    Admin,
}

/// What a call needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub scope: Scope,
    /// Whether it is a query, which keeps its own deadlines.
    pub is_query: bool,
    /// Whether its request is a stream, which may take its time.
    pub sends_stream: bool,
}

/// An authenticated caller in a tenant. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    who: Arc<Who>,
}

#[derive(PartialEq, Eq)]
struct Who {
    tenant: Tenant,
    email: String,
    scopes: Vec<Scope>,
    guest: bool,
}

/// Who is at the other end of a connection, as its certificate says: SPIFFE ids and other URIs, then
/// DNS names. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    names: Arc<[String]>,
}

impl Peer {
    pub fn new(names: Vec<String>) -> Self {
        Self { names: names.into() }
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Scope {
    /// The name in stored rows and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Query, Self::Manage, Self::Admin].into_iter().find(|scope| scope.name() == name)
    }
}

impl Caller {
    /// The address is lower-cased: policies and counters know one spelling of it.
    pub fn new(tenant: Tenant, email: &str, scopes: Vec<Scope>) -> Self {
        Self { who: Arc::new(Who { tenant, email: email.to_lowercase(), scopes, guest: false }) }
    }

    /// Whoever has not signed in at the marketplace: may query, and shares the address with all others.
    pub fn guest(tenant: Tenant, email: &str) -> Self {
        let scopes = vec![Scope::Query];
        Self { who: Arc::new(Who { tenant, email: email.to_lowercase(), scopes, guest: true }) }
    }

    pub fn tenant(&self) -> &Tenant {
        &self.who.tenant
    }

    /// Lower-cased e-mail address: the identity that policies see. Never logged.
    pub fn email(&self) -> &str {
        &self.who.email
    }

    /// Whether nobody knows who it is: such callers may query endpoints without policies,
    /// and those that say so.
    pub fn is_guest(&self) -> bool {
        self.who.guest
    }

    /// Whether the caller holds `scope` or one that includes it.
    pub fn may(&self, scope: Scope) -> bool {
        self.who.scopes.iter().any(|held| *held == scope || *held == Scope::Admin)
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("tenant", &self.who.tenant.name).finish_non_exhaustive()
    }
}
