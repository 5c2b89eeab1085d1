//! Files that are made or changed: groups, attributes, datasets and their chunks.
//!
//! A [`Draft`] stays open from one call to the next, which nothing else of libhdf5 does here; its identifiers are closed
//! under the lock. What it writes has no times in it, so that the same calls make the same bytes.

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;

use hdf5_metno_sys::h5a::{H5Aclose, H5Acreate2, H5Adelete, H5Aexists, H5Awrite};
use hdf5_metno_sys::h5d::{
    H5D_layout_t, H5Dclose, H5Dcreate2, H5Dread_chunk2, H5Dset_extent, H5Dwrite, H5Dwrite_chunk,
};
use hdf5_metno_sys::h5f::{
    H5F_ACC_RDWR, H5F_ACC_TRUNC, H5F_fspace_strategy_t, H5F_libver_t, H5F_scope_t, H5Fclose, H5Fcreate,
    H5Fflush, H5Fopen,
};
use hdf5_metno_sys::h5g::{H5Gclose, H5Gcreate2};
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_type, hid_t};
use hdf5_metno_sys::h5l::{H5Ldelete, H5Lexists};
use hdf5_metno_sys::h5o::{H5Oclose, H5Ocopy, H5Oopen};
use hdf5_metno_sys::h5p::{
    H5P_CLS_DATASET_CREATE, H5P_CLS_FILE_ACCESS, H5P_CLS_FILE_CREATE, H5P_CLS_GROUP_CREATE,
    H5P_CLS_LINK_CREATE, H5P_DEFAULT, H5Pclose, H5Pcreate, H5Pset_char_encoding, H5Pset_chunk,
    H5Pset_file_locking, H5Pset_file_space_page_size, H5Pset_file_space_strategy, H5Pset_fill_value,
    H5Pset_filter, H5Pset_layout, H5Pset_libver_bounds, H5Pset_obj_track_times, H5Pset_userblock,
};
use hdf5_metno_sys::h5r::{H5R_type_t, H5Rcreate, hobj_ref_t};
use hdf5_metno_sys::h5s::{H5S_UNLIMITED, H5S_class_t, H5Sclose, H5Screate, H5Screate_simple};
use hdf5_metno_sys::h5t::{
    H5T_C_S1, H5T_STD_I8LE, H5T_STD_I32LE, H5T_STD_REF_OBJ, H5T_VARIABLE, H5T_class_t, H5T_cset_t, H5T_str_t,
    H5Tclose, H5Tcopy, H5Tcreate, H5Tenum_create, H5Tenum_insert, H5Tinsert, H5Tset_cset, H5Tset_size,
    H5Tset_strpad, H5Tvlen_create, hvl_t,
};

use super::access::Opening;
use super::id::{Close, Id};
use super::{Library, element, path_to_c};
use crate::dataset::FilterStep;
use crate::element::{ElementType, Kind};
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::object::Kind as ObjectKind;
use crate::write::{Array, FileOptions, Value};

/// Filters are optional, as h5py and libhdf5's own functions have it (`H5Z_FLAG_OPTIONAL`): libhdf5 need not be able to
/// encode them.
const OPTIONAL: u32 = 1;

/// An identifier that outlives the lock under which it was opened.
#[derive(Debug)]
struct Kept {
    id: hid_t,
    close: Close,
}

impl Kept {
    fn of(id: Id<'_>, close: Close) -> Self {
        Self { id: id.release(), close }
    }

    /// Closes it, and tells what went wrong.
    fn close(self, library: &Library, place: &Place) -> Result<()> {
        let (id, close) = (self.id, self.close);
        std::mem::forget(self);
        // SAFETY: under the lock; the identifier is open, and is closed nowhere else.
        library.written(unsafe { close(id) }, place).map(drop)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        Library::close([(self.id, self.close)]);
    }
}

impl Library {
    /// Whether a call that writes went well.
    fn written(&self, status: c_int, place: &Place) -> Result<c_int> {
        if status < 0 { Err(self.failure().writing(place)) } else { Ok(status) }
    }

    /// The identifier, or the error about what was to be written.
    fn made(&self, id: hid_t, close: Close, place: &Place) -> Result<Id<'_>> {
        if id < 0 { Err(self.failure().writing(place)) } else { Ok(Id::new(self, id, close)) }
    }

    /// A list of properties.
    fn list(&self, class: hid_t, place: &Place) -> Result<Id<'_>> {
        // SAFETY: under the lock; a class of property lists that is part of the library.
        self.made(unsafe { H5Pcreate(class) }, H5Pclose, place)
    }

    /// Properties of an object that notes no times.
    fn without_times(&self, class: hid_t, place: &Place) -> Result<Id<'_>> {
        let list = self.list(class, place)?;
        // SAFETY: under the lock; an open list.
        self.written(unsafe { H5Pset_obj_track_times(list.get(), 0) }, place)?;
        Ok(list)
    }

    /// Properties of a link: its name is UTF-8.
    fn links(&self, place: &Place) -> Result<Id<'_>> {
        let list = self.list(*H5P_CLS_LINK_CREATE, place)?;
        // SAFETY: under the lock; an open list.
        let status = unsafe { H5Pset_char_encoding(list.get(), H5T_cset_t::H5T_CSET_UTF8) };
        self.written(status, place)?;
        Ok(list)
    }

    /// A dataspace of this shape; a scalar where there are no axes.
    fn space(&self, shape: &[u64], most: Option<&[u64]>, place: &Place) -> Result<Id<'_>> {
        // SAFETY: under the lock; as many extents as axes.
        let space = unsafe {
            if shape.is_empty() {
                H5Screate(H5S_class_t::H5S_SCALAR)
            } else {
                let most = most.map_or(std::ptr::null(), <[u64]>::as_ptr);
                H5Screate_simple(shape.len() as c_int, shape.as_ptr(), most)
            }
        };
        self.made(space, H5Sclose, place)
    }

    /// The datatype of numbers, truth values (an enumeration as h5py has it), complex numbers (a compound as h5py has it) or
    /// strings of one length.
    fn datatype(&self, element: ElementType, utf8: bool, place: &Place) -> Result<Id<'_>> {
        let cannot = || Error::ElementType(format!("{place}: values of dtype {element} cannot be written"));
        // SAFETY: under the lock; types that are part of the library, C strings, and values of the base type.
        unsafe {
            match element.kind() {
                Kind::Bool => {
                    let truth = self.made(H5Tenum_create(*H5T_STD_I8LE), H5Tclose, place)?;
                    for (name, value) in [(c"FALSE", 0i8), (c"TRUE", 1i8)] {
                        let value = (&raw const value).cast();
                        self.written(H5Tenum_insert(truth.get(), name.as_ptr(), value), place)?;
                    }
                    Ok(truth)
                }
                Kind::Complex => {
                    let part = ElementType::from_numpy(&format!(
                        "{}f{}",
                        if element.is_little_endian() { '<' } else { '>' },
                        element.size() / 2
                    ))?;
                    let part = element::memory_type(part).ok_or_else(cannot)?;
                    let pair = H5Tcreate(H5T_class_t::H5T_COMPOUND, element.size());
                    let pair = self.made(pair, H5Tclose, place)?;
                    self.written(H5Tinsert(pair.get(), c"r".as_ptr(), 0, part), place)?;
                    self.written(H5Tinsert(pair.get(), c"i".as_ptr(), element.size() / 2, part), place)?;
                    Ok(pair)
                }
                Kind::Text(_) => self.string(element.size(), utf8, place),
                _ => {
                    let native = element::memory_type(element).ok_or_else(cannot)?;
                    self.made(H5Tcopy(native), H5Tclose, place)
                }
            }
        }
    }

    /// The datatype of strings: padded with NULs, or ending with one where they are of variable length.
    fn string(&self, size: usize, utf8: bool, place: &Place) -> Result<Id<'_>> {
        let variable = size == H5T_VARIABLE;
        let padding = if variable { H5T_str_t::H5T_STR_NULLTERM } else { H5T_str_t::H5T_STR_NULLPAD };
        let characters = if utf8 { H5T_cset_t::H5T_CSET_UTF8 } else { H5T_cset_t::H5T_CSET_ASCII };
        // SAFETY: under the lock; a type that is part of the library, and then an open copy of it.
        unsafe {
            let string = self.made(H5Tcopy(*H5T_C_S1), H5Tclose, place)?;
            self.written(H5Tset_size(string.get(), size), place)?;
            self.written(H5Tset_strpad(string.get(), padding), place)?;
            self.written(H5Tset_cset(string.get(), characters), place)?;
            Ok(string)
        }
    }
}

impl super::Failure {
    /// The error that it is when something is written.
    fn writing(&self, place: &Place) -> Error {
        let errno = self
            .errno("file write failed")
            .or_else(|| self.errno("unable to open file"))
            .or_else(|| self.errno("unable to create file"))
            .or_else(|| self.errno("unable to extend file properly"))
            .or_else(|| self.errno("unable to flush"))
            .or_else(|| self.errno("file read failed"));
        match errno {
            Some(errno) => {
                Error::Writing { place: place.clone(), source: std::io::Error::from_raw_os_error(errno) }
            }
            None => Error::Unwritable { place: place.clone(), message: self.to_string() },
        }
    }
}

fn c_name(name: &[u8], place: &Place) -> Result<CString> {
    if name.is_empty() {
        return Err(Error::Structure(format!("{place}: it has no name")));
    }
    CString::new(name).map_err(|_| Error::Structure(format!("{place}: no name holds a NUL character")))
}

/// A file that is being made or changed.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Kept,
    /// The file that it will be, for errors.
    target: std::path::PathBuf,
}

/// How a dataset of chunks is made.
pub(crate) struct Definition<'a> {
    pub(crate) shape: &'a [u64],
    /// Maximum extents, `None` for axes without one.
    pub(crate) most: &'a [Option<u64>],
    pub(crate) element: ElementType,
    /// Whether strings are UTF-8.
    pub(crate) utf8: bool,
    pub(crate) chunk: &'a [u64],
    pub(crate) filters: &'a [FilterStep],
    /// One value; `None` for zero.
    pub(crate) fill: Option<&'a [u8]>,
}

impl Draft {
    /// Makes an empty file at `path`, which will be `target`.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn create(path: &Path, target: &Path, options: &FileOptions) -> Result<Self> {
        let library = Library::lock()?;
        let place = Place::file(target);
        let c_path = path_to_c(path)?;
        let create = library.without_times(*H5P_CLS_FILE_CREATE, &place)?;
        let mut high = H5F_libver_t::H5F_LIBVER_V18;
        if options.user_block > 0 {
            // SAFETY: under the lock; an open list.
            library.written(unsafe { H5Pset_userblock(create.get(), options.user_block) }, &place)?;
        }
        if let Some(page) = options.page {
            high = H5F_libver_t::H5F_LIBVER_V200;
            let strategy = H5F_fspace_strategy_t::H5F_FSPACE_STRATEGY_PAGE;
            // SAFETY: as above.
            unsafe {
                library.written(H5Pset_file_space_strategy(create.get(), strategy, 0, 1), &place)?;
                library.written(H5Pset_file_space_page_size(create.get(), page), &place)?;
            }
        }
        let access = Self::access(&library, high, &place)?;
        let _opening = Opening::one_file();
        // SAFETY: under the lock; a C string and open lists.
        let file = unsafe { H5Fcreate(c_path.as_ptr(), H5F_ACC_TRUNC, create.get(), access.get()) };
        let file = library.made(file, H5Fclose, &place)?;
        Ok(Self { file: Kept::of(file, H5Fclose), target: target.to_owned() })
    }

    /// Opens a copy of `target` at `path`, to be changed.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`], also where it is no file of HDF5's.
    pub(crate) fn open(path: &Path, target: &Path) -> Result<Self> {
        let library = Library::lock()?;
        let place = Place::file(target);
        let c_path = path_to_c(path)?;
        let access = Self::access(&library, H5F_libver_t::H5F_LIBVER_V200, &place)?;
        let _opening = Opening::one_file();
        // SAFETY: under the lock; a C string and an open list.
        let file = unsafe { H5Fopen(c_path.as_ptr(), H5F_ACC_RDWR, access.get()) };
        if file < 0 {
            return Err(library.failure().opening(target));
        }
        let file = Id::new(&library, file, H5Fclose);
        Ok(Self { file: Kept::of(file, H5Fclose), target: target.to_owned() })
    }

    /// How a file is opened: its objects are of the kinds that HDF5 1.8 reads, where they can be. Nobody else knows of it, so
    /// libhdf5 takes no lock.
    fn access<'lib>(library: &'lib Library, high: H5F_libver_t, place: &Place) -> Result<Id<'lib>> {
        let access = library.list(*H5P_CLS_FILE_ACCESS, place)?;
        // SAFETY: under the lock; an open list.
        unsafe {
            let low = H5F_libver_t::H5F_LIBVER_V18;
            library.written(H5Pset_libver_bounds(access.get(), low, high), place)?;
            library.written(H5Pset_file_locking(access.get(), 0, 1), place)?;
        }
        Ok(access)
    }

    fn place(&self, name: &[u8]) -> Place {
        Place::dataset(&self.target, name)
    }

    /// What is of this name; `None` if nothing is. A link that leads nowhere is something.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when libhdf5 fails.
    pub(crate) fn kind(&self, name: &[u8]) -> Result<Option<ObjectKind>> {
        let library = Library::lock()?;
        self.kind_of(&library, name)
    }

    fn kind_of(&self, library: &Library, name: &[u8]) -> Result<Option<ObjectKind>> {
        let place = self.place(name);
        // Each group on the way has to be asked for, since a link's existence is asked for in a group that is there.
        let mut parts = Vec::new();
        for part in name.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            if !parts.is_empty() {
                parts.push(b'/');
            }
            parts.extend_from_slice(part);
            let path = c_name(&parts, &place)?;
            // SAFETY: under the lock; an open file and a C string.
            let exists = unsafe { H5Lexists(self.file.id, path.as_ptr(), H5P_DEFAULT) };
            if exists < 0 {
                // What should be a group is a dataset.
                library.failure();
                return Ok(None);
            }
            if exists == 0 {
                return Ok(None);
            }
        }
        if parts.is_empty() {
            return Ok(Some(ObjectKind::Group));
        }
        let path = c_name(&parts, &place)?;
        // SAFETY: as above, and an open object.
        Ok(Some(unsafe {
            let object = H5Oopen(self.file.id, path.as_ptr(), H5P_DEFAULT);
            if object < 0 {
                library.failure();
                return Ok(Some(ObjectKind::Other));
            }
            let object = Id::new(library, object, H5Oclose);
            match H5Iget_type(object.get()) {
                H5I_type_t::H5I_GROUP => ObjectKind::Group,
                H5I_type_t::H5I_DATASET => ObjectKind::Dataset,
                _ => ObjectKind::Other,
            }
        }))
    }

    /// Makes a group in one that is there.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn create_group(&self, name: &[u8]) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(name);
        let c_name = c_name(name, &place)?;
        let (links, create) = (library.links(&place)?, library.without_times(*H5P_CLS_GROUP_CREATE, &place)?);
        // SAFETY: under the lock; an open file and lists, and a C string.
        let group =
            unsafe { H5Gcreate2(self.file.id, c_name.as_ptr(), links.get(), create.get(), H5P_DEFAULT) };
        library.made(group, H5Gclose, &place).map(drop)
    }

    /// Copies an object of another file to the same name here, with all that is in it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and others for a file that cannot be opened; [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn copy(&self, source: &Path, name: &[u8]) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(name);
        let c_name = c_name(name, &place)?;
        let file = super::open_file(&library, source)?;
        let links = library.links(&place)?;
        // SAFETY: under the lock; open files, an open list, and a C string.
        let status = unsafe {
            H5Ocopy(file.get(), c_name.as_ptr(), self.file.id, c_name.as_ptr(), H5P_DEFAULT, links.get())
        };
        library.written(status, &place).map(drop)
    }

    /// Takes the link of this name away, and with the last link of an object the object.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn delete(&self, name: &[u8]) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(name);
        let c_name = c_name(name, &place)?;
        // SAFETY: under the lock; an open file and a C string.
        library.written(unsafe { H5Ldelete(self.file.id, c_name.as_ptr(), H5P_DEFAULT) }, &place).map(drop)
    }

    fn object<'lib>(&self, library: &'lib Library, name: &[u8], place: &Place) -> Result<Id<'lib>> {
        let c_name = if name.is_empty() { c"/".to_owned() } else { c_name(name, place)? };
        // SAFETY: under the lock; an open file and a C string.
        library.made(unsafe { H5Oopen(self.file.id, c_name.as_ptr(), H5P_DEFAULT) }, H5Oclose, place)
    }

    /// Writes an attribute of an object (`/` or nothing for the file's own), in place of one of the same name.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`]; [`Error::ElementType`] for values that HDF5 has no type for here.
    pub(crate) fn write_attribute(&self, object: &[u8], name: &[u8], value: &Value) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(object);
        let owner = self.object(&library, object, &place)?;
        let c_name = c_name(name, &place)?;
        with_value(&library, value, &place, |datatype, space, values| {
            write_attribute(&library, &owner, &c_name, datatype, space, values, &place)
        })
    }

    /// Makes a dataset that is in one piece, with its values.
    ///
    /// # Errors
    /// As [`Self::write_attribute`].
    pub(crate) fn write_values(&self, name: &[u8], value: &Value) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(name);
        let c_name = c_name(name, &place)?;
        let (links, create) =
            (library.links(&place)?, library.without_times(*H5P_CLS_DATASET_CREATE, &place)?);
        with_value(&library, value, &place, |datatype, space, values| {
            // SAFETY: under the lock; open identifiers and a C string; as many values of the type as the space has.
            unsafe {
                let dataset = H5Dcreate2(
                    self.file.id,
                    c_name.as_ptr(),
                    datatype.get(),
                    space.get(),
                    links.get(),
                    create.get(),
                    H5P_DEFAULT,
                );
                let dataset = library.made(dataset, H5Dclose, &place)?;
                if let Some(values) = values {
                    let status = H5Dwrite(dataset.get(), datatype.get(), 0, 0, H5P_DEFAULT, values);
                    library.written(status, &place)?;
                }
                Ok(())
            }
        })
    }

    /// Makes a dataset of chunks, none of which is written yet.
    ///
    /// # Errors
    /// As [`Self::write_attribute`].
    pub(crate) fn create_chunked(&self, name: &[u8], definition: &Definition<'_>) -> Result<Chunked> {
        let library = Library::lock()?;
        let place = self.place(name);
        let c_name = c_name(name, &place)?;
        let Definition { shape, most, element, utf8, chunk, filters, fill } = definition;
        library.provide_decoders();
        filters.iter().for_each(|step| library.keep_plugins_out(step.id));
        let datatype = library.datatype(*element, *utf8, &place)?;
        let most: Vec<u64> = most.iter().map(|most| most.unwrap_or(H5S_UNLIMITED)).collect();
        let space = library.space(shape, Some(&most), &place)?;
        let (links, create) =
            (library.links(&place)?, library.without_times(*H5P_CLS_DATASET_CREATE, &place)?);
        // SAFETY: under the lock; open identifiers, a C string, as many lengths as axes and as many parameters as are
        // counted; one value of the type.
        unsafe {
            library.written(H5Pset_layout(create.get(), H5D_layout_t::H5D_CHUNKED), &place)?;
            library.written(H5Pset_chunk(create.get(), chunk.len() as c_int, chunk.as_ptr()), &place)?;
            for FilterStep { id, name: _, values } in *filters {
                let status =
                    H5Pset_filter(create.get(), *id as c_int, OPTIONAL, values.len(), values.as_ptr());
                library.written(status, &place)?;
            }
            if let Some(fill) = fill {
                let value = fill.as_ptr().cast();
                library.written(H5Pset_fill_value(create.get(), datatype.get(), value), &place)?;
            }
            let dataset = H5Dcreate2(
                self.file.id,
                c_name.as_ptr(),
                datatype.get(),
                space.get(),
                links.get(),
                create.get(),
                H5P_DEFAULT,
            );
            let dataset = library.made(dataset, H5Dclose, &place)?;
            Ok(Chunked { dataset: Kept::of(dataset, H5Dclose), place })
        }
    }

    /// Makes a dataset a dimension scale of this name (the HDF5 Dimension Scale Specification, `H5DSset_scale`).
    ///
    /// # Errors
    /// As [`Self::write_attribute`].
    pub(crate) fn set_scale(&self, dataset: &[u8], name: &[u8]) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(dataset);
        let scale = self.object(&library, dataset, &place)?;
        for (attribute, text) in [(c"CLASS", b"DIMENSION_SCALE".as_slice()), (c"NAME", name)] {
            let mut text = memory::copy(text)?;
            text.push(0);
            let datatype = library.string(text.len(), false, &place)?;
            // SAFETY: under the lock; an open datatype. The specification asks for strings that end with a NUL.
            let status = unsafe { H5Tset_strpad(datatype.get(), H5T_str_t::H5T_STR_NULLTERM) };
            library.written(status, &place)?;
            let space = library.space(&[], None, &place)?;
            let values = Some(text.as_ptr().cast());
            write_attribute(&library, &scale, attribute, &datatype, &space, values, &place)?;
        }
        Ok(())
    }

    /// Attaches scales to the dimensions of a dataset: what `H5DSattach_scale` makes of all of them, which may be asked for
    /// once.
    ///
    /// # Errors
    /// As [`Self::write_attribute`]; [`Error::Structure`] for a dimension that there is not.
    pub(crate) fn attach_scales(
        &self,
        dataset: &[u8],
        rank: usize,
        scales: &[(usize, Vec<u8>)],
    ) -> Result<()> {
        let library = Library::lock()?;
        let place = self.place(dataset);
        let owner = self.object(&library, dataset, &place)?;
        let reference = |name: &[u8]| -> Result<hobj_ref_t> {
            let (mut reference, c_name) = (0, c_name(name, &place)?);
            // SAFETY: under the lock; an open file, a C string, and room for a reference.
            let status = unsafe {
                let made = (&raw mut reference).cast();
                H5Rcreate(made, self.file.id, c_name.as_ptr(), H5R_type_t::H5R_OBJECT1, -1)
            };
            library.written(status, &place)?;
            Ok(reference)
        };
        let mut lists: Vec<Vec<hobj_ref_t>> = (0..rank).map(|_| Vec::new()).collect();
        for (axis, scale) in scales {
            let list = lists.get_mut(*axis).ok_or_else(|| {
                Error::Structure(format!("{place}: a scale of dimension {axis}, of which there are {rank}"))
            })?;
            list.push(reference(scale)?);
        }
        let lists: Vec<hvl_t> =
            lists.iter_mut().map(|list| hvl_t { len: list.len(), p: list.as_mut_ptr().cast() }).collect();
        // SAFETY: under the lock; types that are part of the library.
        let list_type = unsafe { library.made(H5Tvlen_create(*H5T_STD_REF_OBJ), H5Tclose, &place)? };
        let space = library.space(&[rank as u64], None, &place)?;
        let values = Some(lists.as_ptr().cast());
        write_attribute(&library, &owner, c"DIMENSION_LIST", &list_type, &space, values, &place)?;
        let back = reference(dataset)?;
        for (axis, scale) in scales {
            let scale = self.object(&library, scale, &place)?;
            let value = BackReference { dataset: back, dimension: *axis as c_int };
            // SAFETY: as above; the members of `BackReference` at their places.
            let pair = unsafe {
                let pair = H5Tcreate(H5T_class_t::H5T_COMPOUND, size_of::<BackReference>());
                let pair = library.made(pair, H5Tclose, &place)?;
                let at = std::mem::offset_of!(BackReference, dataset);
                library.written(H5Tinsert(pair.get(), c"dataset".as_ptr(), at, *H5T_STD_REF_OBJ), &place)?;
                let at = std::mem::offset_of!(BackReference, dimension);
                library.written(H5Tinsert(pair.get(), c"dimension".as_ptr(), at, *H5T_STD_I32LE), &place)?;
                pair
            };
            let space = library.space(&[1], None, &place)?;
            let values = Some((&raw const value).cast());
            write_attribute(&library, &scale, c"REFERENCE_LIST", &pair, &space, values, &place)?;
        }
        Ok(())
    }

    /// Writes everything to the file and closes it.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn close(self) -> Result<()> {
        let library = Library::lock()?;
        let place = Place::file(&self.target);
        // SAFETY: under the lock; an open file.
        library.written(unsafe { H5Fflush(self.file.id, H5F_scope_t::H5F_SCOPE_LOCAL) }, &place)?;
        let closed = self.file.close(&library, &place);
        library.let_plugins_in();
        closed
    }

    /// Closes the file, of which nothing is wanted any more.
    pub(crate) fn abandon(self) {
        drop(self);
    }
}

/// An element of `REFERENCE_LIST`.
#[repr(C)]
struct BackReference {
    dataset: hobj_ref_t,
    dimension: c_int,
}

/// Writes an attribute, in place of one of the same name.
fn write_attribute(
    library: &Library,
    object: &Id<'_>,
    name: &CStr,
    datatype: &Id<'_>,
    space: &Id<'_>,
    values: Option<*const c_void>,
    place: &Place,
) -> Result<()> {
    // SAFETY: under the lock; open identifiers, a C string, and as many values of the type as the space has.
    unsafe {
        if library.written(H5Aexists(object.get(), name.as_ptr()), place)? > 0 {
            library.written(H5Adelete(object.get(), name.as_ptr()), place)?;
        }
        let attribute =
            H5Acreate2(object.get(), name.as_ptr(), datatype.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT);
        let attribute = library.made(attribute, H5Aclose, place)?;
        if let Some(values) = values {
            library.written(H5Awrite(attribute.get(), datatype.get(), values), place)?;
        }
        Ok(())
    }
}

/// Calls `write` with the datatype, the dataspace and the memory of some values; without memory where there is no value.
fn with_value(
    library: &Library,
    value: &Value,
    place: &Place,
    write: impl FnOnce(&Id<'_>, &Id<'_>, Option<*const c_void>) -> Result<()>,
) -> Result<()> {
    match value {
        Value::Null(element) => {
            let datatype = library.datatype(*element, true, place)?;
            // SAFETY: under the lock.
            let space = library.made(unsafe { H5Screate(H5S_class_t::H5S_NULL) }, H5Sclose, place)?;
            write(&datatype, &space, None)
        }
        Value::Array(Array { element, utf8, shape, bytes }) => {
            let datatype = library.datatype(*element, *utf8, place)?;
            let space = library.space(shape, None, place)?;
            let values = (!bytes.is_empty()).then_some(bytes.as_ptr().cast());
            write(&datatype, &space, values)
        }
        Value::Strings { shape, values, utf8 } => {
            let datatype = library.string(H5T_VARIABLE, *utf8, place)?;
            let space = library.space(shape, None, place)?;
            let mut texts = memory::with_capacity(values.len())?;
            for value in values {
                let text = CString::new(value.as_slice()).map_err(|_| {
                    Error::Structure(format!(
                        "{place}: a string of variable length cannot hold a NUL character"
                    ))
                })?;
                texts.push(text);
            }
            let pointers = memory::collect(texts.iter().map(|text| text.as_ptr()))?;
            let memory = (!pointers.is_empty()).then_some(pointers.as_ptr().cast());
            write(&datatype, &space, memory)
        }
    }
}

/// A dataset of chunks that is being written.
#[derive(Debug)]
pub(crate) struct Chunked {
    dataset: Kept,
    place: Place,
}

impl Chunked {
    /// Which dataset of which file it will be.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Writes the bytes of a chunk, which have been through the filters other than those in `mask`.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn write(&self, offset: &[u64], mask: u32, bytes: &[u8]) -> Result<()> {
        let library = Library::lock()?;
        // SAFETY: under the lock; an open dataset, an index for each of its axes, and as many bytes as are counted.
        let status = unsafe {
            H5Dwrite_chunk(
                self.dataset.id,
                H5P_DEFAULT,
                mask,
                offset.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        };
        library.written(status, &self.place.chunk(offset)).map(drop)
    }

    /// The bytes of a chunk that was written, of which there are `len`, and its filter mask.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when it cannot be read back.
    pub(crate) fn read(&self, offset: &[u64], len: usize) -> Result<(u32, Vec<u8>)> {
        let library = Library::lock()?;
        let mut bytes = memory::zeros::<u8>(len)?;
        let (mut mask, mut size) = (0u32, len);
        // SAFETY: as above, and room for as many bytes.
        let status = unsafe {
            H5Dread_chunk2(
                self.dataset.id,
                H5P_DEFAULT,
                offset.as_ptr(),
                &raw mut mask,
                bytes.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let place = self.place.chunk(offset);
        library.written(status, &place)?;
        if size == len {
            return Ok((mask, bytes));
        }
        let message = format!("{size} bytes were read back where {len} were written");
        Err(Error::Unwritable { place, message })
    }

    /// Gives the dataset this shape.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn set_extent(&self, shape: &[u64]) -> Result<()> {
        let library = Library::lock()?;
        // SAFETY: under the lock; an open dataset and an extent for each of its axes.
        library.written(unsafe { H5Dset_extent(self.dataset.id, shape.as_ptr()) }, &self.place).map(drop)
    }

    /// Closes it.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub(crate) fn close(self) -> Result<()> {
        let library = Library::lock()?;
        self.dataset.close(&library, &self.place)
    }
}
