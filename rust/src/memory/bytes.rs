//! Bytes of chunks.
//!
//! Large pieces come from the operating system in huge pages, where it has any: the page faults of a chunk of
//! 16 MB would otherwise take as long as inflating it.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From this length on huge pages are asked for, and a copy costs more than other memory for the next chunk.
pub const LARGE: usize = 4 << 20;

/// Bytes of a fixed number.
#[derive(Debug, Default)]
pub struct Bytes {
    held: Held,
    len: usize,
}

#[derive(Debug)]
enum Held {
    Allocated(Vec<u8>),
    Mapped(MmapMut),
}

impl Default for Held {
    fn default() -> Self {
        Self::Allocated(Vec::new())
    }
}

impl Bytes {
    /// So many zeros; `None` when there is no memory for them.
    pub fn zeroed(len: usize) -> Option<Self> {
        if len < LARGE {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(len).ok()?;
            bytes.resize(len, 0);
            return Some(Self { held: Held::Allocated(bytes), len });
        }
        let map = MmapMut::map_anon(len).ok()?;
        // Not all systems have them; it works without.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Self { held: Held::Mapped(map), len })
    }

    /// A copy of these; `None` when there is no memory for them.
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < LARGE {
            let mut copy = Vec::new();
            copy.try_reserve_exact(bytes.len()).ok()?;
            copy.extend_from_slice(bytes);
            return Some(Self { held: Held::Allocated(copy), len: bytes.len() });
        }
        let mut copy = Self::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Some(copy)
    }

    /// Leaves out all after the first `len`, which take their memory still.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes of memory that they take.
    pub fn memory(&self) -> usize {
        match &self.held {
            Held::Allocated(bytes) => bytes.capacity(),
            Held::Mapped(map) => map.len(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.held {
            Held::Allocated(bytes) => &bytes[..self.len],
            Held::Mapped(map) => &map[..self.len],
        }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.held {
            Held::Allocated(bytes) => &mut bytes[..self.len],
            Held::Mapped(map) => &mut map[..self.len],
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_are_the_same() {
        for len in [0, 1, 1000, LARGE - 1, LARGE, LARGE + 4097] {
            let mut bytes = Bytes::zeroed(len).unwrap();
            assert_eq!(bytes.len(), len);
            assert!(bytes.memory() >= len && bytes.iter().all(|&byte| byte == 0));
            if let Some(last) = bytes.last_mut() {
                *last = 7;
            }
            let mut copy = Bytes::copy_of(&bytes).unwrap();
            assert_eq!(*copy, *bytes);
            copy.truncate(len / 2);
            assert_eq!(*copy, bytes[..len / 2]);
        }
        assert!(Bytes::zeroed(usize::MAX).is_none());
        assert!(Bytes::zeroed(usize::MAX >> 8).is_none());
    }
}
