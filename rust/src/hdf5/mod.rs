//! All that is asked of libhdf5: where the bytes are, and reads of what only it can read.
//!
//! libhdf5 is not thread-safe. Whoever calls it holds a [`Library`], of which there is one at a time; a
//! function that takes one therefore runs under the lock, and what it returns is plain data that it owns.
//! Nothing of libhdf5 stays open when a request is over.

mod access;
mod attributes;
mod contents;
mod create;
mod describe;
mod element;
mod filters;
mod id;
mod index;
mod library;
mod location;
mod mappings;
mod others;
mod read;
mod strings;

use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::fs::File;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};

use hdf5_metno_sys::h5d::{H5Dclose, H5Dopen2};
use hdf5_metno_sys::h5e::{H5E_DEFAULT, H5E_NOTFOUND, H5E_WALK_UPWARD, H5E_error2_t, H5Eclear2, H5Ewalk2};
use hdf5_metno_sys::h5f::{H5F_ACC_RDONLY, H5F_ACC_SWMR_READ, H5Fclose, H5Fget_vfd_handle, H5Fopen};
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_file_id, H5Iget_type, hid_t};
use hdf5_metno_sys::h5l::{H5L_info2_t, H5L_type_t, H5Lget_info2};
use hdf5_metno_sys::h5o::{H5Oclose, H5Oopen};
use hdf5_metno_sys::h5p::{
    H5P_CLS_FILE_ACCESS, H5P_DEFAULT, H5Pclose, H5Pcreate, H5Pset_file_locking, H5Pset_metadata_read_attempts,
};

pub use access::{elsewhere, only_this, only_this_file};
pub use attributes::attributes;
pub use contents::{field, members, object};
pub(crate) use create::{Chunked, Definition, Draft};
pub use describe::{Found, describe, describe_missing, facts};
pub use filters::{add_plugins, has_plugin, provide};
pub use index::{RawChunk, chunk_index, raw_chunks};
pub(crate) use library::{Library, hold};
pub use location::Location;
pub use others::source_paths;
pub use read::{Pick, Reader, Region, Runs, convert};

use crate::error::{Error, Place, Result};
use crate::identity::Identity;
use crate::origin::Origin;
use crate::signature;
use access::{Access, Opening};
use id::Id;
use others::with_others;

impl Library {
    /// The identifier, or the library's error about `place`.
    fn id(&self, id: hid_t, close: id::Close, place: &Place) -> Result<Id<'_>> {
        if id < 0 { Err(self.error(place)) } else { Ok(Id::new(self, id, close)) }
    }

    /// Whether a call went well.
    fn check(&self, status: c_int, place: &Place) -> Result<c_int> {
        if status < 0 { Err(self.error(place)) } else { Ok(status) }
    }

    /// What the library says of its last failure, from the innermost function outwards.
    #[allow(clippy::unused_self)] // Having a `Library` is what allows it.
    fn failure(&self) -> Failure {
        unsafe extern "C" fn collect(_: c_uint, entry: *const H5E_error2_t, failure: *mut c_void) -> c_int {
            // SAFETY: libhdf5 passes a valid entry, and the pointer that was given to it below.
            let (entry, failure) = unsafe { (&*entry, &mut *failure.cast::<Failure>()) };
            failure.not_found |= entry.min_num == *H5E_NOTFOUND;
            if !entry.desc.is_null() {
                // SAFETY: descriptions are C strings that live as long as the error stack.
                let text = unsafe { CStr::from_ptr(entry.desc) }.to_string_lossy().into_owned();
                if !failure.messages.contains(&text) {
                    failure.messages.push(text);
                }
            }
            0
        }
        let mut failure = Failure::default();
        // SAFETY: under the lock; `collect` is given the pointer to `failure` only during the call.
        unsafe {
            H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, Some(collect), (&raw mut failure).cast());
            H5Eclear2(H5E_DEFAULT);
        }
        failure
    }

    fn error(&self, place: &Place) -> Error {
        self.failure().about(place)
    }
}

/// libhdf5's error stack.
#[derive(Default)]
struct Failure {
    messages: Vec<String>,
    not_found: bool,
}

impl Failure {
    /// The system's error because of which a file was not locked.
    fn lock(&self) -> Option<i32> {
        self.errno("unable to lock file")
    }

    /// The system's error in the message that begins so, where libhdf5 puts it.
    fn errno(&self, begin: &str) -> Option<i32> {
        let message = self.messages.iter().find(|message| message.starts_with(begin))?;
        let (_, number) = message.split_once("errno = ")?;
        number
            .split(|character: char| !character.is_ascii_digit())
            .next()?
            .parse()
            .ok()
            .filter(|&number| number > 0)
    }

    /// The error that it is when a file is opened.
    fn opening(&self, path: &Path) -> Error {
        let place = Place::file(path);
        let has = |begin: &str| self.messages.iter().any(|message| message.starts_with(begin));
        if let Some(errno) = self.lock() {
            return Error::Locked { place, source: std::io::Error::from_raw_os_error(errno) };
        }
        if let Some(errno) = self.errno("unable to open file").or_else(|| self.errno("file read failed")) {
            return Error::Io { place, source: std::io::Error::from_raw_os_error(errno) };
        }
        let message = if has("file signature not found") {
            signature::explain(path)
        } else if has("truncated file") {
            format!("it is shorter than it says; a download or a copy may not have been finished ({self})")
        } else if has(OPEN_FOR_WRITING) {
            format!(
                "a program is writing to it, or ended while it did; close it there, or have 'h5clear -s' clear the mark \
                 that was left ({self})"
            )
        } else {
            self.to_string()
        };
        Error::Unreadable { place, message }
    }

    /// The error that it is when values are read.
    fn reading(&self, place: &Place) -> Error {
        // As `H5Z_pipeline` words it; the sources of a virtual dataset may have filters that nobody knew of.
        match self.messages.iter().find(|message| message.starts_with("required filter")) {
            Some(message) => Error::Filter {
                place: place.clone(),
                message: format!(
                    "libhdf5 says that {message}; a plugin for it may be put into a folder that HDF5_PLUGIN_PATH \
                     names, and 'pip install hdf5plugin' brings many"
                ),
            },
            None => self.about(place),
        }
    }

    /// The error that it is otherwise.
    fn about(&self, place: &Place) -> Error {
        // As `strerror` words it: it wanted to open another file, which it may not.
        if access::only_this() && self.messages.iter().any(|message| message.contains("Too many open files"))
        {
            return access::elsewhere(place);
        }
        Error::Unreadable { place: place.clone(), message: self.to_string() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.messages.as_slice() {
            [] => f.write_str("libhdf5 failed without a message"),
            [one] => f.write_str(one),
            [inner, .., outer] => write!(f, "{outer} ({inner})"),
        }
    }
}

/// A dataset that libhdf5 has open, with its file.
struct Opened<'lib> {
    dataset: Id<'lib>,
    /// Another file than the one that was opened took part: in finding it, or in what it holds.
    elsewhere: bool,
    /// A link led out of the file that was opened, also where another one led back.
    linked: bool,
    file: Id<'lib>,
}

/// Who reads the sources of a virtual dataset that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sources {
    /// libhdf5: their files take part.
    Read,
    /// Not libhdf5: it opens none.
    Left,
}

/// Opens a dataset of a file, provided that it still is in its state. What other files take part is noted in `origin`.
fn open<'lib>(
    library: &'lib Library,
    origin: &Origin,
    name: &[u8],
    sources: Sources,
) -> Result<Opened<'lib>> {
    let place = Place::dataset(origin.path(), name);
    let not_found = |message: &str| Error::NotFound { place: place.clone(), message: message.into() };
    let ((dataset, linked), file, elsewhere) =
        with_others(library, origin, &place, |file, access, others| {
            let object = find(library, file, name, access, &place)?;
            // SAFETY: under the lock; an open object. The kind of object is asked for first, since opening a group as a
            // dataset is an error like any other to libhdf5.
            if unsafe { H5Iget_type(object.get()) } != H5I_type_t::H5I_DATASET {
                return Err(not_found("it is not a dataset"));
            }
            drop(object);
            let c_name = CString::new(name).map_err(|_| not_found("no name holds a NUL character"))?;
            // SAFETY: under the lock; an open file and a C string.
            let dataset = unsafe { H5Dopen2(file.get(), c_name.as_ptr(), access.get()) };
            let dataset = library.id(dataset, H5Dclose, &place)?;
            access.check(library, &dataset, &place)?;
            let linked = !access.followed().is_empty();
            others.add(library, &dataset, access, sources, &place)?;
            // SAFETY: under the lock; an open dataset.
            let owner = library.id(unsafe { H5Iget_file_id(dataset.get()) }, H5Fclose, &place)?;
            let moved = file_identity(&owner).is_none_or(|found| found != origin.identity());
            Ok((dataset, moved || linked))
        })?;
    Ok(Opened { dataset, elsewhere: elsewhere || linked, linked, file })
}

/// Opens a file, provided that it still is in its state.
fn open_same<'lib>(library: &'lib Library, origin: &Origin) -> Result<Id<'lib>> {
    let file = open_file(library, origin.path())?;
    if file_identity(&file).is_none_or(|found| found != origin.identity()) {
        return Err(Error::Changing { place: Place::file(origin.path()) });
    }
    Ok(file)
}

/// Opens an object by its name in a file or a group.
fn find<'lib>(
    library: &'lib Library,
    parent: &Id<'_>,
    name: &[u8],
    access: &Access<'_>,
    place: &Place,
) -> Result<Id<'lib>> {
    let not_found = |message: &str| Error::NotFound { place: place.clone(), message: message.into() };
    if name.is_empty() {
        return Err(not_found("it has no name"));
    }
    let c_name = CString::new(name).map_err(|_| not_found("no name holds a NUL character"))?;
    // SAFETY: under the lock; an open file or group and a C string.
    let object = unsafe { H5Oopen(parent.get(), c_name.as_ptr(), access.afresh()) };
    if object >= 0 {
        return Ok(Id::new(library, object, H5Oclose));
    }
    let failure = library.failure();
    if access.refused() {
        return Err(access::elsewhere(place));
    }
    let mut link = MaybeUninit::<H5L_info2_t>::zeroed();
    // SAFETY: under the lock; an open file or group, a C string, and room for what it tells. The link's kind is its
    // first field; it is read as a number, since files may have kinds that the bindings do not know.
    let (status, kind) = unsafe {
        let status = H5Lget_info2(parent.get(), c_name.as_ptr(), link.as_mut_ptr(), access.get());
        (status, link.as_ptr().cast::<c_int>().read())
    };
    library.failure();
    // What a hard link leads to is there, even if something that it needs is not found.
    let exists = status >= 0 && kind == H5L_type_t::H5L_TYPE_HARD as c_int;
    Err(if failure.not_found && !exists {
        not_found("no such object in the file")
    } else {
        Error::Unreadable { place: place.clone(), message: failure.to_string() }
    })
}

/// Opens a file for reading; if it is refused for being open for writing, as a reader beside a single writer (SWMR).
///
/// libhdf5 lets such a reader in only where the writer has said that it is one of that kind.
fn open_file<'lib>(library: &'lib Library, path: &Path) -> Result<Id<'lib>> {
    let place = Place::file(path);
    let c_path = path_to_c(path)?;
    let _opening = Opening::one_file();
    let mut manner = Manner { beside_writer: false, locks: true };
    let mut refusal = None;
    loop {
        let access = manner.access(library, &place)?;
        let flags = if manner.beside_writer { H5F_ACC_SWMR_READ } else { 0 };
        // SAFETY: under the lock; a C string and an open property list.
        let file = unsafe { H5Fopen(c_path.as_ptr(), H5F_ACC_RDONLY | flags, access.get()) };
        if file >= 0 {
            return Ok(Id::new(library, file, H5Fclose));
        }
        let failure = library.failure();
        if !manner.beside_writer
            && failure.messages.iter().any(|message| message.starts_with(OPEN_FOR_WRITING))
        {
            manner.beside_writer = true;
        } else if manner.locks && failure.lock().is_some_and(may_be_unlocked) {
            manner.locks = false;
        } else {
            return Err(refusal.unwrap_or(failure).opening(path));
        }
        // What is said in the end is why it could not be opened as files are.
        refusal.get_or_insert(failure);
    }
}

/// How a file is opened.
#[derive(Clone, Copy)]
struct Manner {
    /// As a reader beside a single writer.
    beside_writer: bool,
    /// With a lock that keeps writers out meanwhile.
    locks: bool,
}

impl Manner {
    fn access<'lib>(self, library: &'lib Library, place: &Place) -> Result<Id<'lib>> {
        // SAFETY: under the lock; a class of property lists that is part of the library, and a new property list.
        unsafe {
            let access = library.id(H5Pcreate(*H5P_CLS_FILE_ACCESS), H5Pclose, place)?;
            if self.beside_writer {
                library.check(H5Pset_metadata_read_attempts(access.get(), ATTEMPTS), place)?;
            }
            if !self.locks {
                library.check(H5Pset_file_locking(access.get(), 0, 1), place)?;
            }
            Ok(access)
        }
    }
}

/// Whether a file whose lock fails with this error is read without one: where there are no locks on the file system, so that
/// no writer has one either, and where the user says so, at any time. libhdf5 looks at the variable when it is loaded, and
/// believes that more than what it is told later.
fn may_be_unlocked(errno: i32) -> bool {
    let source = std::io::Error::from_raw_os_error(errno);
    let without_locks = errno == NO_LOCKS || source.kind() == std::io::ErrorKind::Unsupported;
    without_locks || locks_are_off()
}

/// Whether the user wants no file to be locked.
pub(crate) fn locks_are_off() -> bool {
    std::env::var_os("HDF5_USE_FILE_LOCKING").is_some_and(|value| value == "FALSE" || value == "0")
}

/// `ENOLCK`: a file system of the network does not lock.
#[cfg(unix)]
const NO_LOCKS: i32 = libc::ENOLCK;
#[cfg(not(unix))]
const NO_LOCKS: i32 = 39;

/// How often libhdf5 may read metadata that do not match their checksum, which a writer may be just writing. It
/// waits a nanosecond after the first time and twice as long after each further one: 17 ms in all. The default
/// are 100 times, which for a damaged file means centuries.
const ATTEMPTS: c_uint = 24;

/// How libhdf5 refuses a file whose superblock says that somebody has it open for writing (`H5F_open`).
const OPEN_FOR_WRITING: &str = "file is already open for write";

/// The identity of the file that libhdf5 itself has open.
#[cfg(unix)]
fn file_identity(file: &Id<'_>) -> Option<Identity> {
    let mut handle: *mut c_void = std::ptr::null_mut();
    // SAFETY: under the lock; an open file. The default driver's handle is its file descriptor.
    let status = unsafe { H5Fget_vfd_handle(file.get(), H5P_DEFAULT, &raw mut handle) };
    if status < 0 || handle.is_null() {
        return None;
    }
    // SAFETY: libhdf5 gave the address of its descriptor, which stays open for as long as the file;
    // `ManuallyDrop` keeps this borrowed `File` from closing it.
    let borrowed = ManuallyDrop::new(unsafe { File::from_raw_fd(*handle.cast::<c_int>()) });
    borrowed.metadata().ok().map(|metadata| Identity::of(&metadata))
}

#[cfg(unix)]
fn path_to_c(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::FileNotFound(path.to_owned()))
}

/// A path as libhdf5 has it.
#[cfg(unix)]
fn path_from_c(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}
