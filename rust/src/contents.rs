//! Finding out what is in a file.

use std::path::Path;

use crate::error::{Error, Result};
use crate::hdf5;
use crate::object::{Attribute, Member, Object, Values};
use crate::reader::Request;

/// What the object `name` of the file at `path` is.
///
/// # Errors
/// [`crate::Error::FileNotFound`], [`crate::Error::NotFound`] when there is no such object,
/// [`crate::Error::Unreadable`] and [`crate::Error::Io`] when it cannot be made sense of.
pub fn object(path: &Path, name: &[u8]) -> Result<Object> {
    Request::run(path, |request| resolved(request, name, hdf5::object(request.origin(), name)?))
}

/// The object with the extents that it has now, if it is a virtual dataset: the sources say. Where they cannot be read, with those
/// that its file states, and why.
fn resolved(request: &Request, name: &[u8], object: Object) -> Result<Object> {
    if !object.is_virtual {
        return Ok(object);
    }
    match request.dataset(name) {
        Ok(dataset) => Ok(Object { shape: Some(dataset.shape.clone()), ..object }),
        Err(error @ (Error::Interrupted | Error::Changing { .. } | Error::Changed { .. })) => Err(error),
        // Of what has no element type, the note says why already.
        Err(error) if object.note.is_empty() => Ok(Object { note: error.to_string(), ..object }),
        Err(_) => Ok(object),
    }
}

/// The members of a group, by name. Links to other files are not followed, and what cannot be read is a member too.
///
/// # Errors
/// As [`object`]; [`crate::Error::NotFound`] also when it is no group, [`crate::Error::Damaged`] when it has more
/// members than the file has room for.
pub fn members(path: &Path, group: &[u8]) -> Result<Vec<Member>> {
    Request::run(path, |request| {
        let members = hdf5::members(request.origin(), group)?.into_iter();
        let resolve = |member: Member| {
            let name = [group, b"/", member.name.as_slice()].concat();
            Ok(Member { object: resolved(request, &name, member.object)?, ..member })
        };
        members.map(resolve).collect()
    })
}

/// Those attributes of an object that it has, of the names that are asked for.
///
/// # Errors
/// As [`object`]; [`crate::Error::Damaged`] for an attribute that is larger than its file.
pub fn attributes(path: &Path, name: &[u8], wanted: &[Vec<u8>]) -> Result<Vec<Attribute>> {
    Request::run(path, |request| hdf5::attributes(request.origin(), name, wanted))
}

/// One member of the compounds that a dataset holds: numbers or strings.
///
/// # Errors
/// As [`object`]; [`crate::Error::NotFound`] also when it is no dataset of compounds that have this member,
/// [`crate::Error::ElementType`] when the member is neither numbers nor strings, [`crate::Error::OutOfMemory`].
pub fn field(path: &Path, dataset: &[u8], field: &[u8]) -> Result<Values> {
    Request::run(path, |request| hdf5::field(request.origin(), dataset, field))
}
