//! Strings as they come from libhdf5: padded, or in memory of its own.

use std::ffi::{CStr, c_char};

use hdf5_metno_sys::h5::H5free_memory;

use crate::element::Padding;

/// A string of fixed length without what it is padded with.
pub(super) fn unpadded(value: &[u8], padding: Padding) -> &[u8] {
    let trimmed = |pad: u8| {
        let end = value.iter().rposition(|&byte| byte != pad).map_or(0, |last| last + 1);
        &value[..end]
    };
    match padding {
        Padding::NullTerminated => value.split(|&byte| byte == 0).next().unwrap_or_default(),
        Padding::Null => trimmed(0),
        Padding::Space => trimmed(b' '),
    }
}

/// Copies C strings and frees them.
///
/// # Safety
/// Each pointer is null, or a C string from libhdf5's allocator that nobody else uses.
pub(super) unsafe fn take_strings(pointers: Vec<*mut c_char>) -> Vec<Vec<u8>> {
    pointers
        .into_iter()
        .map(|pointer| {
            if pointer.is_null() {
                return Vec::new();
            }
            // SAFETY: as the caller vouches.
            unsafe {
                let string = CStr::from_ptr(pointer).to_bytes().to_vec();
                H5free_memory(pointer.cast());
                string
            }
        })
        .collect()
}
