//! The filters that libhdf5 has: its own, plugins, and for what is neither the engine's decoders.
//!
//! libhdf5 finds plugins in the folders that `HDF5_PLUGIN_PATH` names. A plugin that is there was put there by
//! the user, so it comes before the engine's decoder of the same filter. A folder that is only known to be there
//! ([`add_plugins`]) is looked into for what nothing else decodes.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hdf5_metno_sys::h5::{H5allocate_memory, H5free_memory, herr_t};
use hdf5_metno_sys::h5pl::H5PLappend;
use hdf5_metno_sys::h5z::{
    H5Z_CLASS_T_VERS, H5Z_FLAG_REVERSE, H5Z_class2_t, H5Z_func_t, H5Zfilter_avail, H5Zregister, H5Zunregister,
};

use super::access::only_this;
use super::{Library, path_to_c};
use crate::dataset::FilterStep;
use crate::error::Result;

/// Undoes a filter; what it was given was hardly longer than so many bytes. `None` when that cannot be.
pub type Decoder = fn(&FilterStep, &[u8], usize) -> Option<Vec<u8>>;

static DECODER: OnceLock<Decoder> = OnceLock::new();

/// The filters that libhdf5 has from the engine, once it was given them.
static PROVIDED: Mutex<Option<Vec<u32>>> = Mutex::new(None);

/// A folder of plugins in which libhdf5 is to look for a filter that nothing else has.
static PLUGINS: OnceLock<CString> = OnceLock::new();

/// The filters of which the engine's class stands in the place of a plugin's, while datasets are written.
static REPLACED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Whether libhdf5 knows that folder.
static SEARCHED: AtomicBool = AtomicBool::new(false);

/// Filters below are libhdf5's own, whether it was built with them or not (`H5Z_FILTER_RESERVED`).
const RESERVED: u32 = 256;

/// Longest chunk where it is not known how long chunks are, in the sources of virtual datasets: the format's limit
/// before HDF5 2.0.
const LONGEST: usize = u32::MAX as usize;

thread_local! {
    /// How long the chunks are of which libhdf5 is reading one.
    static CHUNK_BYTES: Cell<usize> = const { Cell::new(LONGEST) };
}

/// What the engine has decoders of; those whose parameters it does not know it does not decode.
const OURS: [(u32, &CStr, H5Z_func_t); 8] = [
    (4, c"szip", Some(undo::<4>)),
    (307, c"bzip2", Some(undo::<307>)),
    (32000, c"lzf", Some(undo::<32000>)),
    (32001, c"blosc", Some(undo::<32001>)),
    (32004, c"lz4", Some(undo::<32004>)),
    (32008, c"bitshuffle", Some(undo::<32008>)),
    (32015, c"zstd", Some(undo::<32015>)),
    (32026, c"blosc2", Some(undo::<32026>)),
];

unsafe extern "C" {
    /// What [`H5Zregister`] calls after it has refused the numbers of libhdf5's own filters, of which szip is one
    /// that it is built without.
    fn H5Z_register(class: *const H5Z_class2_t) -> herr_t;
}

/// Gives libhdf5 the engine's decoders, so that the libhdf5 path undoes what the direct path does.
pub fn provide(decoder: Decoder) {
    DECODER.get_or_init(|| decoder);
}

/// Names a folder of plugins, in which libhdf5 looks for a filter that neither it nor the engine has. The first one counts.
pub fn add_plugins(folder: &Path) {
    if let Ok(folder) = path_to_c(folder) {
        PLUGINS.get_or_init(|| folder);
    }
}

fn provided() -> MutexGuard<'static, Option<Vec<u32>>> {
    PROVIDED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    /// Gives libhdf5 the engine's decoders, if it has not been given them.
    pub(super) fn provide_decoders(&self) {
        provided().get_or_insert_with(|| {
            let missing = OURS.iter().filter(|&&(id, ..)| !self.has(id));
            missing
                .filter(|&&(id, name, filter)| self.register(id, name, filter))
                .map(|ours| ours.0)
                .collect()
        });
    }

    /// Whether a filter is one that libhdf5 has from the engine.
    fn is_ours(&self, id: u32) -> bool {
        self.provide_decoders();
        provided().as_ref().is_some_and(|provided| provided.contains(&id))
    }

    /// Whether libhdf5 has a filter that is not the engine's, which it looks for in the folder of plugins if need be.
    fn finds(&self, id: u32) -> bool {
        let ours = self.is_ours(id);
        if !ours && self.has(id) {
            return true;
        }
        let Some(folder) = PLUGINS.get().filter(|_| !only_this()) else { return false };
        if !SEARCHED.swap(true, Ordering::Relaxed) {
            // SAFETY: under the lock; a C string.
            unsafe { H5PLappend(folder.as_ptr()) };
            self.failure();
        }
        if !ours {
            return self.has(id);
        }
        // A plugin is not looked for where there is a filter of its number.
        // SAFETY: under the lock. Nothing happens while an open dataset uses it.
        let gone = unsafe { H5Zunregister(id as c_int) } >= 0;
        self.failure();
        if gone && self.has(id) {
            provided().iter_mut().for_each(|provided| provided.retain(|&other| other != id));
            return true;
        }
        if gone && let Some(&(_, name, filter)) = OURS.iter().find(|ours| ours.0 == id) {
            self.register(id, name, filter);
        }
        false
    }

    /// Puts the engine's class in the place of a plugin's, before a dataset with this filter is made. libhdf5 would have the
    /// plugin set the filter's parameters, and what that calls is the libhdf5 of h5py where both are in the process.
    pub(super) fn keep_plugins_out(&self, id: u32) {
        let Some(&(_, name, filter)) = OURS.iter().find(|ours| ours.0 == id) else { return };
        if self.is_ours(id) {
            return;
        }
        // SAFETY: under the lock. Nothing happens while an open dataset uses it.
        unsafe { H5Zunregister(id as c_int) };
        self.failure();
        if self.register(id, name, filter) {
            provided().iter_mut().for_each(|provided| provided.push(id));
            REPLACED.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
    }

    /// Lets libhdf5 have the plugins again, as far as no dataset that is open uses what is in their place.
    pub(super) fn let_plugins_in(&self) {
        let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|&id| {
            // SAFETY: as above.
            let gone = unsafe { H5Zunregister(id as c_int) } >= 0;
            self.failure();
            if gone {
                provided().iter_mut().for_each(|provided| provided.retain(|&other| other != id));
            }
            !gone
        });
    }

    fn register(&self, id: u32, name: &'static CStr, filter: H5Z_func_t) -> bool {
        let class = H5Z_class2_t {
            version: H5Z_CLASS_T_VERS as c_int,
            id: id as c_int,
            // The engine encodes, and hands libhdf5 chunks as they are; it makes no dataset with a filter that only decodes.
            encoder_present: 1,
            decoder_present: 1,
            name: name.as_ptr(),
            can_apply: None,
            set_local: None,
            filter,
        };
        // SAFETY: under the lock. The library copies the class, whose name and function are static.
        let status = unsafe {
            if id < RESERVED {
                H5Z_register(&raw const class)
            } else {
                H5Zregister((&raw const class).cast())
            }
        };
        self.failure();
        status >= 0
    }

    /// Whether libhdf5 has a filter, which it may load as a plugin now.
    fn has(&self, id: u32) -> bool {
        // SAFETY: under the lock.
        let has = unsafe { H5Zfilter_avail(id as c_int) } > 0;
        // The library leaves messages about plugins that it did not find.
        self.failure();
        has
    }

    /// A filter that neither libhdf5 undoes, nor a plugin, nor the engine, which `decodes` tells.
    pub(super) fn missing<'f>(
        &self,
        filters: &'f [FilterStep],
        decodes: impl Fn(&[FilterStep]) -> bool,
    ) -> Option<&'f FilterStep> {
        filters.iter().find(|step| {
            let decoded = self.is_ours(step.id) && decodes(std::slice::from_ref(step));
            !decoded && !self.finds(step.id)
        })
    }
}

/// Calls `read`, which reads chunks of so many bytes, as far as that is known.
pub(super) fn with_chunks<T>(bytes: Option<u64>, read: impl FnOnce() -> T) -> T {
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(LONGEST);
    let before = CHUNK_BYTES.replace(bytes);
    let result = read();
    CHUNK_BYTES.set(before);
    result
}

/// Whether libhdf5 has a plugin for a filter that the engine has a decoder of.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted) when the request was stopped while it waited for libhdf5.
pub fn has_plugin(id: u32) -> Result<bool> {
    Ok(Library::lock()?.finds(id))
}

/// The callback of a filter: replaces the bytes in `buffer` by the decoded ones, 0 for failure.
unsafe extern "C" fn undo<const ID: u32>(
    flags: c_uint,
    count: usize,
    values: *const c_uint,
    len: usize,
    capacity: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    let Some(decode) = DECODER.get().filter(|_| flags & H5Z_FLAG_REVERSE != 0) else { return 0 };
    // SAFETY: libhdf5 passes `count` values, for which the pointer may be null if there are none, and a buffer
    // with `len` bytes.
    let (values, input) = unsafe {
        let values = if count == 0 { &[][..] } else { std::slice::from_raw_parts(values, count) };
        (values, std::slice::from_raw_parts((*buffer).cast::<u8>().cast_const(), len))
    };
    let step = FilterStep { id: ID, name: String::new(), values: values.to_vec() };
    // A panic must not go through the frames of C.
    let decoded = catch_unwind(|| decode(&step, input, CHUNK_BYTES.get())).ok().flatten();
    let Some(decoded) = decoded.filter(|decoded| !decoded.is_empty()) else { return 0 };
    // SAFETY: under the lock, as whoever called libhdf5 has it. The new buffer is as long as what is copied to it;
    // the old one was made by the library's own allocator, and is given back to it when it is replaced.
    unsafe {
        let room = H5allocate_memory(decoded.len(), 0);
        if room.is_null() {
            return 0;
        }
        room.cast::<u8>().copy_from_nonoverlapping(decoded.as_ptr(), decoded.len());
        H5free_memory(std::mem::replace(&mut *buffer, room));
        *capacity = decoded.len();
    }
    decoded.len()
}
