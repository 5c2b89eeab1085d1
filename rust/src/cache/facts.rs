//! What was learned of files: descriptions, chunk indexes, pointers of matrices.
//!
//! Everything is kept under the identity of the file that it was learned from and the name of the dataset,
//! so a file that was changed or replaced is looked at anew.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::chunks::ChunkIndex;
use crate::dataset::Dataset;
use crate::identity::Identity;

/// Memory that the facts of all files may take together; the latest is kept whatever its size.
const BUDGET: usize = 64 << 20;

/// Bytes of an entry beside what its facts take: its place in the list and in the table, and what allocators add.
const ENTRY: usize = 512;

/// A file in some state, and the name of a dataset in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The file.
    pub identity: Identity,
    /// The dataset.
    pub name: Vec<u8>,
}

/// The facts of one dataset, each once somebody has asked for it.
#[derive(Debug, Clone, Default)]
struct Facts {
    dataset: Option<Arc<Dataset>>,
    index: Option<Arc<ChunkIndex>>,
    pointers: Option<Arc<[u64]>>,
    number: Option<NonZero<u64>>,
    /// How many chunks were looked for one by one, without an index.
    lookups: u64,
}

impl Facts {
    /// Memory that these facts of a dataset take, in bytes.
    fn memory(&self, key: &Key) -> usize {
        // All fields, so that none that is added is left out.
        let Self { dataset, index, pointers, number: _, lookups: _ } = self;
        ENTRY
            + key.name.len()
            + dataset.as_ref().map_or(0, |dataset| dataset.memory())
            + index.as_ref().map_or(0, |index| index.memory())
            + pointers.as_ref().map_or(0, |pointers| size_of_val::<[u64]>(pointers))
    }
}

struct Cache {
    entries: Option<LruCache<Key, Facts>>,
    memory: usize,
}

static CACHE: Mutex<Cache> = Mutex::new(Cache { entries: None, memory: 0 });

fn lock() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn hold() -> impl Sized + 'static {
    lock()
}

impl Cache {
    fn get<T>(&mut self, key: &Key, field: impl Fn(&Facts) -> Option<T>) -> Option<T> {
        self.entries.as_mut()?.get(key).and_then(field)
    }

    fn put(&mut self, key: &Key, change: impl FnOnce(&mut Facts)) {
        let entries = self.entries.get_or_insert_with(LruCache::unbounded);
        let before = entries.pop(key);
        self.memory -= before.as_ref().map_or(0, |facts| facts.memory(key));
        let mut facts = before.unwrap_or_default();
        change(&mut facts);
        self.memory += facts.memory(key);
        entries.put(key.clone(), facts);
        while self.memory > BUDGET && entries.len() > 1 {
            if let Some((key, oldest)) = entries.pop_lru() {
                self.memory -= oldest.memory(&key);
            }
        }
    }
}

macro_rules! fact {
    ($name:ident, $t:ty, $what:literal) => {
        #[doc = concat!("The ", $what, ", found by `find` unless it is known already.")]
        ///
        /// # Errors
        /// Those of `find`.
        pub(crate) fn $name<E>(key: &Key, find: impl FnOnce() -> Result<$t, E>) -> Result<$t, E> {
            if let Some(known) = lock().get(key, |facts| facts.$name.clone()) {
                return Ok(known);
            }
            // Not under the lock: this takes time. Two threads may find the same out; nothing is lost.
            let found = find()?;
            lock().put(key, |facts| facts.$name = Some(found.clone()));
            Ok(found)
        }
    };
}

fact!(dataset, Arc<Dataset>, "description of a dataset");
fact!(index, Arc<ChunkIndex>, "chunk index of a dataset");
fact!(pointers, Arc<[u64]>, "pointers of a compressed matrix");
/// A number that stands for the dataset, and was never given to another one or to another state of the file.
pub(crate) fn number(key: &Key) -> NonZero<u64> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut cache = lock();
    cache.get(key, |facts| facts.number).unwrap_or_else(|| {
        let number = NonZero::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZero::<u64>::MAX);
        cache.put(key, |facts| facts.number = Some(number));
        number
    })
}

/// Whether the chunk index of a dataset is known.
pub(crate) fn has_index(key: &Key) -> bool {
    lock().get(key, |facts| facts.index.clone()).is_some()
}

/// Counts chunks that are looked for without an index, unless there would be more than `most` of them. Whether there are not.
pub(crate) fn may_look_up(key: &Key, chunks: u64, most: u64) -> bool {
    let mut cache = lock();
    let before = cache.get(key, |facts| Some(facts.lookups)).unwrap_or(0);
    let after = before.saturating_add(chunks);
    if after <= most {
        cache.put(key, |facts| facts.lookups = after);
    }
    after <= most
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::Layout;
    use crate::element::ElementType;

    /// How many of these descriptions are kept, after more were put than fit.
    fn kept(of: impl Fn() -> Dataset, name_len: usize) -> usize {
        let identity = Identity::of(&std::fs::metadata(file!().split_once('/').unwrap().1).unwrap());
        let mut cache = Cache { entries: None, memory: 0 };
        let count = 2 * BUDGET / (60_000 + name_len);
        for number in 0..count {
            let mut name = number.to_le_bytes().to_vec();
            name.resize(name_len.max(8), b'x');
            cache.put(&Key { identity, name }, |facts| facts.dataset = Some(Arc::new(of())));
        }
        assert!(cache.memory <= BUDGET);
        let entries = cache.entries.unwrap();
        assert_eq!(cache.memory, entries.iter().map(|(key, facts)| facts.memory(key)).sum::<usize>());
        entries.len()
    }

    #[test]
    fn what_descriptions_hold_counts() {
        let of = |layout: Layout, fill: usize| Dataset {
            shape: vec![60_000],
            element: ElementType::from_numpy("|u1").unwrap(),
            packed: None,
            layout,
            fill: vec![1; fill],
            base: 0,
            elsewhere: false,
        };
        let most = BUDGET / 60_000;
        assert!(kept(|| of(Layout::Compact(vec![0; 60_000]), 0), 8) <= most, "values");
        assert!(kept(|| of(Layout::Contiguous(None), 60_000), 8) <= most, "a fill value");
        assert!(kept(|| of(Layout::Contiguous(None), 0), 60_000) <= most, "a name");
    }

    #[test]
    fn facts_are_kept_within_the_budget() {
        let identity = Identity::of(&std::fs::metadata(file!().split_once('/').unwrap().1).unwrap());
        let key = |number: u64| Key { identity, name: number.to_le_bytes().to_vec() };
        let large = |number| {
            pointers::<()>(&key(number), || Ok(vec![number; BUDGET / 8 / 4].into())).unwrap();
        };
        (0..3).for_each(large);
        assert_eq!(pointers::<()>(&key(0), || Err(())).unwrap()[0], 0);
        (3..6).for_each(large);
        assert!(pointers::<()>(&key(1), || Err(())).is_err(), "the oldest is dropped");
        assert_eq!(pointers::<()>(&key(5), || Err(())).unwrap()[0], 5);
        assert!(lock().memory <= BUDGET);
    }
}
