//! Reads by libhdf5 itself, of what the direct path cannot decode.

use std::ffi::{c_char, c_int, c_void};

use hdf5_metno_sys::h5d::{H5D_layout_t, H5Dclose, H5Dget_create_plist, H5Dget_space, H5Dget_type, H5Dread};
use hdf5_metno_sys::h5f::H5Fclose;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::{H5P_DEFAULT, H5Pclose, H5Pget_chunk, H5Pget_layout};
use hdf5_metno_sys::h5s::{H5S_seloper_t, H5Sclose, H5Screate_simple, H5Sselect_hyperslab, H5Sselect_valid};
use hdf5_metno_sys::h5t::{H5Tclose, H5Tconvert, H5Tcopy, H5Tget_size};

use super::filters::with_chunks;
use super::id::{Close, Id};
use super::strings::take_strings;
use super::{Library, Opened, Sources, element, open};
use crate::element::{ElementType, Kind};
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::origin::Origin;
use crate::packed::Packed;

/// Most axes of a dataset (`H5S_MAX_RANK`).
const MOST_AXES: usize = 32;

/// A dataset that stays open for the length of one request.
#[derive(Debug)]
pub struct Reader {
    file: hid_t,
    dataset: hid_t,
    /// The type of values in memory.
    datatype: hid_t,
    /// Bytes of such a value.
    size: usize,
    place: Place,
    /// Bytes of a chunk that went through no filter, if there are chunks.
    chunk_bytes: Option<u64>,
}

impl Reader {
    /// Opens a dataset whose values come out as `element`, or packed if `packed` is how the file has them.
    ///
    /// # Errors
    /// As [`super::describe()`].
    pub fn open(origin: &Origin, name: &[u8], element: ElementType, packed: Option<Packed>) -> Result<Self> {
        let place = Place::dataset(origin.path(), name);
        let library = Library::lock()?;
        let Opened { dataset, file, .. } = open(&library, origin, name, Sources::Read)?;
        // SAFETY: under the lock; an open dataset.
        let stored = library.id(unsafe { H5Dget_type(dataset.get()) }, H5Tclose, &place)?;
        let described = element::describe(&library, &stored, &place)?;
        let chunk_bytes = chunk_bytes(&library, &dataset, &stored, &place)?;
        let is_packed = match (&described.stored, packed) {
            (element::Stored::Packed(found), Some(packed)) => *found == packed,
            (_, packed) => packed.is_none(),
        };
        if described.element != element || !is_packed {
            return Err(Error::Changing { place });
        }
        let is_stored = packed.is_some()
            || described.stored == element::Stored::AsElement
            || element.kind() == Kind::String;
        let datatype = if is_stored {
            stored
        } else {
            let native = element::memory_type(element)
                .ok_or_else(|| Error::Internal(format!("{place}: no native type for {element}")))?;
            // SAFETY: under the lock; a type that is part of the library.
            library.id(unsafe { H5Tcopy(native) }, H5Tclose, &place)?
        };
        // SAFETY: under the lock; an open datatype.
        let size = unsafe { H5Tget_size(datatype.get()) };
        library.provide_decoders();
        Ok(Self {
            chunk_bytes,
            size,
            datatype: datatype.release(),
            dataset: dataset.release(),
            file: file.release(),
            place,
        })
    }

    /// Bytes of a chunk without its filters, if there are chunks.
    pub fn chunk_bytes(&self) -> Option<u64> {
        self.chunk_bytes
    }

    /// Reads a region into `buffer`, an array of the region's shape in memory, for the chunk that begins at `offset`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails, [`Error::Filter`] when it lacks a filter.
    pub fn read(&self, offset: &[u64], region: &Region, buffer: &mut [u8]) -> Result<()> {
        let place = self.place.chunk(offset);
        let bytes = region.shape.iter().try_fold(self.size as u64, |product, &len| product.checked_mul(len));
        if bytes != Some(buffer.len() as u64) {
            return Err(Error::Internal(format!("{place}: a buffer that is not of the region")));
        }
        let library = Library::lock()?;
        // SAFETY: the buffer holds an array of the region's shape, of values of this size.
        unsafe { self.read_region(&library, region, buffer.as_mut_ptr().cast(), &place) }
    }

    /// Reads strings of variable length: those of the box of `count` elements from `start` on, in C order.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails, [`Error::OutOfMemory`].
    pub fn read_strings(&self, start: &[u64], count: &[u64]) -> Result<Vec<Vec<u8>>> {
        let region = Region::all(start.to_vec(), count.to_vec());
        let elements = count.iter().product::<u64>() as usize;
        let mut pointers: Vec<*mut c_char> = memory::vec(std::ptr::null_mut(), elements)
            .map_err(|error| Error::from(error).at(&self.place))?;
        let library = Library::lock()?;
        // SAFETY: room for as many pointers as the region has elements.
        let status =
            unsafe { self.read_region(&library, &region, pointers.as_mut_ptr().cast(), &self.place) };
        // SAFETY: what libhdf5 wrote there for this read, or nothing.
        let strings = unsafe { take_strings(pointers) };
        status.map(|()| strings)
    }

    /// Reads a region of the dataset into memory.
    ///
    /// # Safety
    /// `buffer` must be valid for writing an array of the region's shape.
    unsafe fn read_region(
        &self,
        library: &Library,
        region: &Region,
        buffer: *mut c_void,
        place: &Place,
    ) -> Result<()> {
        let Region { start, shape, .. } = region;
        // SAFETY: under the lock; identifiers that are open for as long as `self`. The selections have the same number of
        // elements, since the one is the other, moved; that of memory is inside of its extents or refused.
        unsafe {
            let in_file = library.id(H5Dget_space(self.dataset), H5Sclose, place)?;
            let in_memory = if shape.is_empty() {
                library.id(H5Dget_space(self.dataset), H5Sclose, place)?
            } else {
                let space = H5Screate_simple(shape.len() as i32, shape.as_ptr(), std::ptr::null());
                let space = library.id(space, H5Sclose, place)?;
                region.select(library, &in_file, start, place)?;
                region.select(library, &space, &vec![0; shape.len()], place)?;
                let inside = H5Sselect_valid(space.get()) > 0 && H5Sselect_valid(in_file.get()) > 0;
                if !inside {
                    return Err(Error::Internal(format!("{place}: a region that is not inside")));
                }
                space
            };
            let status = with_chunks(self.chunk_bytes, || {
                H5Dread(self.dataset, self.datatype, in_memory.get(), in_file.get(), H5P_DEFAULT, buffer)
            });
            if status < 0 { Err(library.failure().reading(place)) } else { Ok(()) }
        }
    }
}

/// What is read of a dataset, and where it goes in memory.
#[derive(Debug, Clone)]
pub struct Region {
    /// First indices of the smallest box of the dataset that has all of it, which goes to the first of memory.
    start: Vec<u64>,
    /// Which indices of the box, along each axis.
    picks: Vec<Pick>,
    /// Shape of the array in memory, not smaller than the box.
    shape: Vec<u64>,
}

/// Which indices of a box are read along an axis.
#[derive(Debug, Clone)]
pub enum Pick {
    /// So many, each so far from the one before.
    Steps { step: u64, count: u64 },
    /// Stretches.
    Runs(Runs),
}

/// First indices of stretches, and numbers of indices.
pub type Runs = Vec<(u64, u64)>;

impl Region {
    /// A box of so many elements from `start` on, into an array of its shape.
    pub fn all(start: Vec<u64>, count: Vec<u64>) -> Self {
        let picks = count.iter().map(|&count| Pick::Steps { step: 1, count }).collect();
        Self { start, picks, shape: count }
    }

    /// The same, into the first elements of a larger array.
    #[must_use]
    pub fn within(self, shape: Vec<u64>) -> Self {
        Self { shape, ..self }
    }

    /// The same, of which only some indices are read. Along one axis at most these are runs.
    #[must_use]
    pub fn picking(self, picks: Vec<Pick>) -> Self {
        Self { picks, ..self }
    }

    /// Selects it in a dataspace, where its box begins at `start`.
    ///
    /// # Safety
    /// Under the lock; the dataspace must be open.
    unsafe fn select(&self, library: &Library, space: &Id<'_>, start: &[u64], place: &Place) -> Result<()> {
        let axes = self.shape.len();
        if (start.len(), self.picks.len()) != (axes, axes) {
            return Err(Error::Internal(format!("{place}: a region of other axes")));
        }
        let (mut first, mut step, mut count) = (start.to_vec(), vec![1; axes], vec![1; axes]);
        let mut runs: Option<(usize, &[(u64, u64)])> = None;
        for (axis, pick) in self.picks.iter().enumerate() {
            match pick {
                Pick::Steps { step: each, count: all } => (step[axis], count[axis]) = (*each, *all),
                Pick::Runs(all) if runs.is_none() => runs = Some((axis, all)),
                Pick::Runs(_) => return Err(Error::Internal(format!("{place}: runs along two axes"))),
            }
        }
        let whole = [(0, 0)];
        let (axis, runs) = runs.map_or((None, &whole[..]), |(axis, runs)| (Some(axis), runs));
        for (number, &(from, len)) in runs.iter().enumerate() {
            if let Some(axis) = axis {
                (first[axis], count[axis]) = (start[axis] + from, len);
            }
            let how = if number == 0 { H5S_seloper_t::H5S_SELECT_SET } else { H5S_seloper_t::H5S_SELECT_OR };
            // SAFETY: the caller vouches for the dataspace; as many numbers as it has axes, or it is refused.
            let selected = unsafe {
                H5Sselect_hyperslab(
                    space.get(),
                    how,
                    first.as_ptr(),
                    step.as_ptr(),
                    count.as_ptr(),
                    std::ptr::null(),
                )
            };
            library.check(selected, place)?;
        }
        Ok(())
    }
}

/// Converts `count` values from one element type to another as libhdf5 does when it reads: numbers that do not fit become
/// the nearest that do. `None` where it has no such conversion.
///
/// # Errors
/// [`Error::OutOfMemory`]; [`Error::Unreadable`] when libhdf5 fails.
pub fn convert(values: &[u8], from: ElementType, to: ElementType, place: &Place) -> Result<Option<Vec<u8>>> {
    let library = Library::lock()?;
    let (Some(source), Some(target)) = (element::memory_type(from), element::memory_type(to)) else {
        return Ok(None);
    };
    let count = values.len() / from.size();
    let bytes = count.saturating_mul(from.size().max(to.size()));
    let mut buffer = memory::zeros::<u8>(bytes)?;
    buffer[..count * from.size()].copy_from_slice(&values[..count * from.size()]);
    // SAFETY: under the lock; two types that are part of the library, and a buffer that holds so many values of either,
    // where they are converted in place. Numbers need no values from before.
    let status = unsafe {
        H5Tconvert(source, target, count, buffer.as_mut_ptr().cast(), std::ptr::null_mut(), H5P_DEFAULT)
    };
    library.check(status, place)?;
    buffer.truncate(count * to.size());
    Ok(Some(buffer))
}

/// Bytes of a chunk that went through no filter, of a dataset whose values are stored as that type.
fn chunk_bytes(library: &Library, dataset: &Id<'_>, stored: &Id<'_>, place: &Place) -> Result<Option<u64>> {
    let mut chunk = [0; MOST_AXES];
    // SAFETY: under the lock; an open dataset and type, and room for as many axes as there can be.
    let (axes, size) = unsafe {
        let plist = library.id(H5Dget_create_plist(dataset.get()), H5Pclose, place)?;
        if H5Pget_layout(plist.get()) != H5D_layout_t::H5D_CHUNKED {
            return Ok(None);
        }
        let axes = H5Pget_chunk(plist.get(), MOST_AXES as c_int, chunk.as_mut_ptr());
        (library.check(axes, place)?, H5Tget_size(stored.get()))
    };
    let lens = &chunk[..(axes as usize).min(MOST_AXES)];
    Ok(Some(lens.iter().fold(size as u64, |bytes, &len| bytes.saturating_mul(len))))
}

impl Drop for Reader {
    fn drop(&mut self) {
        // A request that was stopped does not wait for another thread's call.
        Library::close([(self.datatype, H5Tclose as Close), (self.dataset, H5Dclose), (self.file, H5Fclose)]);
    }
}
