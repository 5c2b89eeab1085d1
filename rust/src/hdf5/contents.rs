//! What is in a file: groups, their members, and the members of compounds.

use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::mem::MaybeUninit;

use hdf5_metno_sys::h5::{H5_index_t, H5_iter_order_t, H5free_memory, herr_t};
use hdf5_metno_sys::h5d::{H5D_layout_t, H5Dget_create_plist, H5Dget_space, H5Dget_type, H5Dread};
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_type, hid_t};
use hdf5_metno_sys::h5l::{H5L_info2_t, H5Literate2};
use hdf5_metno_sys::h5o::{H5O_INFO_BASIC, H5O_info2_t, H5Oget_info3};
use hdf5_metno_sys::h5p::{H5P_DEFAULT, H5Pclose, H5Pget_layout};
use hdf5_metno_sys::h5s::{H5S_ALL, H5Sclose};
use hdf5_metno_sys::h5t::{
    H5T_class_t, H5Tclose, H5Tcreate, H5Tget_class, H5Tget_member_index, H5Tget_member_name,
    H5Tget_member_type, H5Tget_nmembers, H5Tinsert,
};

use super::access::Access;
use super::describe::extents;
use super::id::Id;
use super::others::with_others;
use super::strings::{take_strings, unpadded};
use super::{Library, Sources, element, find, mappings, open};
use crate::element::Kind as ElementKind;
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::object::{Field, Kind, Member, Object, Values};
use crate::origin::Origin;

/// No link takes less room in a file: its name has a character at least, and the rest of a message that says where
/// it leads to has more bytes than these.
const LEAST_OF_LINK: u64 = 8;

/// Describes an object of the file of this identity.
///
/// # Errors
/// [`Error::NotFound`] when there is no such object, [`Error::Unreadable`], [`Error::Changing`].
pub fn object(origin: &Origin, name: &[u8]) -> Result<Object> {
    let library = Library::lock()?;
    let place = Place::dataset(origin.path(), name);
    let (described, ..) = with_others(&library, origin, &place, |file, access, others| {
        let object = find(&library, file, name, access, &place)?;
        others.add(&library, &object, access, Sources::Left, &place)?;
        Ok(describe(&library, &object, &place))
    })?;
    Ok(described)
}

/// Lists a group.
///
/// # Errors
/// As [`object`]; [`Error::Damaged`] for more members than the file has room for.
pub fn members(origin: &Origin, name: &[u8]) -> Result<Vec<Member>> {
    let library = Library::lock()?;
    let place = Place::dataset(origin.path(), name);
    let (members, ..) = with_others(&library, origin, &place, |file, access, others| {
        let group = find(&library, file, name, access, &place)?;
        // SAFETY: under the lock; an open object.
        if unsafe { H5Iget_type(group.get()) } != H5I_type_t::H5I_GROUP {
            return Err(Error::NotFound { place: place.clone(), message: "it is not a group".into() });
        }
        let most = origin.identity().length() / LEAST_OF_LINK;
        let within = Access::within(&library, &place)?;
        links(&library, &group, most, &place)?
            .into_iter()
            .map(|link| {
                let found = find(&library, &group, link.as_bytes(), &within, &place);
                let object = match found {
                    Ok(object) => {
                        others.add(&library, &object, access, Sources::Left, &place)?;
                        describe(&library, &object, &place)
                    }
                    Err(_) if within.refused() => Object::of(Kind::External, String::new()),
                    Err(Error::NotFound { message, .. }) => Object::of(Kind::Dangling, message),
                    Err(Error::Unreadable { message, .. }) => Object::of(Kind::Unreadable, message),
                    Err(error) => return Err(error),
                };
                Ok(Member { name: link.into_bytes(), object })
            })
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(members)
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
    // SAFETY: under the lock; an open dataset, and then its open property list.
    let (plist, layout) = unsafe {
        let plist = library.id(H5Dget_create_plist(dataset.get()), H5Pclose, place)?;
        let layout = H5Pget_layout(plist.get());
        (plist, layout)
    };
    described.is_virtual = layout == H5D_layout_t::H5D_VIRTUAL;
    let stated = if described.is_virtual { mappings::stated(library, &plist, place)?.shape } else { None };
    described.shape = if stated.is_some() {
        // To learn what they are now, libhdf5 would open the sources, and end the process where they lead back.
        stated
    } else {
        // SAFETY: as above.
        let space = library.id(unsafe { H5Dget_space(dataset.get()) }, H5Sclose, place)?;
        extents(library, &space, place)?
    };
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

/// Reads one member of the compounds of a dataset: numbers or strings.
///
/// # Errors
/// As [`object`]; [`Error::NotFound`] also when there is no such member, [`Error::ElementType`] when it is neither
/// numbers nor strings, [`Error::OutOfMemory`].
pub fn field(origin: &Origin, name: &[u8], field: &[u8]) -> Result<Values> {
    let library = Library::lock()?;
    let place = Place::dataset(origin.path(), name);
    let opened = open(&library, origin, name, Sources::Read)?;
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
    let described = element::describe(&library, &member, &place)?;
    let element = described.element;
    let count = extents(&library, &space, &place)?
        .map_or(Some(0), |shape| shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent)));
    let no_memory = || Error::OutOfMemory(format!("{place}: no memory for a member of its values"));
    let count = count.and_then(|count| usize::try_from(count).ok()).ok_or_else(no_memory)?;
    let (size, datatype) = if element.kind() == ElementKind::String {
        (size_of::<*mut c_char>(), member.get())
    } else {
        let (datatype, size) = described.read_as(member.get(), &place)?;
        (size, datatype)
    };
    let read = |buffer: *mut c_void| {
        if count == 0 {
            return Ok(());
        }
        // SAFETY: under the lock; a compound of the one member, of which the buffer holds as many as the dataset.
        unsafe {
            let memory = library.id(H5Tcreate(H5T_class_t::H5T_COMPOUND, size), H5Tclose, &place)?;
            library.check(H5Tinsert(memory.get(), c_field.as_ptr(), 0, datatype), &place)?;
            let status = H5Dread(dataset, memory.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer);
            if status < 0 { Err(library.failure().reading(&place)) } else { Ok(()) }
        }
    };
    if element.kind() == ElementKind::String {
        let mut pointers: Vec<*mut c_char> =
            memory::vec(std::ptr::null_mut(), count).map_err(|_| no_memory())?;
        let status = read(pointers.as_mut_ptr().cast());
        // SAFETY: what libhdf5 wrote there, or nothing.
        let strings = unsafe { take_strings(pointers) };
        return status.map(|()| Values::Strings(strings));
    }
    let mut bytes: Vec<u8> = memory::zeros(count.saturating_mul(size)).map_err(|_| no_memory())?;
    read(bytes.as_mut_ptr().cast())?;
    let bytes = described.unpacked(bytes)?;
    Ok(match element.kind() {
        ElementKind::Text(padding) => {
            Values::Strings(bytes.chunks_exact(size).map(|value| unpadded(value, padding).to_vec()).collect())
        }
        _ => Values::Numbers(element, bytes),
    })
}
