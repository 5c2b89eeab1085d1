//! What a dataset is and where its bytes are: what `hdf5` finds out and everything else works from.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::chunks::Grid;
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::mapping::{Definition, Mapping};
use crate::memory;
use crate::packed::Packed;

/// Blocks of this many bytes stand in for chunks where a dataset has none: large enough to make the
/// cost of a job small, small enough to stay in a core's cache.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;

/// Of what libhdf5 reads and has no chunks, blocks are larger: for each of its reads it opens the sources of a virtual dataset
/// and decodes their chunks.
const LIBRARY_BLOCK_BYTES: u64 = 8 << 20;

/// A step of the pipeline that a chunk went through when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterStep {
    /// The filter's registered number.
    pub id: u32,
    /// The name that the file gives it, often empty.
    pub name: String,
    /// Its parameters (HDF5's `cd_values`).
    pub values: Vec<u32>,
}

/// How the file keeps the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// In the object header itself; these are the bytes.
    Compact(Vec<u8>),
    /// One piece at this address; `None` if it was never written.
    Contiguous(Option<u64>),
    /// In pieces of other files, one after the other.
    External(Vec<Segment>),
    /// In chunks of this shape, each through the filters.
    Chunked {
        /// Shape of a chunk.
        chunk: Vec<u64>,
        /// In the order in which they were applied.
        filters: Vec<FilterStep>,
        /// Chunks that reach over the end of an axis went through no filter at all.
        partial_unfiltered: bool,
        /// A filter that nothing at hand decodes, and what would help: only chunks that skipped it can be read.
        missing: Option<String>,
    },
    /// In other datasets.
    Virtual(Virtual),
    /// In some way that only libhdf5 reads.
    Library {
        /// Which way that is.
        reason: String,
        /// Shape of a chunk, if there are chunks.
        chunk: Option<Vec<u64>>,
        /// The filters of the chunks, if the chunks are in the file itself.
        filters: Vec<FilterStep>,
    },
}

/// A piece of a file that holds values and nothing of HDF5 (external storage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// Where the piece begins.
    pub offset: u64,
    /// Bytes of it; `u64::MAX` for all that there are.
    pub size: u64,
}

/// A virtual dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Virtual {
    /// As its own file states it. The shape may be out of date where a source has grown.
    Stated(Vec<Definition>),
    /// With what its sources are now.
    Resolved {
        /// Which elements are which of the sources.
        mappings: Vec<Mapping>,
        /// Shape of the blocks that it is read in, such that they suit the sources' chunks.
        block: Vec<u64>,
    },
}

/// A dataset, as far as reading it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Extent of each axis, slowest first.
    pub shape: Vec<u64>,
    /// Type of a value: that of the file, or what packed numbers and those that libhdf5 converts become.
    pub element: ElementType,
    /// How values are packed where they are chunked or contiguous, if that is not as the element type has them.
    pub packed: Option<Packed>,
    /// Where the values are.
    pub layout: Layout,
    /// One value of `element`, what a chunk that was never written holds; empty if that is zero.
    pub fill: Vec<u8>,
    /// From where the addresses in references to strings of variable length count.
    pub base: u64,
    /// Other files take part in what it is or holds: nothing of it is kept under the identity of the one that was opened.
    pub elsewhere: bool,
}

/// How a dataset is stored, for people: reading it needs none of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Shape of a chunk, if there are chunks.
    pub chunk: Option<Vec<u64>>,
    /// In the order in which they were applied, with the names that they are known by.
    pub filters: Vec<FilterStep>,
    /// Bytes that all values take in the file, after the filters. Strings of variable length are not in it.
    pub stored: u64,
    /// Bytes of one value in the file, decoded.
    pub value_size: u64,
    /// What R's packages say of the values.
    pub marks: Marks,
}

/// Attributes by which R's packages rhdf5 and `HDF5Array` know which values are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// `rhdf5-NA.OK`: R wrote the dataset, and the smallest integer is a missing value.
    pub from_r: bool,
    /// `storage.mode` is "logical": integers are truth values, and negative ones are missing.
    pub logical: bool,
    /// `as.na` is not zero: strings "NA" are missing values.
    pub missing_strings: bool,
}

impl Dataset {
    /// Number of elements.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when 64 bits cannot count them.
    pub fn count(&self) -> Result<u64> {
        self.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent)).ok_or_else(|| {
            Error::OutOfMemory(format!("a dataset of shape {:?} has too many elements", self.shape))
        })
    }

    /// One value of `element`: what a chunk that was never written holds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]: values may be as long as the file says.
    pub fn fill_value(&self) -> Result<Cow<'_, [u8]>> {
        if !self.fill.is_empty() {
            return Ok(Cow::Borrowed(&self.fill));
        }
        Ok(Cow::Owned(memory::zeros(self.element.size())?))
    }

    /// Memory that the description takes, in bytes.
    pub fn memory(&self) -> usize {
        let steps = |filters: &[FilterStep]| -> usize {
            let step = |step: &FilterStep| {
                size_of::<FilterStep>() + step.name.capacity() + step.values.capacity() * size_of::<u32>()
            };
            filters.iter().map(step).sum()
        };
        let Self { shape, element: _, packed: _, layout, fill, base: _, elsewhere: _ } = self;
        let layout = match layout {
            Layout::Compact(values) => values.capacity(),
            // What a virtual dataset was resolved to is never kept.
            Layout::Contiguous(_) | Layout::Virtual(Virtual::Resolved { .. }) => 0,
            Layout::Virtual(Virtual::Stated(definitions)) => definitions.iter().map(Definition::memory).sum(),
            Layout::External(segments) => {
                segments.iter().map(|segment| size_of::<Segment>() + segment.path.as_os_str().len()).sum()
            }
            Layout::Chunked { chunk, filters, partial_unfiltered: _, missing } => {
                chunk.capacity() * size_of::<u64>()
                    + steps(filters)
                    + missing.as_ref().map_or(0, String::capacity)
            }
            Layout::Library { reason, chunk, filters } => {
                reason.capacity()
                    + chunk.as_ref().map_or(0, |chunk| chunk.capacity() * size_of::<u64>())
                    + steps(filters)
            }
        };
        size_of::<Self>() + shape.capacity() * size_of::<u64>() + fill.capacity() + layout
    }

    /// Shape of the file's chunks, if it has chunks.
    pub fn chunk_shape(&self) -> Option<&[u64]> {
        match &self.layout {
            Layout::Chunked { chunk, .. } => Some(chunk),
            Layout::Library { chunk, .. } => chunk.as_deref(),
            Layout::Compact(_) | Layout::Contiguous(_) | Layout::External(_) | Layout::Virtual(_) => None,
        }
    }

    /// The grid in which the dataset is read: its chunks, or blocks where it has none.
    ///
    /// # Errors
    /// Those of [`Grid::new`].
    pub fn grid(&self) -> Result<Grid> {
        match &self.layout {
            Layout::Compact(_) => {
                let whole: Vec<u64> = self.shape.iter().map(|&extent| extent.max(1)).collect();
                Grid::new(&self.shape, &whole)
            }
            Layout::Chunked { chunk, .. } => Grid::new(&self.shape, chunk),
            Layout::Virtual(Virtual::Resolved { block, .. }) => Grid::new(&self.shape, block),
            // What libhdf5 reads has not to be made room for past the end of the dataset.
            Layout::Library { chunk: Some(chunk), .. } => {
                let inside = |(&len, &extent): (&u64, &u64)| len.min(extent.max(1));
                let chunk: Vec<u64> = chunk.iter().zip(&self.shape).map(inside).collect();
                Grid::new(&self.shape, &chunk)
            }
            Layout::Contiguous(_) | Layout::External(_) | Layout::Virtual(Virtual::Stated(_)) => {
                Grid::new(&self.shape, &block_shape(&self.shape, self.element.size() as u64, BLOCK_BYTES))
            }
            Layout::Library { chunk: None, .. } => {
                let element = self.element.size() as u64;
                Grid::new(&self.shape, &block_shape(&self.shape, element, LIBRARY_BLOCK_BYTES))
            }
        }
    }

    /// Bytes of a value in the file, without the filters.
    pub fn stored_size(&self) -> usize {
        self.packed.map_or(self.element.size(), Packed::size)
    }

    /// Bytes of a decoded chunk of the grid, of which each value takes `size` bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when this machine cannot address that much.
    pub fn chunk_bytes(&self, grid: &Grid, size: usize) -> Result<usize> {
        grid.chunk()
            .iter()
            .try_fold(size, |product, &len| product.checked_mul(usize::try_from(len).ok()?))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or_else(|| {
                Error::OutOfMemory(format!(
                    "a chunk of shape {:?} is more than memory can hold",
                    grid.chunk()
                ))
            })
    }
}

/// Whole trailing axes, then a part of one, then ones: a block that is consecutive in the file.
pub(crate) fn block_shape(shape: &[u64], element: u64, bytes: u64) -> Vec<u64> {
    let mut room = (bytes / element).max(1);
    let mut block = vec![1; shape.len()];
    for (len, &extent) in block.iter_mut().zip(shape).rev() {
        *len = extent.clamp(1, room);
        room /= *len;
        if *len < extent || room <= 1 {
            break;
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_consecutive_and_bounded() {
        assert_eq!(block_shape(&[10_000, 10_000], 4, BLOCK_BYTES), [26, 10_000]);
        assert_eq!(block_shape(&[50, 1_000_000_000], 8, BLOCK_BYTES), [1, 131_072]);
        assert_eq!(block_shape(&[3, 4, 5], 1, BLOCK_BYTES), [3, 4, 5]);
        assert_eq!(block_shape(&[], 8, BLOCK_BYTES), [0u64; 0]);
        assert_eq!(block_shape(&[0, 5], 8, BLOCK_BYTES), [1, 5]);
    }
}
