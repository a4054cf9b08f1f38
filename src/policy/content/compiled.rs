//! Automata that are made once for every plan, evaluation and check that needs them.
//!
//! Making one takes up to a second of the processor. So one is made at a time in a process, off the threads
//! that others' queries run on, and what was made is kept by what it was made of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use super::detector::Detector;

/// Bytes of what is kept: automata, and what they were made of.
const MAX_BYTES: usize = 64 << 20;

/// What an automaton is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::policy) enum Source {
    /// A regular expression.
    Regex { pattern: String, ignore_case: bool },
    /// Any of these words.
    Words { words: Vec<String>, ignore_case: bool, whole: bool },
}

/// One that cannot be made is kept too.
type Compiled = Result<Arc<Detector>, &'static str>;

#[derive(Default)]
struct Kept {
    by_source: HashMap<Source, (Compiled, u64)>,
    bytes: usize,
    /// Counts what was asked for: what was asked for last has the highest number.
    clock: u64,
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);
static COMPILING: Mutex<()> = Mutex::new(());

/// The automaton that is made of this.
///
/// # Errors
/// In words what is wrong with it, without the expression.
pub(in crate::policy) fn compiled(source: Source) -> Compiled {
    if let Some(found) = with_kept(|kept| kept.find(&source)) {
        return found;
    }
    aside(|| {
        let _one_at_a_time = lock(&COMPILING);
        // Somebody else may have made it meanwhile.
        if let Some(found) = with_kept(|kept| kept.find(&source)) {
            return found;
        }
        let made = source.compile().map(Arc::new);
        with_kept(|kept| kept.keep(source, made.clone(), MAX_BYTES));
        made
    })
}

/// Does what takes long so that other tasks of this thread go on meanwhile.
pub(in crate::policy) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

impl Source {
    fn compile(&self) -> Result<Detector, &'static str> {
        match self {
            Self::Regex { pattern, ignore_case } => Detector::regex(pattern, *ignore_case),
            Self::Words { words, ignore_case, whole } => Detector::words(words, *ignore_case, *whole),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Regex { pattern, .. } => pattern.len(),
            Self::Words { words, .. } => words.iter().map(|word| word.len() + size_of::<String>()).sum(),
        }
    }
}

impl Kept {
    fn find(&mut self, source: &Source) -> Option<Compiled> {
        self.clock += 1;
        let (found, asked) = self.by_source.get_mut(source)?;
        *asked = self.clock;
        Some(found.clone())
    }

    /// Forgets what was not asked for the longest, until there is room.
    fn keep(&mut self, source: Source, made: Compiled, room: usize) {
        self.clock += 1;
        self.bytes += size(&source, &made);
        self.by_source.insert(source, (made, self.clock));
        while self.bytes > room {
            let oldest = self.by_source.iter().min_by_key(|(_, (_, asked))| *asked);
            let Some(oldest) = oldest.map(|(source, _)| source.clone()) else { return };
            if let Some((made, _)) = self.by_source.remove(&oldest) {
                self.bytes -= size(&oldest, &made);
            }
        }
    }
}

/// Also of what has no automaton, so that the number of entries is bounded too.
fn size(source: &Source, made: &Compiled) -> usize {
    const ENTRY: usize = 256;
    ENTRY + source.size() + made.as_ref().map_or(0, |made| made.size())
}

fn with_kept<T>(work: impl FnOnce(&mut Kept) -> T) -> T {
    work(lock(&KEPT).get_or_insert_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{Compiled, Kept, Source, compiled};

    fn regex(pattern: &str) -> Source {
        Source::Regex { pattern: pattern.to_owned(), ignore_case: false }
    }

    #[test]
    fn what_was_made_is_not_made_again() {
        let made = |source: &Source| compiled(source.clone()).unwrap();
        let source = regex("made once [a-z]{3}");
        assert!(Arc::ptr_eq(&made(&source), &made(&source)));
        let otherwise = Source::Regex { pattern: "made once [a-z]{3}".to_owned(), ignore_case: true };
        assert!(!Arc::ptr_eq(&made(&source), &made(&otherwise)));
        assert_eq!(compiled(regex("(")).err(), compiled(regex("(")).err());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let mut kept = Kept::default();
        let compile = |source: &Source| -> Compiled { source.compile().map(Arc::new) };
        let sources = [regex("a"), regex("b"), regex("c"), regex("(")];
        let room = super::size(&sources[0], &compile(&sources[0])) * 5 / 2;
        for source in &sources[..2] {
            kept.keep(source.clone(), compile(source), room);
        }
        assert!(kept.find(&sources[0]).is_some());
        for source in &sources[2..] {
            kept.keep(source.clone(), compile(source), room);
        }
        let found = sources.clone().map(|source| kept.find(&source).is_some());
        assert_eq!(found, [false, false, true, true]);
        assert!(kept.bytes <= room);
        // One that has no room at all is not kept, and nothing else is lost of the count.
        kept.keep(regex("d"), compile(&regex("d")), 0);
        assert_eq!((kept.by_source.len(), kept.bytes), (0, 0));
    }

    /// With one thread, a timer goes on only if whoever compiles does not hold it up.
    #[test]
    fn others_go_on_while_one_is_made() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
        let ticks = runtime.unwrap().block_on(async {
            let tracker = tokio_util::task::TaskTracker::new();
            let compiling = tracker.spawn(async {
                for n in 0..20 {
                    let _ = compiled(regex(&format!(r"(?:{n}|[a-z]{{1,{}}}\w{{8}}x)", n + 2)));
                }
            });
            let mut ticks = 0;
            while !compiling.is_finished() {
                let tick = tracker.spawn(tokio::time::sleep(Duration::from_millis(1)));
                tick.await.unwrap();
                ticks += 1;
            }
            ticks
        });
        assert!(ticks > 20, "{ticks}");
    }
}
