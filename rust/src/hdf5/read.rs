//! Reads by libhdf5 itself, of what the direct path cannot decode.

use std::ffi::{c_char, c_int, c_void};

use hdf5_metno_sys::h5d::{H5D_layout_t, H5Dclose, H5Dget_create_plist, H5Dget_space, H5Dget_type, H5Dread};
use hdf5_metno_sys::h5f::H5Fclose;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::{H5P_DEFAULT, H5Pclose, H5Pget_chunk, H5Pget_layout};
use hdf5_metno_sys::h5s::{H5S_seloper_t, H5Sclose, H5Screate_simple, H5Sselect_hyperslab};
use hdf5_metno_sys::h5t::{H5Tclose, H5Tconvert, H5Tcopy, H5Tget_size};

use super::filters::with_chunks;
use super::id::{Close, Id};
use super::strings::take_strings;
use super::{Library, Opened, Sources, element, open};
use crate::element::{ElementType, Kind};
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::origin::Origin;

/// Most axes of a dataset (`H5S_MAX_RANK`).
const MOST_AXES: usize = 32;

/// A dataset that stays open for the length of one request.
#[derive(Debug)]
pub struct Reader {
    file: hid_t,
    dataset: hid_t,
    /// The type of values in memory.
    datatype: hid_t,
    place: Place,
    /// Bytes of a chunk that went through no filter, if there are chunks.
    chunk_bytes: Option<u64>,
}

impl Reader {
    /// Opens a dataset whose values come out as `element`.
    ///
    /// # Errors
    /// As [`super::describe()`].
    pub fn open(origin: &Origin, name: &[u8], element: ElementType) -> Result<Self> {
        let place = Place::dataset(origin.path(), name);
        let library = Library::lock()?;
        let Opened { dataset, file, .. } = open(&library, origin, name, Sources::Read)?;
        // SAFETY: under the lock; an open dataset.
        let stored = library.id(unsafe { H5Dget_type(dataset.get()) }, H5Tclose, &place)?;
        let described = element::describe(&library, &stored, &place)?;
        let chunk_bytes = chunk_bytes(&library, &dataset, &stored, &place)?;
        let datatype = if described.element != element {
            return Err(Error::Changing { place });
        } else if element.kind() == Kind::String {
            stored
        } else if described.conversion.is_some() {
            let native = element::memory_type(element)
                .ok_or_else(|| Error::Internal(format!("{place}: no native type for {element}")))?;
            // SAFETY: under the lock; a type that is part of the library.
            library.id(unsafe { H5Tcopy(native) }, H5Tclose, &place)?
        } else {
            stored
        };
        library.provide_decoders();
        Ok(Self {
            chunk_bytes,
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

    /// Reads the box of `count` elements of `element` bytes from `start` on into `buffer`, for the chunk that begins
    /// at `offset`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails, [`Error::Filter`] when it lacks a filter.
    pub fn read(
        &self,
        offset: &[u64],
        start: &[u64],
        count: &[u64],
        element: usize,
        buffer: &mut [u8],
    ) -> Result<()> {
        let place = self.place.chunk(offset);
        let bytes = count.iter().try_fold(element as u64, |product, &len| product.checked_mul(len));
        if bytes != Some(buffer.len() as u64) || start.len() != count.len() {
            return Err(Error::Internal(format!("{place}: a buffer that is not of the box")));
        }
        let library = Library::lock()?;
        self.read_box(&library, start, count, buffer.as_mut_ptr().cast(), &place)
    }

    /// Reads strings of variable length: those of the box of `count` elements from `start` on, in C order.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails, [`Error::OutOfMemory`].
    pub fn read_strings(&self, start: &[u64], count: &[u64]) -> Result<Vec<Vec<u8>>> {
        let elements = count.iter().product::<u64>() as usize;
        let mut pointers: Vec<*mut c_char> = memory::vec(std::ptr::null_mut(), elements)
            .map_err(|error| Error::from(error).at(&self.place))?;
        let library = Library::lock()?;
        let status = self.read_box(&library, start, count, pointers.as_mut_ptr().cast(), &self.place);
        // SAFETY: what libhdf5 wrote there for this read, or nothing.
        let strings = unsafe { take_strings(pointers) };
        status.map(|()| strings)
    }

    /// Reads a box of the dataset into an array of the same shape, which `buffer` points to and which must hold it.
    fn read_box(
        &self,
        library: &Library,
        start: &[u64],
        count: &[u64],
        buffer: *mut c_void,
        place: &Place,
    ) -> Result<()> {
        // SAFETY: under the lock; identifiers that are open for as long as `self`. The selections have the
        // same number of elements, and the caller vouches for the buffer.
        unsafe {
            let in_file = library.id(H5Dget_space(self.dataset), H5Sclose, place)?;
            let in_memory = if count.is_empty() {
                library.id(H5Dget_space(self.dataset), H5Sclose, place)?
            } else {
                let selected = H5Sselect_hyperslab(
                    in_file.get(),
                    H5S_seloper_t::H5S_SELECT_SET,
                    start.as_ptr(),
                    std::ptr::null(),
                    count.as_ptr(),
                    std::ptr::null(),
                );
                library.check(selected, place)?;
                let space = H5Screate_simple(count.len() as i32, count.as_ptr(), std::ptr::null());
                library.id(space, H5Sclose, place)?
            };
            let status = with_chunks(self.chunk_bytes, || {
                H5Dread(self.dataset, self.datatype, in_memory.get(), in_file.get(), H5P_DEFAULT, buffer)
            });
            if status < 0 { Err(library.failure().reading(place)) } else { Ok(()) }
        }
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
