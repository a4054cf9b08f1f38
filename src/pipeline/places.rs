//! Who may run a query now: a limit for all, and a fair share for each tenant.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::TenantId;

/// A tenant may run this many queries for each place that is free. So one that asks for everything is
/// stopped at two thirds, a second one finds two thirds of the rest, and whoever comes next finds room.
const SHARE: usize = 2;

/// The places of running queries. Clones share them.
#[derive(Clone)]
pub(super) struct Places {
    limit: usize,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    all: usize,
    /// Every tenant that has ever asked. While there is one, it has all places.
    by_tenant: HashMap<TenantId, usize>,
}

/// A query's place, free again when it is dropped.
pub(super) struct Place {
    tenant: TenantId,
    places: Places,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, running: Arc::default() }
    }

    /// A place, or none at once.
    pub(super) fn take(&self, tenant: TenantId) -> Option<Place> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.limit.saturating_sub(running.all);
        let alone = running.by_tenant.len() <= 1 && running.by_tenant.keys().all(|known| *known == tenant);
        let own = running.by_tenant.entry(tenant).or_default();
        if free == 0 || (!alone && *own >= SHARE * free) {
            return None;
        }
        *own += 1;
        running.all += 1;
        Some(Place { tenant, places: self.clone() })
    }

    #[cfg(test)]
    fn running(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.places.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.all = running.all.saturating_sub(1);
        if let Some(own) = running.by_tenant.get_mut(&self.tenant) {
            *own = own.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Place, Places};
    use crate::domain::TenantId;

    fn as_many_as_possible(places: &Places, tenant: TenantId) -> Vec<Place> {
        std::iter::from_fn(|| places.take(tenant)).collect()
    }

    #[test]
    fn who_is_alone_has_everything() {
        let places = Places::new(100);
        assert_eq!(as_many_as_possible(&places, TenantId::new()).len(), 100);
        assert_eq!(places.running(), 0, "places are given back");
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let (places, [a, b, c]) = (Places::new(100), [(); 3].map(|()| TenantId::new()));
        drop(places.take(b));
        let flood = as_many_as_possible(&places, a);
        assert_eq!(flood.len(), 67);
        let second = as_many_as_possible(&places, b);
        assert_eq!(second.len(), 22);
        assert!(places.take(a).is_none());
        assert!(places.take(c).is_some(), "a newcomer finds room");
    }

    proptest! {
        #[test]
        fn no_order_of_comings_and_goings_passes_the_limit(
            steps in prop::collection::vec((0_usize..4, any::<bool>()), 0..400),
        ) {
            let (places, tenants) = (Places::new(20), [(); 4].map(|()| TenantId::new()));
            let mut held: Vec<(usize, Place)> = Vec::new();
            for (tenant, comes) in steps {
                if comes {
                    held.extend(places.take(tenants[tenant]).map(|place| (tenant, place)));
                } else if let Some(at) = held.iter().position(|(holder, _)| *holder == tenant) {
                    held.remove(at);
                }
                prop_assert!(held.len() <= 20);
                prop_assert_eq!(places.running(), held.len());
            }
        }
    }
}
