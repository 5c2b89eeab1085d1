//! The chunk index: `H5Dchunk_iter` visits every chunk once, whatever kind of index the file has.

use std::ffi::{c_int, c_uint, c_void};

use hdf5_metno_sys::h5d::{H5D_chunk_index_t, H5Dchunk_iter, H5Dget_chunk_index_type, H5Dget_space};
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5s::{H5S_UNLIMITED, H5Sclose, H5Sget_simple_extent_dims};

use super::{Library, Opened, open};
use crate::chunks::{Chunk, ChunkIndex, Grid};
use crate::error::{Error, Place, Result};
use crate::origin::Origin;

/// `H5D_CHUNK_IDX_EARRAY` of `H5Dpublic.h`.
const EXTENSIBLE_ARRAY: H5D_chunk_index_t = 4;

/// How the coordinates that the iteration reports are to be understood.
enum Order {
    AsReported,
    /// An extensible array numbers its chunks with the growing axis as the slowest. The iteration of
    /// libhdf5 (`H5D__earray_idx_iterate_cb`, up to 2.2 at least; `H5Dget_chunk_info` and its relatives go the
    /// same way) turns these numbers into coordinates as if the first axis were the slowest and the growing
    /// one endless. Should a later libhdf5 do that right, `tests/test_layouts.py` fails here.
    Growing {
        axis: usize,
        most: Vec<u64>,
    },
}

impl Order {
    fn of(library: &Library, opened: &Opened<'_>, grid: &Grid, place: &Place) -> Result<Self> {
        let dataset = opened.dataset.get();
        let mut kind: c_uint = 0;
        let mut most = vec![0u64; grid.shape().len()];
        // SAFETY: under the lock; an open dataset, and room for as many extents as it has.
        unsafe {
            library.check(H5Dget_chunk_index_type(dataset, &raw mut kind), place)?;
            let space = library.id(H5Dget_space(dataset), H5Sclose, place)?;
            let extents = H5Sget_simple_extent_dims(space.get(), std::ptr::null_mut(), most.as_mut_ptr());
            library.check(extents, place)?;
        }
        let growing = most.iter().position(|&extent| extent == H5S_UNLIMITED);
        match growing {
            Some(axis) if kind == EXTENSIBLE_ARRAY && axis > 0 => {
                let most = most.iter().zip(grid.chunk()).map(|(extent, &len)| extent.div_ceil(len)).collect();
                Ok(Self::Growing { axis, most })
            }
            _ => Ok(Self::AsReported),
        }
    }

    /// The coordinates of the chunk that the iteration reports at `offset`; `None` outside of the grid.
    fn coordinates(&self, grid: &Grid, offset: &[u64]) -> Option<Vec<u64>> {
        let Self::Growing { axis, most } = self else { return grid.coordinates(offset) };
        // Back to the chunk's number: the axes before the growing one were never counted up.
        let reported = offset.iter().zip(grid.chunk()).map(|(&index, &len)| index / len);
        let mut number = 0u64;
        for (position, coordinate) in reported.enumerate().skip(*axis) {
            let radix = if position == *axis { 1 } else { most[position] };
            number = number.checked_mul(radix)?.checked_add(coordinate)?;
        }
        let mut coordinates = vec![0; most.len()];
        for position in (0..most.len()).rev().filter(|position| position != axis) {
            let radix = most[position].max(1);
            coordinates[position] = number % radix;
            number /= radix;
        }
        coordinates[*axis] = number;
        coordinates.iter().zip(grid.counts()).all(|(at, count)| at < count).then_some(coordinates)
    }
}

/// What libhdf5's iteration leaves here.
struct Collector<'a> {
    grid: &'a Grid,
    order: Order,
    entries: Vec<(u64, Chunk)>,
    seen: u64,
    /// A sound index has no more entries: each takes space in the file.
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
    collector.seen += 1;
    if collector.seen > collector.limit {
        collector.complaint = Some("its chunk index has more entries than there can be".into());
        return -1;
    }
    // A chunk outside of the shape was left behind when the dataset shrank.
    if let Some(coordinates) = collector.order.coordinates(collector.grid, offset) {
        let linear = collector.grid.linear(coordinates.into_iter());
        collector.entries.push((linear, Chunk { address, size, filter_mask }));
    }
    0
}

/// Finds all chunks of a dataset in this file.
///
/// # Errors
/// As [`super::describe()`]; [`Error::Damaged`] when the index cannot be right.
pub fn chunk_index(origin: &Origin, name: &[u8], grid: &Grid) -> Result<ChunkIndex> {
    let library = Library::lock();
    let opened = open(&library, origin, name)?;
    let place = Place::dataset(origin.path(), name);
    let order = Order::of(&library, &opened, grid, &place)?;
    let limit = origin.identity().length();
    let mut collector = Collector { grid, order, entries: Vec::new(), seen: 0, limit, complaint: None };
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
