//! Ways in for `benches/`, which measure parts of the engine alone: decoding, writing results.
//!
//! Only with the feature `benching`; not for users.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chunks::{Chunk, Grid};
use crate::dataset::Layout;
use crate::dense;
use crate::element::ElementType;
use crate::error::{Error, Place, Result};
pub use crate::filters::Scratch;
use crate::filters::{self, Complaint, Pipeline};
use crate::hdf5;
use crate::plan::Plan;
use crate::pool::{self, Control};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;
use crate::source::Source;

/// How far chunks are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Through all filters.
    Values,
    /// Through the last one only, which is the compressor.
    Compressor,
}

/// The chunks of a dataset as the file keeps them, and how to decode them.
pub struct Chunks {
    source: Source,
    place: Place,
    stored: Vec<Chunk>,
    pipeline: Pipeline,
    len: usize,
}

impl Chunks {
    /// Finds the chunks of a dataset.
    ///
    /// # Errors
    /// Those of [`dense::inspect`]; [`Error::Structure`] when it has no chunks that the engine decodes, or
    /// the filter before the compressor changes the length.
    pub fn open(path: &Path, name: &[u8], depth: Depth) -> Result<Self> {
        hdf5::provide(filters::undo);
        let dataset = dense::inspect(path, name)?;
        let place = Place::dataset(path, name);
        let Layout::Chunked { filters, missing: None, .. } = &dataset.layout else {
            return Err(Error::Structure(format!("{place} has no chunks that are decoded here")));
        };
        let first = match depth {
            Depth::Values => 0,
            Depth::Compressor => filters.len().saturating_sub(1),
        };
        let source = Source::open(path)?;
        let grid = dataset.grid()?;
        let index = hdf5::chunk_index(source.origin(), name, &grid)?;
        let stored: Vec<Chunk> = (0..grid.len()).filter_map(|linear| index.get(linear)).collect();
        // The bits of a filter mask count from the first filter.
        if first > 0 && stored.iter().any(|chunk| chunk.filter_mask != 0) {
            return Err(Error::Structure(format!("{place} has chunks that skipped a filter")));
        }
        let len = dataset.chunk_bytes(&grid, dataset.stored_size())?;
        Ok(Self { source, place, stored, pipeline: Pipeline::new(&filters[first..]), len })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.stored.len()
    }

    /// Bytes of a decoded chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.len
    }

    /// Reads and decodes a chunk into `scratch`; its first byte, so that no compiler finds it useless.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] when it does not decode.
    pub fn decode(&self, number: usize, scratch: &mut Scratch) -> Result<u8> {
        let complain = |complaint: Complaint| Error::Damaged {
            place: self.place.clone(),
            message: format!("chunk {number}: {complaint:?}"),
        };
        let chunk = self.stored[number];
        let buffer = scratch.input(chunk.size as usize).map_err(|fault| complain(fault.into()))?;
        self.source.read_at(chunk.address, buffer, || self.place.clone())?;
        self.pipeline.decode(chunk.filter_mask, self.len, scratch).map_err(complain)?;
        Ok(scratch.filled().first().copied().unwrap_or_default())
    }

    /// Decodes all chunks on all threads, into nothing; how many bytes they come to.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_all(&self) -> Result<u64> {
        let bytes = AtomicU64::new(0);
        pool::for_each(&Control::default(), self.stored.len(), |scratch: &mut Scratch, number| {
            std::hint::black_box(self.decode(number, scratch)?);
            bytes.fetch_add(self.len as u64, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(bytes.into_inner())
    }
}

/// Writing of decoded chunks into a result.
pub struct Scatter {
    plan: Plan,
    kernel: Kernel,
}

impl Scatter {
    /// For a dataset of this shape in chunks of that one, of which `selection` is wanted with its elements
    /// converted from one type to the other.
    ///
    /// # Errors
    /// Those of [`dense::read`] that concern the selection and the element types.
    pub fn new(
        shape: &[u64],
        chunk: &[u64],
        selection: &[Axis],
        from: ElementType,
        to: ElementType,
    ) -> Result<Self> {
        Ok(Self { plan: Plan::new(Grid::new(shape, chunk)?, selection)?, kernel: Kernel::new(from, to)? })
    }

    /// Bytes of the result.
    pub fn len(&self) -> usize {
        self.plan.count() * self.kernel.target_size()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes all of the result, on one thread, as if each chunk held these values.
    ///
    /// # Errors
    /// [`Error::Internal`] when the lengths of the arguments are wrong.
    pub fn run(&self, values: &[u8], out: &mut [u8]) -> Result<()> {
        let output = Output::new(out, &self.plan, self.kernel)?;
        (0..self.plan.jobs()).try_for_each(|number| output.chunk(number, values))?;
        output.finish().map(|_| ())
    }
}
