//! The attributes of an object: the one reader of them.
//!
//! R's packages say by attributes what values mean. rhdf5 writes `rhdf5-NA.OK` beside all that it writes, `storage.mode`
//! beside logical values and `as.na` beside strings some of which are missing (its `h5write.R` and `h5create.R`);
//! `HDF5Array` reads the same (its package h5mread). Files that went through other programs have them as other kinds of
//! strings and numbers.

use std::ffi::{CStr, CString, c_char, c_void};

use hdf5_metno_sys::h5a::{H5Aclose, H5Aexists, H5Aget_space, H5Aget_type, H5Aopen, H5Aread};
use hdf5_metno_sys::h5f::H5Fclose;
use hdf5_metno_sys::h5i::{H5Iget_file_id, hid_t};
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5r::{H5R_type_t, H5Rget_name, hobj_ref_t};
use hdf5_metno_sys::h5s::H5Sclose;
use hdf5_metno_sys::h5t::{
    H5T_STD_REF_OBJ, H5T_class_t, H5Tclose, H5Tcopy, H5Tequal, H5Tget_class, H5Tget_size, H5Tget_super,
    H5Treclaim, hvl_t,
};

use super::describe::extents;
use super::id::Id;
use super::others::with_others;
use super::strings::{take_strings, unpadded};
use super::{Library, element, file_identity, find};
use crate::dataset::Marks;
use crate::element::Kind as ElementKind;
use crate::error::{Error, Place, Result};
use crate::object::{Attribute, Values};
use crate::origin::Origin;

/// Maximum length of the name of a referred object, with its groups' names, in bytes; a longer one is taken for none.
const LONGEST_NAME: usize = 1 << 16;

/// Reads attributes of an object, those that it has.
///
/// # Errors
/// As [`super::object`]; [`Error::Damaged`] for an attribute that is larger than its file.
pub fn attributes(origin: &Origin, name: &[u8], wanted: &[Vec<u8>]) -> Result<Vec<Attribute>> {
    let library = Library::lock()?;
    let place = Place::dataset(origin.path(), name);
    let (object, _file, _) =
        with_others(&library, origin, &place, |file, access, _| find(&library, file, name, access, &place))?;
    let attributes = Attributes::of(&library, &object, &place)?;
    let mut found = Vec::new();
    for name in wanted {
        let Ok(c_name) = CString::new(name.as_slice()) else { continue };
        if let Some((shape, values)) = attributes.get(&c_name)? {
            found.push(Attribute { name: name.clone(), shape, values });
        }
    }
    Ok(found)
}

/// Reads what R's packages say of a dataset.
///
/// # Errors
/// [`Error::Unreadable`] when libhdf5 cannot make sense of the attributes, [`Error::Damaged`] for one that is larger than
/// its file.
pub(super) fn marks(library: &Library, dataset: &Id<'_>, place: &Place) -> Result<Marks> {
    let attributes = Attributes::of(library, dataset, place)?;
    Ok(Marks {
        from_r: attributes.get(c"rhdf5-NA.OK")?.is_some(),
        logical: attributes.single(c"storage.mode")?.is_some_and(|mode| is_text(&mode, b"logical")),
        missing_strings: attributes.single(c"as.na")?.is_some_and(|value| is_true(&value)),
    })
}

/// Whether a value is this string. Some programs pad with spaces or zeros whatever the type says.
fn is_text(value: &Values, text: &[u8]) -> bool {
    let Values::Strings(strings) = value else { return false };
    let padding = |byte: &u8| *byte == 0 || *byte == b' ';
    strings.iter().any(|string| string.strip_prefix(text).is_some_and(|rest| rest.iter().all(padding)))
}

/// Whether a value is a number other than zero, or a truth value.
fn is_true(value: &Values) -> bool {
    matches!(value, Values::Numbers(_, bytes) if bytes.iter().any(|&byte| byte != 0))
}

/// The attributes of one object.
struct Attributes<'a> {
    library: &'a Library,
    object: &'a Id<'a>,
    place: &'a Place,
    /// Bytes of the file that the object is in, which an attribute cannot have more of.
    most: u64,
}

impl<'a> Attributes<'a> {
    fn of(library: &'a Library, object: &'a Id<'a>, place: &'a Place) -> Result<Self> {
        // SAFETY: under the lock; an open object.
        let owner = library.id(unsafe { H5Iget_file_id(object.get()) }, H5Fclose, place)?;
        let most = file_identity(&owner).map_or(u64::MAX, |identity| identity.length());
        Ok(Self { library, object, place, most })
    }

    /// Extents and values of an attribute, whatever kind of type and dataspace it was written with; `None` if there is
    /// no attribute of this name.
    fn get(&self, name: &CStr) -> Result<Option<(Vec<u64>, Values)>> {
        let library = self.library;
        // SAFETY: under the lock; an open object and a C string.
        if library.check(unsafe { H5Aexists(self.object.get(), name.as_ptr()) }, self.place)? == 0 {
            return Ok(None);
        }
        // SAFETY: as above, and then an open attribute.
        let (attribute, space, stored) = unsafe {
            let attribute = H5Aopen(self.object.get(), name.as_ptr(), H5P_DEFAULT);
            let attribute = library.id(attribute, H5Aclose, self.place)?;
            let space = library.id(H5Aget_space(attribute.get()), H5Sclose, self.place)?;
            let stored = library.id(H5Aget_type(attribute.get()), H5Tclose, self.place)?;
            (attribute, space, stored)
        };
        let Some(shape) = extents(library, &space, self.place)? else {
            return Ok(Some((Vec::new(), Values::Other("a null dataspace".into()))));
        };
        self.values(&attribute, &space, &stored, &shape).map(|values| Some((shape, values)))
    }

    /// The one value of an attribute that has one, be it a scalar or an array of one as R's packages write them.
    fn single(&self, name: &CStr) -> Result<Option<Values>> {
        let found = self.get(name)?.filter(|(shape, _)| shape.iter().all(|&extent| extent == 1));
        Ok(found.map(|(_, values)| values))
    }

    fn values(&self, attribute: &Id<'_>, space: &Id<'_>, stored: &Id<'_>, shape: &[u64]) -> Result<Values> {
        let count = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
        // SAFETY: under the lock; an open datatype.
        let size = unsafe { H5Tget_size(stored.get()) };
        let count = count
            .filter(|count| count.checked_mul(size as u64).is_some_and(|bytes| bytes <= self.most))
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| Error::Damaged {
                place: self.place.clone(),
                message: format!("an attribute of shape {shape:?} is larger than the file"),
            })?;
        if is_reference(stored.get()) {
            return self.references(attribute, count);
        }
        if let Some(vlen) = self.vlen_of_references(stored)? {
            return self.reference_lists(attribute, &vlen, space, count);
        }
        match element::describe(self.library, stored, self.place) {
            Ok(described) => match described.element.kind() {
                ElementKind::String => Ok(Values::Strings(self.strings(attribute, stored, count)?)),
                _ => self.fixed(attribute, stored, &described, count),
            },
            Err(Error::ElementType(message)) => Ok(Values::Other(message)),
            Err(error) => Err(error),
        }
    }

    /// Numbers, and strings of fixed length.
    fn fixed(
        &self,
        attribute: &Id<'_>,
        stored: &Id<'_>,
        described: &element::Described,
        count: usize,
    ) -> Result<Values> {
        let element = described.element;
        let (datatype, size) = described.read_as(stored.get(), self.place)?;
        let mut bytes = vec![0; count * size];
        // SAFETY: the buffer holds `count` values of the type that is read.
        unsafe { self.read(attribute, datatype, bytes.as_mut_ptr().cast()) }?;
        let bytes = described.unpacked(bytes)?;
        Ok(match element.kind() {
            ElementKind::Text(padding) => Values::Strings(
                bytes.chunks_exact(element.size()).map(|value| unpadded(value, padding).to_vec()).collect(),
            ),
            _ => Values::Numbers(element, bytes),
        })
    }

    fn strings(&self, attribute: &Id<'_>, stored: &Id<'_>, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut pointers: Vec<*mut c_char> = vec![std::ptr::null_mut(); count];
        // SAFETY: the buffer holds `count` pointers.
        let status = unsafe { self.read(attribute, stored.get(), pointers.as_mut_ptr().cast()) };
        // SAFETY: what libhdf5 wrote there, or nothing.
        let strings = unsafe { take_strings(pointers) };
        status.map(|()| strings)
    }

    fn references(&self, attribute: &Id<'_>, count: usize) -> Result<Values> {
        let mut references: Vec<hobj_ref_t> = vec![0; count];
        // SAFETY: the buffer holds `count` references.
        unsafe { self.read(attribute, *H5T_STD_REF_OBJ, references.as_mut_ptr().cast()) }?;
        let names =
            references.iter().map(|reference| self.name_of(attribute, reference).into_iter().collect());
        Ok(Values::References(names.collect()))
    }

    /// The type itself, if it is of lists of references.
    fn vlen_of_references(&self, stored: &Id<'_>) -> Result<Option<Id<'_>>> {
        // SAFETY: under the lock; an open datatype, and then the type of what is in its lists.
        unsafe {
            if H5Tget_class(stored.get()) != H5T_class_t::H5T_VLEN {
                return Ok(None);
            }
            let of = self.library.id(H5Tget_super(stored.get()), H5Tclose, self.place)?;
            if !is_reference(of.get()) {
                return Ok(None);
            }
            self.library.id(H5Tcopy(stored.get()), H5Tclose, self.place).map(Some)
        }
    }

    fn reference_lists(
        &self,
        attribute: &Id<'_>,
        vlen: &Id<'_>,
        space: &Id<'_>,
        count: usize,
    ) -> Result<Values> {
        let mut lists: Vec<hvl_t> = (0..count).map(|_| hvl_t { len: 0, p: std::ptr::null_mut() }).collect();
        // SAFETY: the buffer holds `count` lists, which libhdf5 takes back below.
        let status = unsafe { self.read(attribute, vlen.get(), lists.as_mut_ptr().cast()) };
        let names = lists
            .iter()
            .map(|list| {
                let references = if list.p.is_null() {
                    &[][..]
                } else {
                    // SAFETY: libhdf5 made a list of so many references of 8 bytes; its memory is aligned.
                    unsafe { std::slice::from_raw_parts(list.p.cast::<hobj_ref_t>(), list.len) }
                };
                references.iter().filter_map(|reference| self.name_of(attribute, reference)).collect()
            })
            .collect();
        // SAFETY: under the lock; what was read with this type and of this shape.
        unsafe { H5Treclaim(vlen.get(), space.get(), H5P_DEFAULT, lists.as_mut_ptr().cast()) };
        status.map(|()| Values::References(names))
    }

    /// The name of the object that a reference leads to, if there is one.
    fn name_of(&self, attribute: &Id<'_>, reference: &hobj_ref_t) -> Option<Vec<u8>> {
        let mut name = vec![0u8; LONGEST_NAME];
        // SAFETY: under the lock; an attribute of the file that is referred to, a reference, and room for as many
        // bytes as it is told; a longer name is cut.
        let len = unsafe {
            H5Rget_name(
                attribute.get(),
                H5R_type_t::H5R_OBJECT1,
                std::ptr::from_ref(reference).cast(),
                name.as_mut_ptr().cast(),
                name.len(),
            )
        };
        if len <= 0 {
            self.library.failure();
        }
        usize::try_from(len).ok().filter(|&len| 0 < len && len < LONGEST_NAME).map(|len| {
            name.truncate(len);
            name
        })
    }

    /// Reads all of an attribute.
    ///
    /// # Safety
    /// `buffer` must hold as many values of `datatype` as the attribute has.
    unsafe fn read(&self, attribute: &Id<'_>, datatype: hid_t, buffer: *mut c_void) -> Result<()> {
        // SAFETY: under the lock; an open attribute and datatype.
        let status = unsafe { H5Aread(attribute.get(), datatype, buffer) };
        self.library.check(status, self.place).map(|_| ())
    }
}

/// Whether values are references to objects, as all versions of libhdf5 know them.
fn is_reference(datatype: hid_t) -> bool {
    // SAFETY: under the lock; an open datatype, and one that is part of the library.
    unsafe {
        H5Tget_class(datatype) == H5T_class_t::H5T_REFERENCE && H5Tequal(datatype, *H5T_STD_REF_OBJ) > 0
    }
}
