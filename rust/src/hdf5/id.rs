//! libhdf5's identifiers, closed when they go out of scope.

use std::ffi::c_int;

use hdf5_metno_sys::h5i::hid_t;

use super::Library;

/// The function that closes an identifier of some kind.
pub(super) type Close = unsafe extern "C" fn(hid_t) -> c_int;

/// An open identifier. It cannot outlive the lock under which it was opened.
pub(super) struct Id<'lib> {
    hid: hid_t,
    close: Close,
    _library: &'lib Library,
}

impl<'lib> Id<'lib> {
    /// Takes ownership of a valid identifier.
    pub(super) fn new(library: &'lib Library, id: hid_t, close: Close) -> Self {
        Self { hid: id, close, _library: library }
    }

    pub(super) fn get(&self) -> hid_t {
        self.hid
    }

    /// Gives up ownership: someone else closes it, under the lock.
    pub(super) fn release(self) -> hid_t {
        let id = self.hid;
        std::mem::forget(self);
        id
    }
}

impl Drop for Id<'_> {
    fn drop(&mut self) {
        // SAFETY: under the lock; the identifier was open and is closed nowhere else.
        unsafe {
            (self.close)(self.hid);
        }
    }
}
