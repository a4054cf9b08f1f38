//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that connections take. Clones share them.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// 0: no limit, and nothing is counted.
    per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place, free again when it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _address: Option<AtAddress>,
}

struct AtAddress {
    address: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    pub(super) fn new(all: usize, per_address: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_address, taken: Arc::default() }
    }

    /// Waits for a place among all; `None` when the address has no more.
    pub(super) async fn take(&self, address: IpAddr) -> Option<Place> {
        let at_address = match self.per_address {
            0 => None,
            limit => Some(self.take_at(address, limit)?),
        };
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _permit: permit, _address: at_address })
    }

    fn take_at(&self, address: IpAddr, limit: usize) -> Option<AtAddress> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(AtAddress { address, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for AtAddress {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}
