//! Which other files take part in what is found in a file: those that external links lead to, sources of virtual
//! datasets, external storage.
//!
//! libhdf5 looks for such a file in several places, one after the other (`H5F_prefix_open_file`,
//! `H5D__build_file_prefix`). All of them are told here, since a file that appears in an earlier place changes what is
//! found as much as one that changes itself.

use std::collections::{BTreeSet, HashSet};
use std::env;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_uint};
use std::fs;
use std::path::{Path, PathBuf, absolute};

use hdf5_metno_sys::h5d::{H5D_layout_t, H5Dclose, H5Dget_create_plist, H5Dopen2};
use hdf5_metno_sys::h5f::{H5Fclose, H5Fget_name};
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_file_id, H5Iget_type, hid_t};
use hdf5_metno_sys::h5p::{
    H5Pclose, H5Pget_external, H5Pget_external_count, H5Pget_layout, H5Pget_virtual_count,
    H5Pget_virtual_dsetname, H5Pget_virtual_filename,
};

use super::access::{Access, only_this};
use super::id::Id;
use super::{Library, Sources, open_file, open_same, path_from_c};
use crate::dataset::Segment;
use crate::error::{Error, Place, Result};
use crate::origin::Origin;

/// Maximum number of times that something is opened until no more files turn up. Each round finds at least one, and what
/// links lead to is found in the first.
const ROUNDS: usize = 4;

/// Bytes for the name of a file in external storage, of which libhdf5 does not tell the length.
const LONGEST_NAME: usize = 1 << 16;

/// Opens the file and does something in it, again where that was led to files of which the states were not yet noted in
/// `origin`: what is found is of the states that are noted. Also whether any other file took part.
///
/// # Errors
/// Those of `work`; [`Error::Changing`] when one of the files does not keep still, or may have changed unnoticed.
pub(super) fn with_others<'lib, T>(
    library: &'lib Library,
    origin: &Origin,
    place: &Place,
    work: impl Fn(&Id<'lib>, &Access<'lib>, &mut Others) -> Result<T>,
) -> Result<(T, Id<'lib>, bool)> {
    for _ in 0..ROUNDS {
        let file = open_same(library, origin)?;
        let access = Access::new(library, place)?;
        let mut others = Others::default();
        let result = work(&file, &access, &mut others);
        for (parent, child) in access.followed() {
            others.paths.extend(linked(&parent, &child));
        }
        let took_part = !others.paths.is_empty();
        if !took_part || !origin.note(others.paths) {
            return result.map(|found| (found, file, took_part));
        }
        if !origin.unsettled().is_zero() {
            break;
        }
    }
    Err(Error::Changing { place: place.clone() })
}

/// The files that were met.
#[derive(Default)]
pub(super) struct Others {
    paths: BTreeSet<PathBuf>,
    /// Datasets that virtual ones take their values from, by file and name: they may go round.
    sources: HashSet<(PathBuf, Vec<u8>)>,
}

impl Others {
    /// Adds the files that an object has values in, if it is a dataset, and so on for the sources of virtual datasets.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when libhdf5 fails.
    pub(super) fn add(
        &mut self,
        library: &Library,
        object: &Id<'_>,
        access: &Access<'_>,
        sources: Sources,
        place: &Place,
    ) -> Result<()> {
        // SAFETY: under the lock; an open object, and then its open property list.
        let (plist, external, layout) = unsafe {
            if only_this() || H5Iget_type(object.get()) != H5I_type_t::H5I_DATASET {
                return Ok(());
            }
            // Whoever reads its values asks for the same, and says what is the matter.
            let Ok(plist) = library.id(H5Dget_create_plist(object.get()), H5Pclose, place) else {
                return Ok(());
            };
            let (external, layout) = (H5Pget_external_count(plist.get()), H5Pget_layout(plist.get()));
            (plist, library.check(external, place)? as c_uint, layout)
        };
        if external == 0 && layout != H5D_layout_t::H5D_VIRTUAL {
            return Ok(());
        }
        // SAFETY: under the lock; an open dataset.
        let file = library.id(unsafe { H5Iget_file_id(object.get()) }, H5Fclose, place)?;
        let path = name_of(library, &file, place)?;
        if external > 0 {
            let segments = segments(library, &plist, &path, place)?;
            self.paths.extend(segments.into_iter().map(|segment| segment.path));
        }
        if layout != H5D_layout_t::H5D_VIRTUAL || sources == Sources::Left {
            return Ok(());
        }
        let mut count = 0;
        // SAFETY: as above, and room for a number.
        library.check(unsafe { H5Pget_virtual_count(plist.get(), &raw mut count) }, place)?;
        for number in 0..count {
            let filename = mapped(library, &plist, number, H5Pget_virtual_filename, place)?;
            let dataset = mapped(library, &plist, number, H5Pget_virtual_dsetname, place)?;
            for block in 0u64.. {
                let (at, file_varies) = numbered(&filename, block);
                let (name, name_varies) = numbered(&dataset, block);
                let is_there = self.source(library, &file, &path, &at, &name, access, place)?;
                // The blocks of a mapping with numbers in its names go on until there is no such source.
                if !is_there || !(file_varies || name_varies) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Adds a source of a virtual dataset in the file `parent`, and what it needs itself. Whether it is there.
    #[allow(clippy::too_many_arguments)]
    fn source(
        &mut self,
        library: &Library,
        parent: &Id<'_>,
        parent_path: &Path,
        filename: &[u8],
        dataset: &[u8],
        access: &Access<'_>,
        place: &Place,
    ) -> Result<bool> {
        let Ok(c_name) = CString::new(dataset) else { return Ok(false) };
        if filename == b"." {
            if !self.sources.insert((parent_path.to_owned(), dataset.to_owned())) {
                return Ok(true);
            }
            return self.dataset(library, parent, &c_name, access, place);
        }
        let places = mapped_file(parent_path, &path_from_c(filename));
        self.paths.extend(places.iter().cloned());
        let Some((path, file)) =
            places.into_iter().find_map(|path| open_file(library, &path).ok().map(|file| (path, file)))
        else {
            return Ok(false);
        };
        if !self.sources.insert((path, dataset.to_owned())) {
            return Ok(true);
        }
        self.dataset(library, &file, &c_name, access, place)
    }

    fn dataset(
        &mut self,
        library: &Library,
        file: &Id<'_>,
        name: &CStr,
        access: &Access<'_>,
        place: &Place,
    ) -> Result<bool> {
        // SAFETY: under the lock; an open file and a C string.
        let dataset = unsafe { H5Dopen2(file.get(), name.as_ptr(), access.get()) };
        if dataset < 0 {
            library.failure();
            return Ok(false);
        }
        self.add(library, &Id::new(library, dataset, H5Dclose), access, Sources::Read, place)?;
        Ok(true)
    }
}

/// The pieces of files in which a dataset of the file `parent` with this creation property list has its values.
///
/// # Errors
/// [`Error::Unreadable`] when libhdf5 fails.
pub(super) fn segments(
    library: &Library,
    plist: &Id<'_>,
    parent: &Path,
    place: &Place,
) -> Result<Vec<Segment>> {
    // SAFETY: under the lock; an open property list.
    let count = library.check(unsafe { H5Pget_external_count(plist.get()) }, place)? as c_uint;
    let mut segments = Vec::new();
    let mut name = vec![0u8; LONGEST_NAME];
    for number in 0..count {
        let (mut offset, mut size) = (0, 0);
        // The bytes after the last are a NUL still.
        name.fill(0);
        // SAFETY: under the lock; an open property list, room for as many bytes as it is told, and for two numbers.
        let status = unsafe {
            H5Pget_external(
                plist.get(),
                number,
                name.len() - 1,
                name.as_mut_ptr().cast(),
                &raw mut offset,
                &raw mut size,
            )
        };
        library.check(status, place)?;
        let name = CStr::from_bytes_until_nul(&name).map_err(|error| Error::Internal(error.to_string()))?;
        let offset = u64::try_from(offset).map_err(|_| Error::Damaged {
            place: place.clone(),
            message: format!("a piece of its external storage begins at {offset}"),
        })?;
        let path = stored_externally(parent, &path_from_c(name.to_bytes()));
        segments.push(Segment { path, offset, size });
    }
    Ok(segments)
}

/// The name by which a file was opened.
pub(super) fn name_of(library: &Library, file: &Id<'_>, place: &Place) -> Result<PathBuf> {
    // SAFETY: under the lock; an open file, of which the length of its name is asked for first.
    unsafe {
        text(library, place, |buffer, size| H5Fget_name(file.get(), buffer, size))
            .map(|name| path_from_c(&name))
    }
}

/// One of the names of a mapping of a virtual dataset.
fn mapped(
    library: &Library,
    plist: &Id<'_>,
    number: usize,
    get: unsafe extern "C" fn(hid_t, usize, *mut c_char, usize) -> isize,
    place: &Place,
) -> Result<Vec<u8>> {
    // SAFETY: under the lock; an open property list, and a mapping that it has.
    unsafe { text(library, place, |buffer, size| get(plist.get(), number, buffer, size)) }
}

/// A text of which libhdf5 tells the length where it gets no buffer.
///
/// # Safety
/// `get` is a function of libhdf5 with valid identifiers, called under the lock.
unsafe fn text(
    library: &Library,
    place: &Place,
    get: impl Fn(*mut c_char, usize) -> isize,
) -> Result<Vec<u8>> {
    let Ok(len) = usize::try_from(get(std::ptr::null_mut(), 0)) else { return Err(library.error(place)) };
    let mut buffer = vec![0u8; len + 1];
    if get(buffer.as_mut_ptr().cast(), buffer.len()) < 0 {
        return Err(library.error(place));
    }
    buffer.truncate(len);
    Ok(buffer)
}

/// A name of a source with the number of a block in the place of `%b`, and whether there was one (`%%` is a percent sign).
fn numbered(name: &[u8], block: u64) -> (Vec<u8>, bool) {
    let (mut result, mut varies, mut rest) = (Vec::new(), false, name);
    loop {
        rest = match rest {
            [b'%', b'b', after @ ..] => {
                result.extend(block.to_string().into_bytes());
                varies = true;
                after
            }
            [b'%', b'%', after @ ..] => {
                result.push(b'%');
                after
            }
            [byte, after @ ..] => {
                result.push(*byte);
                after
            }
            [] => break,
        };
    }
    (result, varies)
}

/// Where libhdf5 looks for the file of an external link in the file `parent`, in its order.
pub(super) fn linked(parent: &Path, name: &Path) -> Vec<PathBuf> {
    places(parent, name, "HDF5_EXT_PREFIX", None)
}

/// Where libhdf5 looks for the file of a source of a virtual dataset in the file `parent`, in its order.
pub(super) fn mapped_file(parent: &Path, name: &Path) -> Vec<PathBuf> {
    places(parent, name, "HDF5_VDS_PREFIX", prefix(parent, "HDF5_VDS_PREFIX"))
}

/// The paths at which the file of a source may be, the first of which that is there is it. `file` is its name in the
/// mapping, `parent` the file of the virtual dataset.
pub fn source_paths(parent: &Path, file: &[u8]) -> Vec<PathBuf> {
    if file == b"." { vec![parent.to_owned()] } else { mapped_file(parent, &path_from_c(file)) }
}

/// Where libhdf5 looks for external storage of a dataset in the file `parent`.
fn stored_externally(parent: &Path, name: &Path) -> PathBuf {
    let path = prefix(parent, "HDF5_EXTFILE_PREFIX").unwrap_or_default().join(name);
    absolute(&path).unwrap_or(path)
}

fn places(parent: &Path, name: &Path, variable: &str, property: Option<PathBuf>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut rest = name;
    if name.is_absolute() {
        places.push(name.to_owned());
        rest = name.file_name().map_or(name, Path::new);
    }
    if let Some(prefixes) = env::var_os(variable) {
        places.extend(
            env::split_paths(&prefixes).filter(|one| !one.as_os_str().is_empty()).map(|one| one.join(rest)),
        );
    }
    places.extend(property.map(|one| one.join(rest)));
    let folder = |path: &Path| path.parent().map(|folder| folder.join(rest));
    places.extend(absolute(parent).ok().as_deref().and_then(folder));
    places.push(rest.to_owned());
    places.extend(fs::canonicalize(parent).ok().as_deref().and_then(folder));
    for place in &mut places {
        if let Ok(whole) = absolute(&*place) {
            *place = whole;
        }
    }
    places
}

/// The folder that a variable of the environment names, in which `${ORIGIN}` is that of the file `parent`.
fn prefix(parent: &Path, variable: &str) -> Option<PathBuf> {
    let prefix = env::var_os(variable).filter(|prefix| !prefix.is_empty() && prefix != OsStr::new("."))?;
    let folder = absolute(parent).ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    match prefix.to_str().and_then(|text| text.strip_prefix("${ORIGIN}")) {
        Some(rest) => {
            let mut whole: OsString = folder.into_os_string();
            whole.push(rest);
            Some(whole.into())
        }
        None => Some(prefix.into()),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sources_have_numbers() {
        assert_eq!(numbered(b"f-%b.h5", 12), (b"f-12.h5".to_vec(), true));
        assert_eq!(numbered(b"100%%b%", 1), (b"100%b%".to_vec(), false));
    }

    #[test]
    fn a_file_is_looked_for_beside_the_one_that_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        fs::create_dir(&real).unwrap();
        fs::write(real.join("a.h5"), "").unwrap();
        let link = folder.path().join("link.h5");
        std::os::unix::fs::symlink(real.join("a.h5"), &link).unwrap();
        let here = env::current_dir().unwrap();
        let canonical = fs::canonicalize(&real).unwrap();
        let found = linked(&link, Path::new("b.h5"));
        assert_eq!(found, [folder.path().join("b.h5"), here.join("b.h5"), canonical.join("b.h5")]);
        let found = linked(&link, Path::new("/elsewhere/b.h5"));
        assert_eq!(found[0], Path::new("/elsewhere/b.h5"));
        assert_eq!(found[1], folder.path().join("b.h5"));
        assert_eq!(stored_externally(&link, Path::new("raw")), here.join("raw"));
    }
}
