//! Where a dataset is that an external link leads to: in which file, and by which name there.

use std::ffi::c_char;
use std::path::PathBuf;

use hdf5_metno_sys::h5f::{H5Fclose, H5Fget_name};
use hdf5_metno_sys::h5i::{H5Iget_file_id, H5Iget_name};
use hdf5_metno_sys::h5o::{H5O_INFO_BASIC, H5O_info2_t, H5Oget_info3};

use super::access::Access;
use super::id::Id;
use super::{Library, file_identity, find, open_same, path_from_c};
use crate::error::Place;
use crate::identity::Identity;
use crate::memory;
use crate::origin::Origin;

/// A dataset in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// The file's state.
    pub identity: Identity,
    /// The dataset's name in it.
    pub name: Vec<u8>,
}

/// Where a dataset is that links led to; `None` where libhdf5 does not tell, or what it tells leads to another one.
pub(super) fn locate(library: &Library, dataset: &Id<'_>, place: &Place) -> Option<Location> {
    let found = try_locate(library, dataset, place);
    // Failures that were met on the way are nobody's.
    library.failure();
    found
}

fn try_locate(library: &Library, dataset: &Id<'_>, place: &Place) -> Option<Location> {
    // SAFETY: under the lock; an open dataset, and room as it is told.
    let (owner, path, name) = unsafe {
        let owner = library.id(H5Iget_file_id(dataset.get()), H5Fclose, place).ok()?;
        let path = text(|room, len| H5Fget_name(dataset.get(), room, len))?;
        let name = text(|room, len| H5Iget_name(dataset.get(), room, len))?;
        (owner, path, name)
    };
    let identity = file_identity(&owner)?;
    let path = path_from_c(&path);
    // The dataset that is found there has to be this one.
    let file = open_same(library, &Origin::new(path.clone(), identity)).ok()?;
    let access = Access::within(library, place).ok()?;
    let found = find(library, &file, &name, &access, place).ok()?;
    (token(&found)? == token(dataset)?).then_some(Location { path, identity, name })
}

/// An object's address in its file.
fn token(object: &Id<'_>) -> Option<[u8; 16]> {
    let mut info = std::mem::MaybeUninit::<H5O_info2_t>::zeroed();
    // SAFETY: under the lock; an open object, and room for what is told of it. Zeros are valid for all fields that are read.
    unsafe {
        let status = H5Oget_info3(object.get(), info.as_mut_ptr(), H5O_INFO_BASIC);
        if status < 0 {
            return None;
        }
        let token = &raw const (*info.as_ptr()).token;
        Some(token.cast::<[u8; 16]>().read())
    }
}

/// A text that libhdf5 writes, with a NUL, as far as there is room for it, and of which it tells the length.
fn text(ask: impl Fn(*mut c_char, usize) -> isize) -> Option<Vec<u8>> {
    let len = usize::try_from(ask(std::ptr::null_mut(), 0)).ok().filter(|&len| len > 0)?;
    let mut text = memory::zeros::<u8>(len + 1).ok()?;
    if ask(text.as_mut_ptr().cast(), text.len()) < 0 {
        return None;
    }
    text.truncate(len);
    Some(text)
}
