//! The chunk index: `H5Dchunk_iter` visits every chunk once, whatever kind of index the file has.

use std::ffi::{c_int, c_uint, c_void};

use hdf5_metno_sys::h5d::{
    H5D_chunk_index_t, H5Dchunk_iter, H5Dget_chunk_index_type, H5Dget_create_plist, H5Dget_space,
    H5Dread_chunk2,
};
use hdf5_metno_sys::h5p::{H5P_DEFAULT, H5Pclose, H5Pget_chunk};
use hdf5_metno_sys::h5s::{H5S_UNLIMITED, H5Sclose, H5Sget_simple_extent_dims};

use super::{Library, Opened, Sources, open};
use crate::chunks::{Chunk, ChunkIndex, Grid};
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::origin::Origin;
use crate::plan::PerAxis;

/// `H5D_CHUNK_IDX_EARRAY` of `H5Dpublic.h`.
const EXTENSIBLE_ARRAY: H5D_chunk_index_t = 4;

/// How the offsets that the iteration reports are to be understood.
struct Order {
    /// Shape of the file's chunks, which offsets are multiples of. The grid in which a dataset is read may have other ones.
    chunk: Vec<u64>,
    /// The growing axis of an extensible array, if that is not the first.
    ///
    /// Such an array numbers its chunks with the growing axis as the slowest. The iteration of
    /// libhdf5 (`H5D__earray_idx_iterate_cb`, up to 2.2 at least; `H5Dget_chunk_info` and its relatives go the
    /// same way) turns these numbers into coordinates as if the first axis were the slowest and the growing
    /// one endless. Should a later libhdf5 do that right, `tests/test_layouts.py` fails here.
    growing: Option<Growing>,
}

/// An axis without a maximum extent.
struct Growing {
    axis: usize,
    /// Maximum number of chunks along each axis; of the growing one it does not matter.
    most: Vec<u64>,
}

impl Order {
    fn of(library: &Library, opened: &Opened<'_>, rank: usize, place: &Place) -> Result<Self> {
        let dataset = opened.dataset.get();
        let mut kind: c_uint = 0;
        let (mut most, mut chunk) = (vec![0u64; rank], vec![0u64; rank]);
        // SAFETY: under the lock; an open dataset, and room for as many extents and lengths as it has.
        let lengths = unsafe {
            library.check(H5Dget_chunk_index_type(dataset, &raw mut kind), place)?;
            let space = library.id(H5Dget_space(dataset), H5Sclose, place)?;
            let extents = H5Sget_simple_extent_dims(space.get(), std::ptr::null_mut(), most.as_mut_ptr());
            library.check(extents, place)?;
            let plist = library.id(H5Dget_create_plist(dataset), H5Pclose, place)?;
            library.check(H5Pget_chunk(plist.get(), rank as c_int, chunk.as_mut_ptr()), place)?
        };
        if lengths as usize != rank || chunk.contains(&0) {
            let message = format!("chunks of {lengths} dimensions, {chunk:?}, where it has {rank}");
            return Err(Error::Damaged { place: place.clone(), message });
        }
        let axis = most.iter().position(|&extent| extent == H5S_UNLIMITED);
        let growing = axis.filter(|&axis| kind == EXTENSIBLE_ARRAY && axis > 0).map(|axis| Growing {
            axis,
            most: most.iter().zip(&chunk).map(|(extent, &len)| extent.div_ceil(len)).collect(),
        });
        Ok(Self { chunk, growing })
    }

    /// The coordinates of the chunk that the iteration reports at `offset`; `None` where no chunk can begin.
    fn coordinates(&self, offset: &[u64]) -> Option<Vec<u64>> {
        let reported = offset.iter().zip(&self.chunk);
        let reported: Vec<u64> = reported
            .map(|(&index, &len)| index.is_multiple_of(len).then_some(index / len))
            .collect::<Option<_>>()?;
        let Some(Growing { axis, most }) = &self.growing else { return Some(reported) };
        // Back to the chunk's number: the axes before the growing one were never counted up.
        let mut number = 0u64;
        for (position, coordinate) in reported.into_iter().enumerate().skip(*axis) {
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
        Some(coordinates)
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
    failure: Option<Error>,
    place: &'a Place,
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
        let message = "its chunk index has more entries than there can be".into();
        collector.failure = Some(Error::Damaged { place: collector.place.clone(), message });
        return -1;
    }
    // A chunk outside of the shape was left behind when the dataset shrank.
    let coordinates = collector.order.coordinates(offset);
    let inside = |coordinates: &Vec<u64>| {
        coordinates.iter().zip(collector.grid.counts()).all(|(at, count)| at < count)
    };
    if let Some(coordinates) = coordinates.filter(inside) {
        let linear = collector.grid.linear(coordinates.into_iter());
        let entry = (linear, Chunk { address, size, filter_mask });
        if let Err(error) = memory::push(&mut collector.entries, entry) {
            collector.failure = Some(Error::from(error).at(collector.place));
            return -1;
        }
    }
    0
}

/// Finds all chunks of a dataset in this file.
///
/// # Errors
/// As [`super::describe()`]; [`Error::Damaged`] when the index cannot be right.
pub fn chunk_index(origin: &Origin, name: &[u8], grid: &Grid) -> Result<ChunkIndex> {
    let library = Library::lock()?;
    let opened = open(&library, origin, name, Sources::Left)?;
    let place = Place::dataset(origin.path(), name);
    let order = Order::of(&library, &opened, grid.shape().len(), &place)?;
    let limit = origin.identity().length();
    let mut collector =
        Collector { grid, order, entries: Vec::new(), seen: 0, limit, failure: None, place: &place };
    // SAFETY: under the lock; an open dataset. The callback is given the collector during the call only.
    let status = unsafe {
        H5Dchunk_iter(opened.dataset.get(), H5P_DEFAULT, Some(collect), (&raw mut collector).cast())
    };
    if let Some(failure) = collector.failure {
        library.failure();
        return Err(failure);
    }
    library.check(status, &place)?;
    ChunkIndex::new(collector.entries).map_err(|error| Error::Damaged { place, message: error.to_string() })
}

/// The filter mask of a chunk, and its bytes as the file has them.
pub type RawChunk = (u32, Vec<u8>);

/// The chunks whose first elements have these indices: for each its filter mask, and its bytes as the file has them, of which
/// there are no more than `most`. `None` where one of them was never written, or libhdf5 does not find it for another reason.
///
/// Each is looked for by itself (`H5Dread_chunk`), without going through the index. libhdf5 finds them as it finds those that
/// it reads itself, so that nothing has to be corrected here.
///
/// # Errors
/// As [`super::describe()`]; [`Error::OutOfMemory`].
pub fn raw_chunks(
    origin: &Origin,
    name: &[u8],
    offsets: &[PerAxis<u64>],
    most: usize,
) -> Result<Option<Vec<RawChunk>>> {
    let library = Library::lock()?;
    let opened = open(&library, origin, name, Sources::Left)?;
    let mut found = memory::with_capacity(offsets.len())?;
    for offset in offsets {
        let Some((_, len)) = raw_chunk(&library, &opened, offset, &mut []) else { return Ok(None) };
        if len == 0 || len > most || len as u64 > origin.identity().length() {
            return Ok(None);
        }
        let mut bytes: Vec<u8> = memory::zeros(len)?;
        let Some((mask, read)) = raw_chunk(&library, &opened, offset, &mut bytes) else { return Ok(None) };
        if read != len {
            return Ok(None);
        }
        found.push((mask, bytes));
    }
    Ok(Some(found))
}

/// Reads the chunk whose first element has these indices into `bytes`, unless these are too few: its filter mask, and how
/// many bytes the file has of it. `None` where libhdf5 does not find it.
fn raw_chunk(
    library: &Library,
    opened: &Opened<'_>,
    offset: &PerAxis<u64>,
    bytes: &mut [u8],
) -> Option<(u32, usize)> {
    let (mut mask, mut len) = (0u32, bytes.len());
    // SAFETY: under the lock; an open dataset of chunks, the indices of an element of it, and room for a mask and a length.
    // No more bytes are written than `len` says that there is room for.
    let status = unsafe {
        H5Dread_chunk2(
            opened.dataset.get(),
            H5P_DEFAULT,
            offset.as_ptr(),
            &raw mut mask,
            if bytes.is_empty() { std::ptr::null_mut() } else { bytes.as_mut_ptr().cast() },
            &raw mut len,
        )
    };
    if status < 0 {
        library.failure();
        return None;
    }
    Some((mask, len))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What libhdf5 makes of a chunk's coordinates: a number with the growing axis as the slowest, and of that coordinates
    /// with the first axis as the slowest and no end to the growing one.
    fn reported(coordinates: &[u64], most: &[u64], axis: usize) -> Vec<u64> {
        let mut axes: Vec<usize> = (0..most.len()).collect();
        axes.remove(axis);
        let mut number = coordinates[axis];
        for &other in &axes {
            number = number * most[other] + coordinates[other];
        }
        let mut found = vec![0; most.len()];
        for position in (axis + 1..most.len()).rev() {
            found[position] = number % most[position];
            number /= most[position];
        }
        found[axis] = number;
        found
    }

    proptest! {
        #[test]
        fn coordinates_of_extensible_arrays_are_found_again(
            axes in vec((1u64..40, 1u64..12), 2..5),
            at in vec(any::<u64>(), 5),
            axis in 1usize..4,
        ) {
            let axis = axis.min(axes.len() - 1);
            let chunk: Vec<u64> = axes.iter().map(|&(_, len)| len).collect();
            let mut most: Vec<u64> = axes.iter().map(|&(extent, len)| extent.div_ceil(len)).collect();
            let coordinates: Vec<u64> = at.iter().zip(&most).map(|(&at, &count)| at % count).collect();
            let offset: Vec<u64> =
                reported(&coordinates, &most, axis).iter().zip(&chunk).map(|(&at, &len)| at * len).collect();
            most[axis] = H5S_UNLIMITED.div_ceil(chunk[axis]);
            let order = Order { chunk, growing: Some(Growing { axis, most }) };
            prop_assert_eq!(order.coordinates(&offset), Some(coordinates));
        }
    }

    #[test]
    fn growing_axis_that_is_shorter_than_a_chunk() {
        // 40 x 5 elements in chunks of 10 x 10, the second axis without end: four chunks, one below the other.
        let growing = || Some(Growing { axis: 1, most: vec![4, H5S_UNLIMITED.div_ceil(10)] });
        let order = Order { chunk: vec![10, 10], growing: growing() };
        let found: Vec<_> = (0..4).map(|number| order.coordinates(&[0, number * 10]).unwrap()).collect();
        assert_eq!(found, [[0, 0], [1, 0], [2, 0], [3, 0]]);
        assert_eq!(order.coordinates(&[0, 40]), Some(vec![0, 1]));
        assert_eq!(order.coordinates(&[0, 5]), None, "no chunk begins there");
    }

    #[test]
    fn other_indices_say_where_chunks_are() {
        let order = Order { chunk: vec![10, 7], growing: None };
        assert_eq!(order.coordinates(&[30, 14]), Some(vec![3, 2]));
        assert_eq!(order.coordinates(&[30, 15]), None);
    }
}
