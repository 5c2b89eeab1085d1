//! Decoded chunks, the most recently used ones of all files together.
//!
//! What makes it worth having is many small reads that fall into the same chunks: a walk column by column, or
//! any read at all of a dataset that was written as one giant chunk.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::memory::Bytes;

/// Bytes that may be kept unless somebody says otherwise.
const DEFAULT_BUDGET: usize = 512 << 20;

/// A request that goes through more than this part of the budget would drop what is of use to others, and
/// spend time on keeping what is soon dropped itself.
const SMALL_PART: usize = 8;

/// Bytes of an entry beside its chunk, about.
const OVERHEAD: usize = 128;

/// A decoded chunk that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its values, all of them.
    pub(crate) bytes: Bytes,
    /// They are 64-bit integers that were narrowed to 32 bits.
    pub(crate) narrow: bool,
}

impl Kept {
    fn memory(&self) -> usize {
        self.bytes.memory() + OVERHEAD
    }
}

/// A dataset by its number among the facts, and a chunk by its number in the grid.
type Place = (NonZero<u64>, u64);

struct Cache {
    entries: Option<LruCache<Place, Arc<Kept>>>,
    memory: usize,
}

static CACHE: Mutex<Cache> = Mutex::new(Cache { entries: None, memory: 0 });
/// Number of entries: where there are none, nobody takes the lock to look for one.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BUDGET: AtomicUsize = AtomicUsize::new(DEFAULT_BUDGET);

fn lock() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn hold() -> impl Sized + 'static {
    lock()
}

/// Sets how many bytes of decoded chunks may be kept, and drops what is more; 0 keeps none. The budget before.
pub fn set_budget(bytes: usize) -> usize {
    let mut cache = lock();
    let before = BUDGET.swap(bytes, Ordering::Relaxed);
    cache.shrink(bytes);
    before
}

impl Cache {
    /// Drops chunks, the longest unused ones first, until the rest takes no more than `bytes`.
    fn shrink(&mut self, bytes: usize) {
        let Some(entries) = &mut self.entries else { return };
        while self.memory > bytes {
            let Some((_, oldest)) = entries.pop_lru() else { break };
            self.memory = self.memory.saturating_sub(oldest.memory());
        }
        COUNT.store(entries.len(), Ordering::Release);
    }
}

/// The decoded chunks of one dataset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunks {
    dataset: NonZero<u64>,
}

impl Chunks {
    /// Those of the dataset with this number; `None` when nothing is to be kept.
    pub(crate) fn of(dataset: NonZero<u64>) -> Option<Self> {
        (BUDGET.load(Ordering::Relaxed) > 0).then_some(Self { dataset })
    }

    /// Whether a request that goes through so many chunks of so many bytes should keep them.
    pub(crate) fn keeps(count: usize, bytes: usize) -> bool {
        let budget = BUDGET.load(Ordering::Relaxed);
        match count {
            1 => bytes <= budget,
            _ => count.saturating_mul(bytes) <= budget / SMALL_PART,
        }
    }

    /// A chunk, if it is there.
    pub(crate) fn get(self, linear: u64) -> Option<Arc<Kept>> {
        if COUNT.load(Ordering::Acquire) == 0 {
            return None;
        }
        lock().entries.as_mut()?.get(&(self.dataset, linear)).map(Arc::clone)
    }

    /// Whether a chunk is there.
    pub(crate) fn has(self, linear: u64) -> bool {
        COUNT.load(Ordering::Acquire) > 0
            && lock().entries.as_ref().is_some_and(|entries| entries.contains(&(self.dataset, linear)))
    }

    /// Keeps a chunk, and drops others for it.
    pub(crate) fn put(self, linear: u64, chunk: Arc<Kept>) {
        let budget = BUDGET.load(Ordering::Relaxed);
        if chunk.memory() > budget {
            return;
        }
        let mut cache = lock();
        cache.shrink(budget - chunk.memory());
        cache.memory += chunk.memory();
        let entries = cache.entries.get_or_insert_with(LruCache::unbounded);
        if let Some(before) = entries.put((self.dataset, linear), chunk) {
            cache.memory = cache.memory.saturating_sub(before.memory());
        }
        COUNT.store(cache.entries.as_ref().map_or(0, LruCache::len), Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunk(len: usize) -> Arc<Kept> {
        Arc::new(Kept { bytes: Bytes::zeroed(len).unwrap(), narrow: false })
    }

    #[test]
    fn chunks_are_kept_within_the_budget() {
        let before = set_budget(10_000);
        let chunks = Chunks::of(NonZero::new(u64::MAX).unwrap()).unwrap();
        for linear in 0..10 {
            chunks.put(linear, chunk(2000));
            chunks.get(0).unwrap();
            assert!(lock().memory <= 10_000);
        }
        assert!(chunks.get(9).is_some(), "the last one");
        assert!(chunks.get(5).is_none(), "one that was not used for long");
        chunks.put(9, chunk(10));
        chunks.put(11, chunk(20_000));
        assert!(chunks.get(11).is_none(), "larger than the budget");
        assert_eq!(chunks.get(9).unwrap().bytes.len(), 10);
        assert!(Chunks::keeps(1, 10_000) && !Chunks::keeps(1, 10_001));
        assert!(Chunks::keeps(2, 600) && !Chunks::keeps(2, 1000));
        assert_eq!(set_budget(0), 10_000);
        assert_eq!(lock().memory, 0);
        assert!(chunks.get(0).is_none());
        assert!(Chunks::of(NonZero::<u64>::MIN).is_none());
        set_budget(before);
    }
}
