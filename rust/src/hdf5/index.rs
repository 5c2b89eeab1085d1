//! The chunk index: `H5Dchunk_iter` visits every chunk once, whatever kind of index the file has.

use std::ffi::{c_int, c_uint, c_void};
use std::path::Path;

use hdf5_metno_sys::h5d::H5Dchunk_iter;
use hdf5_metno_sys::h5p::H5P_DEFAULT;

use super::{Library, open};
use crate::chunks::{Chunk, ChunkIndex, Grid};
use crate::error::{Error, Place, Result};
use crate::identity::Identity;

/// What libhdf5's iteration leaves here.
struct Collector<'a> {
    grid: &'a Grid,
    entries: Vec<(u64, Chunk)>,
    /// A sound index has no more entries: each takes space in the file, each is of another chunk.
    limit: u64,
    complaint: Option<String>,
}

unsafe extern "C" fn collect(
    offset: *const u64,
    filter_mask: c_uint,
    address: u64,
    size: u64,
    collector: *mut c_void,
) -> c_int {
    // SAFETY: libhdf5 passes one index for each axis of the dataset, and the pointer given to it below.
    let (collector, offset) = unsafe {
        let collector = &mut *collector.cast::<Collector<'_>>();
        let rank = collector.grid.shape().len();
        (collector, std::slice::from_raw_parts(offset, rank))
    };
    if collector.entries.len() as u64 >= collector.limit {
        collector.complaint = Some("its chunk index has more entries than there can be".into());
        return -1;
    }
    // A chunk outside of the shape was left behind when the dataset shrank.
    if let Some(coordinates) = collector.grid.coordinates(offset) {
        let linear = collector.grid.linear(coordinates.into_iter());
        collector.entries.push((linear, Chunk { address, size, filter_mask }));
    }
    0
}

/// Finds all chunks of a dataset in the file of this identity.
///
/// # Errors
/// As [`super::describe`]; [`Error::Damaged`] when the index cannot be right.
pub fn chunk_index(path: &Path, identity: &Identity, name: &[u8], grid: &Grid) -> Result<ChunkIndex> {
    let library = Library::lock();
    let opened = open(&library, path, identity, name)?;
    let place = Place::dataset(path, name);
    let limit = grid.len().min(identity.length());
    let mut collector = Collector { grid, entries: Vec::new(), limit, complaint: None };
    // SAFETY: under the lock; an open dataset. The callback is given the collector during the call only.
    let status = unsafe {
        H5Dchunk_iter(opened.dataset.get(), H5P_DEFAULT, Some(collect), (&raw mut collector).cast())
    };
    if let Some(message) = collector.complaint {
        library.failure();
        return Err(Error::Damaged { place, message });
    }
    library.check(status, &place)?;
    ChunkIndex::new(collector.entries).map_err(|error| Error::Damaged { place, message: error.to_string() })
}
