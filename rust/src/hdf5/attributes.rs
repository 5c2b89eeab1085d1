//! The attributes by which R's packages say what values mean.
//!
//! rhdf5 writes `rhdf5-NA.OK` beside all that it writes, `storage.mode` beside logical values and `as.na` beside
//! strings some of which are missing (its `h5write.R` and `h5create.R`); `HDF5Array` reads the same (its package h5mread).

use std::ffi::CStr;

use hdf5_metno_sys::h5a::{H5Aclose, H5Aexists, H5Aget_storage_size, H5Aget_type, H5Aopen, H5Aread};
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5t::{
    H5T_NATIVE_INT, H5T_class_t, H5Tclose, H5Tget_class, H5Tget_size, H5Tis_variable_str,
};

use super::Library;
use super::id::Id;
use crate::dataset::Marks;
use crate::error::{Place, Result};

/// A string or a number that R writes is not longer.
const LONGEST: usize = 64;

/// What R's packages say of a dataset.
///
/// # Errors
/// [`crate::Error::Unreadable`] when libhdf5 cannot make sense of the attributes.
pub(super) fn marks(library: &Library, dataset: &Id<'_>, place: &Place) -> Result<Marks> {
    Ok(Marks {
        from_r: exists(library, dataset, c"rhdf5-NA.OK", place)?,
        logical: string(library, dataset, c"storage.mode", place)?.is_some_and(|mode| mode == b"logical"),
        missing_strings: integer(library, dataset, c"as.na", place)?.is_some_and(|value| value != 0),
    })
}

fn exists(library: &Library, object: &Id<'_>, name: &CStr, place: &Place) -> Result<bool> {
    // SAFETY: under the lock; an open object.
    Ok(library.check(unsafe { H5Aexists(object.get(), name.as_ptr()) }, place)? > 0)
}

/// An attribute with its type, unless there is none, or one whose values take more than [`LONGEST`] bytes.
fn open<'l>(
    library: &'l Library,
    object: &Id<'_>,
    name: &CStr,
    place: &Place,
) -> Result<Option<(Id<'l>, Id<'l>, usize)>> {
    if !exists(library, object, name, place)? {
        return Ok(None);
    }
    // SAFETY: under the lock; an open object, and what is opened of it.
    let (attribute, datatype, bytes) = unsafe {
        let attribute = library.id(H5Aopen(object.get(), name.as_ptr(), H5P_DEFAULT), H5Aclose, place)?;
        let datatype = library.id(H5Aget_type(attribute.get()), H5Tclose, place)?;
        let bytes = H5Aget_storage_size(attribute.get());
        (attribute, datatype, bytes)
    };
    let short = usize::try_from(bytes).ok().filter(|&bytes| bytes <= LONGEST);
    Ok(short.map(|bytes| (attribute, datatype, bytes)))
}

/// The string of fixed length in an attribute, without what pads it; `None` if there is something else.
fn string(library: &Library, object: &Id<'_>, name: &CStr, place: &Place) -> Result<Option<Vec<u8>>> {
    let Some((attribute, datatype, bytes)) = open(library, object, name, place)? else { return Ok(None) };
    // SAFETY: under the lock; an open type.
    let fits = unsafe {
        H5Tget_class(datatype.get()) == H5T_class_t::H5T_STRING
            && H5Tis_variable_str(datatype.get()) == 0
            && H5Tget_size(datatype.get()) == bytes
    };
    if !fits {
        return Ok(None);
    }
    let mut value = vec![0u8; bytes];
    // SAFETY: under the lock; the buffer has room for the one value, which is read as it is stored.
    let status = unsafe { H5Aread(attribute.get(), datatype.get(), value.as_mut_ptr().cast()) };
    library.check(status, place)?;
    let end = value.iter().rposition(|&byte| byte != 0 && byte != b' ').map_or(0, |last| last + 1);
    value.truncate(end);
    Ok(Some(value))
}

/// The integer in an attribute; `None` if there is something else.
fn integer(library: &Library, object: &Id<'_>, name: &CStr, place: &Place) -> Result<Option<i32>> {
    let Some((attribute, datatype, bytes)) = open(library, object, name, place)? else { return Ok(None) };
    // SAFETY: under the lock; an open type.
    let fits = unsafe {
        H5Tget_class(datatype.get()) == H5T_class_t::H5T_INTEGER && H5Tget_size(datatype.get()) == bytes
    };
    if !fits {
        return Ok(None);
    }
    let mut value = 0i32;
    // SAFETY: under the lock; one value, converted to the type of the variable.
    let status = unsafe { H5Aread(attribute.get(), *H5T_NATIVE_INT, (&raw mut value).cast()) };
    library.check(status, place)?;
    Ok(Some(value))
}
