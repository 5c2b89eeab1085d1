//! Reads by libhdf5 itself, of what the direct path cannot decode.

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

use hdf5_metno_sys::h5::H5free_memory;
use hdf5_metno_sys::h5d::{H5Dclose, H5Dget_space, H5Dget_type, H5Dread};
use hdf5_metno_sys::h5f::H5Fclose;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5s::{H5S_seloper_t, H5Sclose, H5Screate_simple, H5Sselect_hyperslab};
use hdf5_metno_sys::h5t::{H5Tclose, H5Tcopy};

use super::id::Id;
use super::{Library, Opened, element, open};
use crate::element::{ElementType, Kind};
use crate::error::{Error, Place, Result};
use crate::identity::Identity;

/// A dataset that stays open for the length of one request.
#[derive(Debug)]
pub struct Reader {
    file: hid_t,
    dataset: hid_t,
    /// The type of values in memory.
    datatype: hid_t,
    place: Place,
}

impl Reader {
    /// Opens a dataset whose values come out as `element`.
    ///
    /// # Errors
    /// As [`super::describe()`].
    pub fn open(path: &Path, identity: &Identity, name: &[u8], element: ElementType) -> Result<Self> {
        let place = Place::dataset(path, name);
        let library = Library::lock();
        let Opened { dataset, file, .. } = open(&library, path, identity, name)?;
        // SAFETY: under the lock; an open dataset.
        let stored = library.id(unsafe { H5Dget_type(dataset.get()) }, H5Tclose, &place)?;
        let described = element::describe(&library, &stored, &place)?;
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
        Ok(Self { datatype: datatype.release(), dataset: dataset.release(), file: file.release(), place })
    }

    /// Reads the box of `count` elements from `start` on into the same box of a chunk of shape `chunk`
    /// that begins at `offset`, of which `buffer` holds the values.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails.
    pub fn read(
        &self,
        offset: &[u64],
        chunk: &[u64],
        start: &[u64],
        count: &[u64],
        element: usize,
        buffer: &mut [u8],
    ) -> Result<()> {
        let place = self.place.chunk(offset);
        let cells = chunk.iter().try_fold(element as u64, |product, &len| product.checked_mul(len));
        let inside =
            start.iter().zip(count).zip(offset.iter().zip(chunk)).all(|((&start, &count), (&at, &len))| {
                start >= at && start - at <= len && count <= len - (start - at)
            });
        if cells != Some(buffer.len() as u64) || !inside {
            return Err(Error::Internal(format!("{place}: a box that is not inside of it")));
        }
        let library = Library::lock();
        let within: Vec<u64> = start.iter().zip(offset).map(|(&start, &at)| start - at).collect();
        self.read_box(&library, start, count, (chunk, &within), buffer.as_mut_ptr().cast(), &place)
    }

    /// Reads strings of variable length: those of the box of `count` elements from `start` on, in C order.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails, [`Error::OutOfMemory`].
    pub fn read_strings(&self, start: &[u64], count: &[u64]) -> Result<Vec<Vec<u8>>> {
        let elements = count.iter().product::<u64>() as usize;
        let mut pointers: Vec<*mut c_char> = Vec::new();
        pointers
            .try_reserve_exact(elements)
            .map_err(|_| Error::OutOfMemory(format!("{}: no memory for {elements} strings", self.place)))?;
        pointers.resize(elements, std::ptr::null_mut());
        let library = Library::lock();
        let within = vec![0; start.len()];
        let status = self.read_box(
            &library,
            start,
            count,
            (count, &within),
            pointers.as_mut_ptr().cast(),
            &self.place,
        );
        let strings = pointers
            .iter()
            .map(|&pointer| {
                if pointer.is_null() {
                    return Vec::new();
                }
                // SAFETY: libhdf5 made a C string of it, which is given back below.
                unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec()
            })
            .collect();
        for pointer in pointers.into_iter().filter(|pointer| !pointer.is_null()) {
            // SAFETY: made by libhdf5's allocator for this read, and used by nobody else.
            unsafe { H5free_memory(pointer.cast()) };
        }
        status.map(|()| strings)
    }

    /// Reads a box of the dataset into the box of the same shape at `memory.1` of an array of shape
    /// `memory.0`, which `buffer` points to and which must hold it.
    fn read_box(
        &self,
        library: &Library,
        start: &[u64],
        count: &[u64],
        memory: (&[u64], &[u64]),
        buffer: *mut c_void,
        place: &Place,
    ) -> Result<()> {
        let (shape, within) = memory;
        // SAFETY: under the lock; identifiers that are open for as long as `self`. The selections have the
        // same number of elements, and the caller vouches for the buffer.
        unsafe {
            let in_file = library.id(H5Dget_space(self.dataset), H5Sclose, place)?;
            let in_memory = if shape.is_empty() {
                library.id(H5Dget_space(self.dataset), H5Sclose, place)?
            } else {
                let select = |space: &Id<'_>, start: &[u64]| {
                    library.check(
                        H5Sselect_hyperslab(
                            space.get(),
                            H5S_seloper_t::H5S_SELECT_SET,
                            start.as_ptr(),
                            std::ptr::null(),
                            count.as_ptr(),
                            std::ptr::null(),
                        ),
                        place,
                    )
                };
                let space = H5Screate_simple(shape.len() as i32, shape.as_ptr(), std::ptr::null());
                let in_memory = library.id(space, H5Sclose, place)?;
                select(&in_file, start)?;
                select(&in_memory, within)?;
                in_memory
            };
            let status =
                H5Dread(self.dataset, self.datatype, in_memory.get(), in_file.get(), H5P_DEFAULT, buffer);
            library.check(status, place)?;
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _library = Library::lock();
        // SAFETY: under the lock; identifiers that only this closes.
        unsafe {
            H5Tclose(self.datatype);
            H5Dclose(self.dataset);
            H5Fclose(self.file);
        }
    }
}
