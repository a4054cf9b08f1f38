//! Time that processes share, and a pacer that is a plain thread: tokio's timer rounds to a millisecond.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;

/// Nanoseconds since 1970: all processes of a run are on one machine and read one clock.
pub fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Wakes tasks at exact moments. Clones share one thread.
#[derive(Clone)]
pub struct Pacer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    due: Mutex<BinaryHeap<Due>>,
    earlier: Condvar,
}

struct Due {
    at: Instant,
    wake: oneshot::Sender<()>,
}

impl Pacer {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        thread::spawn(move || serve(&served));
        Self { shared }
    }

    /// Returns at `at`, or at once when that is over: a load that is behind catches up.
    pub async fn at(&self, at: Instant) {
        if at <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        {
            let mut due = self.shared.due.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = due.peek().is_none_or(|first| at < first.at);
            due.push(Due { at, wake });
            if earliest {
                self.shared.earlier.notify_one();
            }
        }
        // The thread never ends.
        let _ = woken.await;
    }
}

fn serve(shared: &Shared) {
    let mut due = shared.due.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = Instant::now();
        while due.peek().is_some_and(|first| first.at <= now) {
            if let Some(first) = due.pop() {
                // Whoever waited may be gone.
                let _ = first.wake.send(());
            }
        }
        due = match due.peek().map(|first| first.at.saturating_duration_since(now)) {
            None => shared.earlier.wait(due).unwrap_or_else(PoisonError::into_inner),
            Some(left) => shared.earlier.wait_timeout(due, left).unwrap_or_else(PoisonError::into_inner).0,
        };
    }
}

/// The earliest is the greatest: the heap gives the greatest first.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}
