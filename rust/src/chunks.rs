//! Chunks of a dataset: the grid that they form, and where the file keeps each.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::memory;

/// A regular grid of chunks over a dataset's shape; the last chunk of an axis may reach over its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    shape: Vec<u64>,
    chunk: Vec<u64>,
    counts: Vec<u64>,
}

impl Grid {
    /// # Errors
    /// [`Error::Structure`] when the ranks differ, a chunk has an axis of length 0, or there are more
    /// chunks than 64 bits can count.
    pub fn new(shape: &[u64], chunk: &[u64]) -> Result<Self> {
        if shape.len() != chunk.len() || chunk.contains(&0) {
            return Err(Error::Structure(format!("chunks of shape {chunk:?} for a dataset of {shape:?}")));
        }
        let counts = memory::collect(shape.iter().zip(chunk).map(|(&extent, &len)| extent.div_ceil(len)))?;
        counts
            .iter()
            .try_fold(1u64, |product, &count| product.checked_mul(count.max(1)))
            .ok_or_else(|| Error::Structure(format!("too many chunks: {counts:?}")))?;
        Ok(Self { shape: memory::copy(shape)?, chunk: memory::copy(chunk)?, counts })
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Shape of a chunk.
    pub fn chunk(&self) -> &[u64] {
        &self.chunk
    }

    /// Number of chunks along each axis.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of chunks.
    pub fn len(&self) -> u64 {
        self.counts.iter().product()
    }

    /// Whether the dataset has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a chunk, counted in C order, from its coordinates in the grid.
    pub fn linear(&self, coordinates: impl Iterator<Item = u64>) -> u64 {
        coordinates.zip(&self.counts).fold(0, |linear, (coordinate, &count)| linear * count + coordinate)
    }

    /// Whether the chunk whose first element is at `offset` reaches over the end of an axis.
    pub fn is_partial(&self, offset: &[u64]) -> bool {
        offset
            .iter()
            .zip(self.chunk.iter().zip(&self.shape))
            .any(|(&start, (&len, &extent))| start.saturating_add(len) > extent)
    }
}

/// Where the file keeps a chunk, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Position in the file, in bytes from its start.
    pub address: u64,
    /// Bytes that it takes there.
    pub size: u64,
    /// Bit `i` set: filter `i` was skipped for this chunk.
    pub filter_mask: u32,
}

/// The chunks that were ever written, by their number in the grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkIndex {
    entries: Vec<(u64, Chunk)>,
}

impl ChunkIndex {
    /// # Errors
    /// [`Error::Structure`] when a chunk is listed twice.
    pub fn new(mut entries: Vec<(u64, Chunk)>) -> Result<Self> {
        if !entries.is_sorted_by_key(|&(linear, _)| linear) {
            entries.sort_unstable_by_key(|&(linear, _)| linear);
        }
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::Structure("the chunk index lists a chunk twice".into()));
        }
        entries.shrink_to_fit();
        Ok(Self { entries })
    }

    /// The chunk of this number; `None` if it was never written.
    pub fn get(&self, linear: u64) -> Option<Chunk> {
        // A dataset that was written whole has its chunks at their own numbers.
        let guess = usize::try_from(linear).ok().and_then(|position| self.entries.get(position));
        match guess {
            Some(&(number, chunk)) if number == linear => Some(chunk),
            _ => {
                let position = self.entries.binary_search_by_key(&linear, |&(number, _)| number).ok()?;
                Some(self.entries[position].1)
            }
        }
    }

    /// Whether any chunk was written whose number is in this range.
    pub fn has_any(&self, numbers: RangeInclusive<u64>) -> bool {
        let first = self.entries.partition_point(|&(number, _)| number < *numbers.start());
        self.entries.get(first).is_some_and(|(number, _)| numbers.contains(number))
    }

    /// The numbers of all chunks that were ever written, increasing.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|&(linear, _)| linear)
    }

    /// Memory that this index takes, in bytes.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<(u64, Chunk)>()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn grid_counts_edge_chunks() {
        let grid = Grid::new(&[10, 7], &[4, 7]).unwrap();
        assert_eq!(grid.counts(), [3, 1]);
        assert_eq!(grid.linear([2, 0].into_iter()), 2);
        assert!(grid.is_partial(&[8, 0]) && !grid.is_partial(&[4, 0]));
    }

    #[test]
    fn impossible_grids_are_refused() {
        assert!(Grid::new(&[4], &[0]).is_err());
        assert!(Grid::new(&[4], &[1, 1]).is_err());
        assert!(Grid::new(&[u64::MAX, 3], &[1, 1]).is_err());
    }

    #[test]
    fn index_finds_what_was_written() {
        let chunk = |address| Chunk { address, size: 1, filter_mask: 0 };
        let index = ChunkIndex::new(vec![(7, chunk(70)), (0, chunk(1)), (3, chunk(30))]).unwrap();
        assert_eq!(index.get(0), Some(chunk(1)));
        assert_eq!(index.get(3), Some(chunk(30)));
        assert_eq!(index.get(7), Some(chunk(70)));
        assert_eq!(index.get(2), None);
        assert_eq!(index.numbers().collect::<Vec<_>>(), [0, 3, 7]);
        assert!(index.has_any(0..=0) && index.has_any(2..=6) && index.has_any(7..=u64::MAX));
        assert!(!index.has_any(1..=2) && !index.has_any(8..=9) && !ChunkIndex::default().has_any(0..=9));
        assert!(ChunkIndex::new(vec![(1, chunk(1)), (1, chunk(2))]).is_err());
    }
}
