//! What is in a file: the members of groups, and their attributes.

use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::mem::MaybeUninit;
use std::path::Path;

use hdf5_metno_sys::h5::{H5_index_t, H5_iter_order_t, H5free_memory, herr_t};
use hdf5_metno_sys::h5a::{H5Aclose, H5Aexists, H5Aget_space, H5Aget_type, H5Aopen, H5Aread};
use hdf5_metno_sys::h5d::{H5Dget_space, H5Dget_type, H5Dread};
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_type, hid_t};
use hdf5_metno_sys::h5l::{H5L_info2_t, H5Literate2};
use hdf5_metno_sys::h5o::{H5O_INFO_BASIC, H5O_info2_t, H5Oget_info3};
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5r::{H5R_type_t, H5Rget_name, hobj_ref_t};
use hdf5_metno_sys::h5s::{H5S_ALL, H5Sclose};
use hdf5_metno_sys::h5t::{
    H5T_STD_REF_OBJ, H5T_class_t, H5Tclose, H5Tcopy, H5Tcreate, H5Tequal, H5Tget_class, H5Tget_member_index,
    H5Tget_member_name, H5Tget_member_type, H5Tget_nmembers, H5Tget_size, H5Tget_super, H5Tinsert,
    H5Treclaim, hvl_t,
};

use super::access::Access;
use super::describe::extents;
use super::id::Id;
use super::{Library, element, find, open, open_same};
use crate::element::{Kind as ElementKind, Padding};
use crate::error::{Error, Place, Result};
use crate::identity::Identity;
use crate::object::{Attribute, Field, Kind, Member, Object, Values};

/// No link takes less room in a file: its name has a character at least, and the rest of a message that says where
/// it leads to has more bytes than these.
const LEAST_OF_LINK: u64 = 8;

/// Names of objects, with their groups' names, are not longer.
const LONGEST_NAME: usize = 1 << 16;

/// Describes an object of the file of this identity.
///
/// # Errors
/// [`Error::NotFound`] when there is no such object, [`Error::Unreadable`], [`Error::Changing`].
pub fn object(path: &Path, identity: &Identity, name: &[u8]) -> Result<Object> {
    let library = Library::lock();
    let place = Place::dataset(path, name);
    let file = open_same(&library, path, identity)?;
    let access = Access::new(&library, &place)?;
    let object = find(&library, &file, name, &access, &place)?;
    Ok(describe(&library, &object, &place))
}

/// Lists a group.
///
/// # Errors
/// As [`object`]; [`Error::Damaged`] for more members than the file has room for.
pub fn members(path: &Path, identity: &Identity, name: &[u8]) -> Result<Vec<Member>> {
    let library = Library::lock();
    let place = Place::dataset(path, name);
    let file = open_same(&library, path, identity)?;
    let access = Access::new(&library, &place)?;
    let group = find(&library, &file, name, &access, &place)?;
    // SAFETY: under the lock; an open object.
    if unsafe { H5Iget_type(group.get()) } != H5I_type_t::H5I_GROUP {
        return Err(Error::NotFound { place, message: "it is not a group".into() });
    }
    let most = identity.length() / LEAST_OF_LINK;
    let access = Access::within(&library, &place)?;
    links(&library, &group, most, &place)?
        .into_iter()
        .map(|link| {
            let found = find(&library, &group, link.as_bytes(), &access, &place);
            let object = match found {
                Ok(object) => describe(&library, &object, &place),
                Err(_) if access.refused() => Object::of(Kind::External, String::new()),
                Err(Error::NotFound { message, .. }) => Object::of(Kind::Dangling, message),
                Err(Error::Unreadable { message, .. }) => Object::of(Kind::Unreadable, message),
                Err(error) => return Err(error),
            };
            Ok(Member { name: link.into_bytes(), object })
        })
        .collect()
}

/// The names in a group.
fn links(library: &Library, group: &Id<'_>, most: u64, place: &Place) -> Result<Vec<CString>> {
    struct Found {
        names: Vec<CString>,
        most: u64,
    }
    unsafe extern "C" fn collect(
        _: hid_t,
        name: *const c_char,
        _: *const H5L_info2_t,
        found: *mut c_void,
    ) -> herr_t {
        // SAFETY: libhdf5 passes a C string, and the pointer that was given to it below.
        let (name, found) = unsafe { (CStr::from_ptr(name), &mut *found.cast::<Found>()) };
        if found.names.len() as u64 >= found.most {
            return 1;
        }
        found.names.push(name.to_owned());
        0
    }
    let mut found = Found { names: Vec::new(), most };
    let mut position = 0;
    // SAFETY: under the lock; an open group. `collect` is given the pointer to `found` only during the call.
    let status = unsafe {
        H5Literate2(
            group.get(),
            H5_index_t::H5_INDEX_NAME,
            H5_iter_order_t::H5_ITER_INC,
            &raw mut position,
            Some(collect),
            (&raw mut found).cast(),
        )
    };
    if library.check(status, place)? > 0 {
        let message = "it has more members than the file has room for".into();
        return Err(Error::Damaged { place: place.clone(), message });
    }
    Ok(found.names)
}

/// What an open object is. What cannot be found out is said in the note.
fn describe(library: &Library, object: &Id<'_>, place: &Place) -> Object {
    // SAFETY: under the lock; an open object.
    let kind = match unsafe { H5Iget_type(object.get()) } {
        H5I_type_t::H5I_GROUP => Kind::Group,
        H5I_type_t::H5I_DATASET => Kind::Dataset,
        _ => Kind::Other,
    };
    let mut described = Object::of(kind, String::new());
    match identity(library, object, place) {
        Ok(identity) => described.identity = identity,
        Err(error) => return Object::of(Kind::Unreadable, error.to_string()),
    }
    if kind == Kind::Dataset
        && let Err(error) = describe_values(library, object, place, &mut described)
    {
        described.note = match error {
            Error::ElementType(message) | Error::Unreadable { message, .. } => message,
            other => other.to_string(),
        };
    }
    described
}

fn describe_values(library: &Library, dataset: &Id<'_>, place: &Place, described: &mut Object) -> Result<()> {
    // SAFETY: under the lock; an open dataset.
    let space = library.id(unsafe { H5Dget_space(dataset.get()) }, H5Sclose, place)?;
    // SAFETY: as above.
    described.shape = extents(library, &space, place)?;
    // SAFETY: as above.
    let datatype = library.id(unsafe { H5Dget_type(dataset.get()) }, H5Tclose, place)?;
    // SAFETY: under the lock; an open datatype.
    if unsafe { H5Tget_class(datatype.get()) } == H5T_class_t::H5T_COMPOUND {
        described.fields = fields(library, &datatype, place)?;
    }
    described.element = Some(element::describe(library, &datatype, place)?.element);
    Ok(())
}

fn fields(library: &Library, compound: &Id<'_>, place: &Place) -> Result<Vec<Field>> {
    // SAFETY: under the lock; an open datatype.
    let count = library.check(unsafe { H5Tget_nmembers(compound.get()) }, place)?;
    (0..count as c_uint)
        .map(|number| {
            // SAFETY: under the lock; a member that exists. Its name is the caller's to free.
            let (name, datatype) = unsafe {
                let name = H5Tget_member_name(compound.get(), number);
                if name.is_null() {
                    return Err(library.error(place));
                }
                let owned = CStr::from_ptr(name).to_bytes().to_vec();
                H5free_memory(name.cast());
                (owned, library.id(H5Tget_member_type(compound.get(), number), H5Tclose, place)?)
            };
            let element =
                element::describe(library, &datatype, place).ok().map(|described| described.element);
            Ok(Field { name, element })
        })
        .collect()
}

/// What two names of one object have in common.
fn identity(library: &Library, object: &Id<'_>, place: &Place) -> Result<Vec<u8>> {
    let mut info = MaybeUninit::<H5O_info2_t>::zeroed();
    // SAFETY: under the lock; an open object and room for what is told of it.
    let status = unsafe { H5Oget_info3(object.get(), info.as_mut_ptr(), H5O_INFO_BASIC) };
    library.check(status, place)?;
    // SAFETY: a place within the struct, of as many bytes. The number of the file, which stands before it, is
    // another one whenever the file is opened.
    let token = unsafe { (&raw const (*info.as_ptr()).token).cast::<[u8; 16]>().read() };
    Ok(token.to_vec())
}

/// Reads attributes of an object, those that it has.
///
/// # Errors
/// As [`object`]; [`Error::Damaged`] for an attribute that is larger than the file.
pub fn attributes(
    path: &Path,
    identity: &Identity,
    name: &[u8],
    wanted: &[Vec<u8>],
) -> Result<Vec<Attribute>> {
    let library = Library::lock();
    let place = Place::dataset(path, name);
    let file = open_same(&library, path, identity)?;
    let access = Access::new(&library, &place)?;
    let object = find(&library, &file, name, &access, &place)?;
    let mut found = Vec::new();
    for name in wanted {
        let Ok(c_name) = CString::new(name.as_slice()) else { continue };
        // SAFETY: under the lock; an open object and a C string.
        if library.check(unsafe { H5Aexists(object.get(), c_name.as_ptr()) }, &place)? == 0 {
            continue;
        }
        // SAFETY: as above.
        let attribute = unsafe { H5Aopen(object.get(), c_name.as_ptr(), H5P_DEFAULT) };
        let attribute = library.id(attribute, H5Aclose, &place)?;
        let (shape, values) =
            Reading { library: &library, place: &place, most: identity.length() }.run(&attribute)?;
        found.push(Attribute { name: name.clone(), shape, values });
    }
    Ok(found)
}

/// The values of attributes of one object.
struct Reading<'a> {
    library: &'a Library,
    place: &'a Place,
    /// Bytes of the file, which an attribute cannot have more of.
    most: u64,
}

impl Reading<'_> {
    fn run(&self, attribute: &Id<'_>) -> Result<(Vec<u64>, Values)> {
        let library = self.library;
        // SAFETY: under the lock; an open attribute.
        let (space, stored) = unsafe {
            (
                library.id(H5Aget_space(attribute.get()), H5Sclose, self.place)?,
                library.id(H5Aget_type(attribute.get()), H5Tclose, self.place)?,
            )
        };
        let Some(shape) = extents(library, &space, self.place)? else {
            return Ok((Vec::new(), Values::Other("a null dataspace".into())));
        };
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
        let values = if is_reference(stored.get()) {
            self.references(attribute, count)?
        } else if let Some(vlen) = self.vlen_of_references(&stored)? {
            self.reference_lists(attribute, &vlen, &space, count)?
        } else {
            match element::describe(library, &stored, self.place) {
                Ok(described) => match described.element.kind() {
                    ElementKind::String => Values::Strings(self.strings(attribute, &stored, count)?),
                    _ => self.fixed(attribute, &stored, &described, count)?,
                },
                Err(Error::ElementType(message)) => Values::Other(message),
                Err(error) => return Err(error),
            }
        };
        Ok((shape, values))
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
        let datatype = match described.conversion {
            None => stored.get(),
            Some(_) => element::memory_type(element)
                .ok_or_else(|| Error::Internal(format!("{}: no native type for {element}", self.place)))?,
        };
        let mut bytes = vec![0; count * element.size()];
        // SAFETY: the buffer holds `count` values of the type that is read.
        unsafe { self.read(attribute, datatype, bytes.as_mut_ptr().cast()) }?;
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

/// A string of fixed length without what it is padded with.
fn unpadded(value: &[u8], padding: Padding) -> &[u8] {
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
unsafe fn take_strings(pointers: Vec<*mut c_char>) -> Vec<Vec<u8>> {
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

/// Reads one member of the compounds of a dataset, which must be strings.
///
/// # Errors
/// As [`object`]; [`Error::NotFound`] also when there is no such member, [`Error::ElementType`] when it is no
/// string, [`Error::OutOfMemory`].
pub fn field(path: &Path, identity: &Identity, name: &[u8], field: &[u8]) -> Result<Vec<Vec<u8>>> {
    let library = Library::lock();
    let place = Place::dataset(path, name);
    let opened = open(&library, path, identity, name)?;
    let dataset = opened.dataset.get();
    let missing = || Error::NotFound {
        place: place.clone(),
        message: format!("its values have no member '{}'", String::from_utf8_lossy(field)),
    };
    let c_field = CString::new(field).map_err(|_| missing())?;
    // SAFETY: under the lock; an open dataset.
    let (space, compound) = unsafe {
        (
            library.id(H5Dget_space(dataset), H5Sclose, &place)?,
            library.id(H5Dget_type(dataset), H5Tclose, &place)?,
        )
    };
    // SAFETY: under the lock; an open datatype, which is asked for members only if it has some.
    let member = unsafe {
        if H5Tget_class(compound.get()) != H5T_class_t::H5T_COMPOUND {
            return Err(missing());
        }
        let number = H5Tget_member_index(compound.get(), c_field.as_ptr());
        let number = c_uint::try_from(number).map_err(|_| {
            library.failure();
            missing()
        })?;
        library.id(H5Tget_member_type(compound.get(), number), H5Tclose, &place)?
    };
    let element = element::describe(&library, &member, &place)?.element;
    let count = extents(&library, &space, &place)?
        .map_or(Some(0), |shape| shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent)));
    let no_memory = || Error::OutOfMemory(format!("{place}: no memory for its strings"));
    let count = count.and_then(|count| usize::try_from(count).ok()).ok_or_else(no_memory)?;
    let size = match element.kind() {
        ElementKind::String => size_of::<*mut c_char>(),
        ElementKind::Text(_) => element.size(),
        _ => {
            let message =
                format!("{place}: '{}' holds {element}, not strings", String::from_utf8_lossy(field));
            return Err(Error::ElementType(message));
        }
    };
    if count == 0 {
        return Ok(Vec::new());
    }
    let read = |buffer: *mut c_void| {
        // SAFETY: under the lock; a compound of the one member, of which the buffer holds as many as the dataset.
        unsafe {
            let memory = library.id(H5Tcreate(H5T_class_t::H5T_COMPOUND, size), H5Tclose, &place)?;
            library.check(H5Tinsert(memory.get(), c_field.as_ptr(), 0, member.get()), &place)?;
            let status = H5Dread(dataset, memory.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer);
            if status < 0 { Err(library.failure().reading(&place)) } else { Ok(()) }
        }
    };
    if let ElementKind::Text(padding) = element.kind() {
        let mut bytes: Vec<u8> = Vec::new();
        let len = count.checked_mul(size).ok_or_else(no_memory)?;
        bytes.try_reserve_exact(len).map_err(|_| no_memory())?;
        bytes.resize(len, 0);
        read(bytes.as_mut_ptr().cast())?;
        return Ok(bytes.chunks_exact(size).map(|value| unpadded(value, padding).to_vec()).collect());
    }
    let mut pointers: Vec<*mut c_char> = Vec::new();
    pointers.try_reserve_exact(count).map_err(|_| no_memory())?;
    pointers.resize(count, std::ptr::null_mut());
    let status = read(pointers.as_mut_ptr().cast());
    // SAFETY: what libhdf5 wrote there, or nothing.
    let strings = unsafe { take_strings(pointers) };
    status.map(|()| strings)
}
