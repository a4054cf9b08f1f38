//! Callers inside a mesh: known by the name in the certificate of their connection.

use serde::{Deserialize, Serialize};

use crate::domain::{Peer, Scope};

/// Who a certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateCaller {
    /// A SPIFFE id or DNS name in the certificate. One `*` stands for any text without a slash at that
    /// place, as in `spiffe://cluster.local/ns/chat/sa/*` or `*.chat.svc`; as the last character, for any.
    pub name: String,
    /// The e-mail address that policies see.
    pub email: String,
    /// `query`, `manage`.
    #[serde(default = "query")]
    pub scopes: Vec<String>,
    /// The tenant. Empty: the default one.
    #[serde(default)]
    pub tenant: String,
}

impl CertificateCaller {
    /// Whether a name of the peer fits.
    pub(super) fn fits(&self, peer: &Peer) -> bool {
        peer.names().iter().any(|name| matches(&self.name, name))
    }

    pub(super) fn scopes(&self) -> Vec<Scope> {
        // Others have been refused with the configuration.
        self.scopes.iter().filter_map(|name| Self::scope(name)).collect()
    }

    /// A scope that a certificate may have: never the owner's own.
    pub fn scope(name: &str) -> Option<Scope> {
        Scope::parse(name).filter(|scope| *scope != Scope::Admin)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let middle = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    middle.is_some_and(|middle| !middle.is_empty() && (after.is_empty() || !middle.contains('/')))
}

fn query() -> Vec<String> {
    vec!["query".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names_are_matched_whole() {
        for (pattern, name) in [
            ("spiffe://a/ns/chat/sa/web", "spiffe://a/ns/chat/sa/web"),
            ("spiffe://a/ns/chat/*", "spiffe://a/ns/chat/sa/web"),
            ("spiffe://a/ns/*/sa/web", "spiffe://a/ns/chat/sa/web"),
            ("*.chat.svc", "web.chat.svc"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("spiffe://a/ns/chat/sa/web", "spiffe://a/ns/chat/sa/web2"),
            ("spiffe://a/ns/chat/sa/web", "x-spiffe://a/ns/chat/sa/web"),
            ("spiffe://a/ns/chat/*", "spiffe://a/ns/chat/"),
            ("spiffe://a/ns/*/sa/web", "spiffe://a/ns/evil/ns/chat/sa/web"),
            ("*.chat.svc", ".chat.svc"),
            ("*.chat.svc", "web.chat.svc.evil.org"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
