//! Whether a file may lead to others: by external links, external storage, or as a virtual dataset.
//!
//! For files of strangers it may not ([`only_this_file`]): such a file could have the reader open a device, or
//! hand out what is in another file as if it were its own.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdf5_metno_sys::h5d::{H5D_layout_t, H5Dget_create_plist};
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::{
    H5P_CLS_DATASET_ACCESS, H5Pclose, H5Pcreate, H5Pget_external_count, H5Pget_layout, H5Pget_virtual_count,
    H5Pget_virtual_filename, H5Pset_elink_cb,
};

use super::id::Id;
use super::{Library, path_from_c};
use crate::error::{Error, Place, Result};

static ONLY_THIS_FILE: AtomicBool = AtomicBool::new(false);
/// The last traversal came to an external link, which was not followed.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// From now on, nothing in a file leads to another one.
pub fn only_this_file() {
    ONLY_THIS_FILE.store(true, Ordering::Relaxed);
}

/// Whether nothing in a file leads to another one.
pub(super) fn only_this() -> bool {
    ONLY_THIS_FILE.load(Ordering::Relaxed)
}

/// External links that were followed since an [`Access`] was last made: the files that they are in and the files that they
/// name. Not a list's own, since libhdf5 keeps copies of lists with what it opens.
static FOLLOWED: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());

fn followed() -> MutexGuard<'static, Vec<(PathBuf, PathBuf)>> {
    FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list of properties for opening objects of a file.
pub(super) struct Access<'lib> {
    list: Id<'lib>,
    /// Links to other files are refused.
    within: bool,
}

impl<'lib> Access<'lib> {
    pub(super) fn new(library: &'lib Library, place: &Place) -> Result<Self> {
        followed().clear();
        if only_this() { Self::within(library, place) } else { Self::with(library, follow, false, place) }
    }

    /// Such a list with which no link to another file is followed, whether the file is trusted or not.
    pub(super) fn within(library: &'lib Library, place: &Place) -> Result<Self> {
        Self::with(library, refuse, true, place)
    }

    fn with(library: &'lib Library, callback: Callback, within: bool, place: &Place) -> Result<Self> {
        // SAFETY: under the lock. What opens datasets opens links too; the callbacks need no data.
        unsafe {
            let list = library.id(H5Pcreate(*H5P_CLS_DATASET_ACCESS), H5Pclose, place)?;
            library.check(H5Pset_elink_cb(list.get(), Some(callback), std::ptr::null_mut()), place)?;
            Ok(Self { list, within })
        }
    }

    /// The external links that were followed since this was made: the files that they are in, and those that they name.
    #[allow(clippy::unused_self)] // Having an `Access` is what began the list.
    pub(super) fn followed(&self) -> Vec<(PathBuf, PathBuf)> {
        followed().clone()
    }

    /// For the next traversal; what was met before is forgotten.
    pub(super) fn afresh(&self) -> hid_t {
        REFUSED.store(false, Ordering::Relaxed);
        self.get()
    }

    pub(super) fn get(&self) -> hid_t {
        self.list.get()
    }

    /// The last traversal came to an external link where none is followed.
    pub(super) fn refused(&self) -> bool {
        self.within && REFUSED.load(Ordering::Relaxed)
    }

    /// Refuses a dataset, just opened, whose values are in other files.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for such a dataset, and when libhdf5 fails.
    pub(super) fn check(&self, library: &Library, dataset: &Id<'_>, place: &Place) -> Result<()> {
        if !self.within {
            return Ok(());
        }
        // SAFETY: under the lock; an open dataset, and then its open property list.
        let (plist, layout, external) = unsafe {
            let plist = library.id(H5Dget_create_plist(dataset.get()), H5Pclose, place)?;
            let (layout, external) = (H5Pget_layout(plist.get()), H5Pget_external_count(plist.get()));
            (plist, layout, external)
        };
        if external != 0 {
            return Err(elsewhere(place));
        }
        if layout != H5D_layout_t::H5D_VIRTUAL {
            return Ok(());
        }
        let mut count = 0;
        // SAFETY: as above, and room for a number.
        library.check(unsafe { H5Pget_virtual_count(plist.get(), &raw mut count) }, place)?;
        for number in 0..count {
            // This file is called by a dot; a longer name is cut, and then ends with a NUL.
            let mut name = [0u8; 3];
            // SAFETY: as above, and room for as many bytes as it is told.
            let len =
                unsafe { H5Pget_virtual_filename(plist.get(), number, name.as_mut_ptr().cast(), name.len()) };
            if len != 1 || CStr::from_bytes_until_nul(&name) != Ok(c".") {
                return Err(elsewhere(place));
            }
        }
        Ok(())
    }
}

/// The error for what leads out of its file.
pub(super) fn elsewhere(place: &Place) -> Error {
    Error::Unreadable {
        place: place.clone(),
        message: "it leads to another file, which is not followed from a file that is not trusted".into(),
    }
}

type Callback = extern "C" fn(
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
    *mut c_uint,
    hid_t,
    *mut c_void,
) -> c_int;

/// libhdf5 tells before it follows an external link; a number that is not negative lets it.
extern "C" fn follow(
    parent: *const c_char,
    _: *const c_char,
    child: *const c_char,
    _: *const c_char,
    _: *mut c_uint,
    _: hid_t,
    _: *mut c_void,
) -> c_int {
    if parent.is_null() || child.is_null() {
        return -1;
    }
    // SAFETY: libhdf5 passes C strings.
    let (parent, child) = unsafe { (CStr::from_ptr(parent), CStr::from_ptr(child)) };
    followed().push((path_from_c(parent.to_bytes()), path_from_c(child.to_bytes())));
    0
}

/// libhdf5 asks before it follows an external link; a negative number stops it.
extern "C" fn refuse(
    _: *const c_char,
    _: *const c_char,
    _: *const c_char,
    _: *const c_char,
    _: *mut c_uint,
    _: hid_t,
    _: *mut c_void,
) -> c_int {
    REFUSED.store(true, Ordering::Relaxed);
    -1
}
