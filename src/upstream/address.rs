//! Which addresses may be called. Names are checked at every resolution, so that a name that changes
//! its address between two calls gains nothing; literal addresses never reach the resolver and are
//! checked in the URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use url::Host;

use crate::error::UpstreamError;

/// The rule. Link-local addresses and the known addresses of cloud metadata are never allowed;
/// loopback and private ranges only with `allow_private`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guard {
    pub(super) allow_private: bool,
}

impl Guard {
    /// Refuses URLs with a literal address that is not allowed.
    pub(super) fn check(self, url: &Url) -> Result<(), UpstreamError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(UpstreamError::rejected("its URL has no host")),
        };
        if self.allows(address) { Ok(()) } else { Err(UpstreamError::rejected("its address is not allowed")) }
    }

    pub(super) fn allows(self, address: IpAddr) -> bool {
        match canonical(address) {
            IpAddr::V4(v4) => !is_metadata_v4(v4) && (self.allow_private || !is_private_v4(v4)),
            IpAddr::V6(v6) => !is_metadata_v6(v6) && (self.allow_private || !is_private_v6(v6)),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err("no address of the host is allowed".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// IPv4 in IPv6 clothes (mapped, compatible, NAT64, 6to4) is judged as IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let tail = Ipv4Addr::from(((u32::from(s[6])) << 16) | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, ..] => IpAddr::V4(tail),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => IpAddr::V4(tail),
        [0x2002, high, low, ..] => IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => address,
    }
}

fn is_metadata_v4(v4: Ipv4Addr) -> bool {
    v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_multicast()
        || v4.octets()[0] == 0
        || v4 == Ipv4Addr::new(100, 100, 100, 200)
        || v4 == Ipv4Addr::new(168, 63, 129, 16)
        || v4 == Ipv4Addr::new(192, 0, 0, 192)
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    let carrier_grade_nat = a == 100 && (64..128).contains(&b);
    let benchmarking = a == 198 && (b == 18 || b == 19);
    v4.is_private()
        || v4.is_loopback()
        || v4.is_documentation()
        || carrier_grade_nat
        || benchmarking
        || a >= 240
}

fn is_metadata_v6(v6: Ipv6Addr) -> bool {
    let google = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    let [first, second, ..] = v6.segments();
    let aws = (first, second) == (0xfd00, 0xec2);
    let teredo = (first, second) == (0x2001, 0);
    let site_local = first & 0xffc0 == 0xfec0;
    v6.is_unicast_link_local()
        || v6.is_multicast()
        || v6.is_unspecified()
        || aws
        || google == v6
        || teredo
        || site_local
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback() || v6.is_unique_local()
}
