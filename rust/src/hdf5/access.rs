//! Whether a file may lead to others: by external links, external storage, or as a virtual dataset.
//!
//! For files of strangers it may not ([`only_this_file`]): such a file could have the reader open a device, or
//! hand out what is in another file as if it were its own. Two things see to it:
//!
//! - Every dataset is looked at when it is opened ([`Access::check`]), and so is every dataset of the same file that it is
//!   put together from, for which libhdf5 would show fill values instead of an error.
//! - The system gives libhdf5 no other file, whatever it makes of the bytes: while it runs, this process may not open
//!   anything ([`Opening`]).

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdf5_metno_sys::h5d::{H5D_layout_t, H5Dget_create_plist};
use hdf5_metno_sys::h5f::H5Fclose;
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_file_id, H5Iget_type, hid_t};
use hdf5_metno_sys::h5p::{
    H5P_CLS_DATASET_ACCESS, H5Pclose, H5Pcreate, H5Pget_external_count, H5Pget_layout, H5Pget_virtual_count,
    H5Pget_virtual_dsetname, H5Pget_virtual_filename, H5Pset_elink_cb,
};
use hdf5_metno_sys::h5pl::H5PLset_loading_state;

use super::id::Id;
use super::{Library, find, path_from_c};
use crate::error::{Error, Place, Result};

/// Maximum depth of virtual datasets that are put together from virtual datasets; libhdf5 goes through them by recursion.
const MOST_NESTED: usize = 16;

static ONLY_THIS_FILE: AtomicBool = AtomicBool::new(false);
/// The last traversal came to an external link, which was not followed.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// From now on, nothing in a file leads to another one, and no plugin is loaded.
///
/// # Errors
/// [`Error::Interrupted`] when the caller was stopped while it waited for libhdf5.
pub fn only_this_file() -> Result<()> {
    let _library = Library::lock()?;
    // SAFETY: under the lock. The binding has a pointer where the library has a mask (`H5PLset_loading_state(unsigned
    // int)`): a null pointer is the mask 0, with which nothing is loaded.
    unsafe { H5PLset_loading_state(std::ptr::null_mut()) };
    ONLY_THIS_FILE.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether nothing in a file leads to another one.
pub fn only_this() -> bool {
    ONLY_THIS_FILE.load(Ordering::Relaxed)
}

/// External links that were followed since an [`Access`] was last made: the files that they are in and the files that they
/// name. Not a list's own, since libhdf5 keeps copies of lists with what it opens.
static FOLLOWED: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());

fn followed() -> MutexGuard<'static, Vec<(PathBuf, PathBuf)>> {
    FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many files libhdf5 may open while this lives. Where any may be opened, it does nothing.
///
/// The means is the limit on the numbers of open files. It holds for all threads of the process, of which none opens
/// anything while another one is inside of libhdf5.
pub(super) struct Opening {
    #[cfg(unix)]
    before: Option<libc::rlimit>,
}

impl Opening {
    /// None at all.
    pub(super) fn nothing() -> Self {
        Self::up_to(|| 0)
    }

    /// The one that is named to it.
    pub(super) fn one_file() -> Self {
        // SAFETY: a duplicate of a descriptor gets the lowest number that is free, and is closed again.
        Self::up_to(|| unsafe {
            let free = libc::dup(0);
            libc::close(free);
            u64::try_from(free).map_or(0, |free| free + 1)
        })
    }

    #[cfg(unix)]
    fn up_to(number: impl FnOnce() -> u64) -> Self {
        if !only_this() {
            return Self { before: None };
        }
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: room for a limit, and a limit.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before);
            libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: before.rlim_max, ..before });
            let most = libc::rlimit { rlim_cur: number(), ..before };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most);
        }
        Self { before: Some(before) }
    }

    #[cfg(not(unix))]
    fn up_to(_: impl FnOnce() -> u64) -> Self {
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // SAFETY: a limit, which was in force before.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before) };
        }
    }
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

    /// Refuses a dataset, just opened, whose values are in other files, or are put together from datasets of which that
    /// is true.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for such a dataset, and when libhdf5 fails.
    pub(super) fn check(&self, library: &Library, dataset: &Id<'_>, place: &Place) -> Result<()> {
        if !self.within {
            return Ok(());
        }
        self.check_all(library, dataset, &mut Vec::new(), place)
    }

    /// Checks a dataset and its sources. The names of those that led to it are `within`.
    fn check_all(
        &self,
        library: &Library,
        dataset: &Id<'_>,
        within: &mut Vec<CString>,
        place: &Place,
    ) -> Result<()> {
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
        if within.len() >= MOST_NESTED {
            return Err(Error::Unreadable {
                place: place.clone(),
                message: format!(
                    "it is made of virtual datasets within each other, more than {MOST_NESTED} deep"
                ),
            });
        }
        let mut count = 0;
        // SAFETY: as above, and room for a number.
        library.check(unsafe { H5Pget_virtual_count(plist.get(), &raw mut count) }, place)?;
        // SAFETY: under the lock; an open dataset.
        let file = library.id(unsafe { H5Iget_file_id(dataset.get()) }, H5Fclose, place)?;
        let mut checked = HashSet::new();
        for number in 0..count {
            // This file is called by a dot; a longer name is cut, and then ends with a NUL.
            let mut name = [0u8; 3];
            // SAFETY: as above, and room for as many bytes as it is told.
            let len =
                unsafe { H5Pget_virtual_filename(plist.get(), number, name.as_mut_ptr().cast(), name.len()) };
            if len != 1 || CStr::from_bytes_until_nul(&name) != Ok(c".") {
                return Err(elsewhere(place));
            }
            let source = source_name(library, &plist, number, place)?;
            if checked.insert(source.clone()) {
                self.check_source(library, &file, source, within, place)?;
            }
        }
        Ok(())
    }

    /// Checks a source of a virtual dataset, in the same file. One that is not there stands for fill values.
    fn check_source(
        &self,
        library: &Library,
        file: &Id<'_>,
        name: CString,
        within: &mut Vec<CString>,
        place: &Place,
    ) -> Result<()> {
        // A number may be put in place of the sign, so that it is the name of any number of datasets.
        if name.to_bytes().contains(&b'%') {
            return Err(Error::Unreadable {
                place: place.clone(),
                message: "its sources have a pattern instead of names, which is not followed in a file that is not \
                          trusted"
                    .into(),
            });
        }
        let source = match find(library, file, name.to_bytes(), self, place) {
            Ok(source) => source,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // SAFETY: under the lock; an open object.
        if unsafe { H5Iget_type(source.get()) } != H5I_type_t::H5I_DATASET {
            return Ok(());
        }
        if within.contains(&name) {
            return Err(Error::Unreadable {
                place: place.clone(),
                message: "it is a virtual dataset that is a source of itself".into(),
            });
        }
        within.push(name);
        let checked = self.check_all(library, &source, within, place);
        within.pop();
        checked
    }
}

/// The name of the dataset that a mapping of a virtual dataset leads to.
fn source_name(library: &Library, plist: &Id<'_>, number: usize, place: &Place) -> Result<CString> {
    // SAFETY: under the lock; an open property list of a virtual dataset. Without room, it tells the length.
    let len = unsafe { H5Pget_virtual_dsetname(plist.get(), number, std::ptr::null_mut(), 0) };
    let len = library.check(len as c_int, place)? as usize;
    let mut name = vec![0u8; len + 1];
    // SAFETY: as above, and room for as many bytes as it is told.
    let len = unsafe { H5Pget_virtual_dsetname(plist.get(), number, name.as_mut_ptr().cast(), name.len()) };
    library.check(len as c_int, place)?;
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
    CString::new(name).map_err(|error| Error::Internal(error.to_string()))
}

/// The error for what leads out of its file.
pub fn elsewhere(place: &Place) -> Error {
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
