//! Writing: a new version of a file, whole or not at all.
//!
//! A [`Writer`] makes everything in a temporary file beside the target, which takes the target's place at the end
//! (`draft`). Chunks are encoded on all threads and written from one (`sink`); at the end each is read back from the
//! closed file and compared with its checksum. The same calls make the same bytes, whatever the number of threads.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

#[allow(clippy::disallowed_methods, reason = "names of files")]
mod draft;
mod gather;
mod sink;

use std::path::{Path, PathBuf};

pub use draft::Mode;
pub use gather::Block;

pub use crate::filters::Compression;
pub use sink::SinkOptions;

use self::draft::Temporary;
use self::sink::{Finished, Sink};
use crate::element::ElementType;
use crate::error::{Error, Place, Result};
use crate::hdf5::{self, Draft};
use crate::memory;
use crate::object::Kind;
use crate::pool::{self, Control};
use crate::source::Source;

/// How a new file is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Bytes before HDF5's own: 0, or a power of two from 512 on.
    pub user_block: u64,
    /// Bytes of a page, for a file whose index nodes are to stand side by side.
    pub page: Option<u64>,
}

/// Values in the order of rows, as they are in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Type of an element.
    pub element: ElementType,
    /// Whether strings are UTF-8; otherwise they are ASCII.
    pub utf8: bool,
    /// Extent of each axis; empty for a scalar.
    pub shape: Vec<u64>,
    /// The values.
    pub bytes: Vec<u8>,
}

/// What an attribute or a small dataset holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value at all, of this type (`H5S_NULL`).
    Null(ElementType),
    /// Numbers, truth values, complex numbers or strings of one length.
    Array(Array),
    /// Strings of variable length.
    Strings {
        /// Extent of each axis; empty for a scalar.
        shape: Vec<u64>,
        /// As many as the shape says.
        values: Vec<Vec<u8>>,
        /// Whether they are UTF-8; otherwise they are ASCII.
        utf8: bool,
    },
}

impl Value {
    /// # Errors
    /// [`Error::Structure`] when there are not as many values as the shape says.
    fn check(&self, place: &Place) -> Result<()> {
        let (shape, found) = match self {
            Self::Null(_) => return Ok(()),
            Self::Array(Array { element, shape, bytes, .. }) => (shape, bytes.len() / element.size().max(1)),
            Self::Strings { shape, values, .. } => (shape, values.len()),
        };
        let expected = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
        if expected == Some(found as u64) {
            return Ok(());
        }
        Err(Error::Structure(format!("{place}: {found} values for a shape of {shape:?}")))
    }
}

/// A dataset of a [`Writer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkId(pub usize);

/// A new version of a file. Nothing is left of it if it is dropped before it is finished.
#[derive(Debug)]
pub struct Writer {
    // Before the temporary file, since fields are dropped in their order.
    sinks: Vec<Option<Sink>>,
    draft: Option<Draft>,
    temporary: Option<Temporary>,
    target: PathBuf,
    user_block: Vec<u8>,
    /// Something went wrong: what there is is not whole.
    has_failed: bool,
}

impl Writer {
    /// Begins a new version of a file. `user_block` is what stands before HDF5's own bytes, in a block of
    /// `options.user_block`.
    ///
    /// # Errors
    /// [`Error::Occupied`] when another writer is at work on it, [`Error::Exists`] when it is to be new and is there,
    /// [`Error::Writing`] when the system refuses, [`Error::Unreadable`] for a file to add to that is not one of HDF5's.
    pub fn open(path: &Path, mode: Mode, options: &FileOptions, user_block: &[u8]) -> Result<Self> {
        if user_block.len() as u64 > options.user_block {
            return Err(Error::Structure(format!(
                "{} bytes for a user block of {}",
                user_block.len(),
                options.user_block
            )));
        }
        let temporary = Temporary::make(path, mode)?;
        let target = temporary.target().to_owned();
        let draft = if temporary.is_copy() {
            Draft::open(temporary.path(), &target)?
        } else {
            Draft::create(temporary.path(), &target, options)?
        };
        Ok(Self {
            sinks: Vec::new(),
            draft: Some(draft),
            temporary: Some(temporary),
            target,
            user_block: memory::copy(user_block)?,
            has_failed: false,
        })
    }

    /// The file that it will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    fn draft(&self) -> Result<&Draft> {
        match &self.draft {
            Some(draft) if !self.has_failed => Ok(draft),
            Some(_) => Err(Error::Unwritable {
                place: Place::file(&self.target),
                message: "an earlier part of it could not be written; begin it anew".into(),
            }),
            None => Err(Error::Structure(format!(
                "'{}' is written already, or was given up; begin a new version of it",
                self.target.display()
            ))),
        }
    }

    /// Does a part of the work, after whose failure there is nothing to finish.
    fn part<T>(&mut self, work: impl FnOnce(&Draft, &mut Vec<Option<Sink>>) -> Result<T>) -> Result<T> {
        self.draft()?;
        let Some(draft) = &self.draft else { return Err(Error::Internal("no file to write to".into())) };
        let result = work(draft, &mut self.sinks);
        self.has_failed |= result.is_err();
        result
    }

    /// What is of this name; `None` if nothing is.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when libhdf5 fails.
    pub fn kind(&self, name: &[u8]) -> Result<Option<Kind>> {
        self.draft()?.kind(name)
    }

    /// Makes a group, and those that it is in, unless it is there.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is something else of its name; [`Error::Writing`] or [`Error::Unwritable`].
    pub fn create_group(&mut self, name: &[u8]) -> Result<()> {
        let place = Place::dataset(&self.target, name);
        self.part(|draft, _| create_groups(draft, name, &place))
    }

    /// Copies an object of another file to the same name here, with all that is in it.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is something of its name; [`Error::Unreadable`] for a file that cannot be opened;
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub fn copy(&mut self, source: &Path, name: &[u8]) -> Result<()> {
        let place = Place::dataset(&self.target, name);
        self.check_is_free(name)?;
        self.part(|draft, _| {
            create_groups(draft, parent(name), &place)?;
            draft.copy(source, name)
        })
    }

    /// Takes away what is of this name. The space that it takes in a file that was there before is not given back.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub fn delete(&mut self, name: &[u8]) -> Result<()> {
        self.part(|draft, _| draft.delete(name))
    }

    /// Writes an attribute of an object (`/` for the file's own), in place of one of the same name.
    ///
    /// # Errors
    /// [`Error::Structure`] when there are not as many values as the shape says; [`Error::Writing`] or
    /// [`Error::Unwritable`].
    pub fn write_attribute(&mut self, object: &[u8], name: &[u8], value: &Value) -> Result<()> {
        value.check(&Place::dataset(&self.target, object))?;
        self.part(|draft, _| draft.write_attribute(object, name, value))
    }

    /// Makes a dataset in one piece, for values that are few.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is something of its name; as [`Self::write_attribute`].
    pub fn write_dataset(&mut self, name: &[u8], value: &Value) -> Result<()> {
        let place = Place::dataset(&self.target, name);
        value.check(&place)?;
        self.check_is_free(name)?;
        self.part(|draft, _| {
            create_groups(draft, parent(name), &place)?;
            draft.write_values(name, value)
        })
    }

    /// Makes a dataset of chunks.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is something of its name; [`Error::Structure`] for chunks that do not go with the shape
    /// or for a compression that there is not; [`Error::ElementType`] for elements that HDF5 has no type for here;
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub fn create_dataset(&mut self, name: &[u8], options: SinkOptions) -> Result<SinkId> {
        let place = Place::dataset(&self.target, name);
        self.check_is_free(name)?;
        self.part(|draft, sinks| {
            create_groups(draft, parent(name), &place)?;
            let sink = Sink::create(draft, name, options).map_err(|error| error.at(&place))?;
            memory::push(sinks, Some(sink))?;
            Ok(SinkId(sinks.len() - 1))
        })
    }

    /// Writes a block whose first element is at `start`.
    ///
    /// # Errors
    /// [`Error::Index`] for a block that is not inside of the shape, [`Error::ElementType`] for one of another type;
    /// [`Error::Writing`], [`Error::Unwritable`], [`Error::OutOfMemory`], [`Error::Interrupted`].
    pub fn write_block(
        &mut self,
        id: SinkId,
        start: &[u64],
        block: &Block<'_>,
        control: &Control<'_>,
    ) -> Result<()> {
        self.part(|_, sinks| sink(sinks, id)?.write(start, block, control))
    }

    /// Writes a block behind the last index of the first axis, which grows by that.
    ///
    /// # Errors
    /// As [`Self::write_block`]; [`Error::Index`] when it would be longer than it may be.
    pub fn append(&mut self, id: SinkId, block: &Block<'_>, control: &Control<'_>) -> Result<()> {
        self.part(|_, sinks| sink(sinks, id)?.append(block, control))
    }

    /// The shape of a dataset now.
    ///
    /// # Errors
    /// [`Error::Internal`] when it is not one of this writer's.
    pub fn shape(&mut self, id: SinkId) -> Result<Vec<u64>> {
        Ok(memory::copy(sink(&mut self.sinks, id)?.shape())?)
    }

    /// Makes a dataset a dimension scale.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`].
    pub fn set_scale(&mut self, dataset: &[u8], name: &[u8]) -> Result<()> {
        self.part(|draft, _| draft.set_scale(dataset, name))
    }

    /// Attaches dimension scales to the axes of a dataset of `rank` axes, all that it is to have.
    ///
    /// # Errors
    /// [`Error::Writing`] or [`Error::Unwritable`]; [`Error::Structure`] for an axis that there is not.
    pub fn attach_scales(&mut self, dataset: &[u8], rank: usize, scales: &[(usize, Vec<u8>)]) -> Result<()> {
        self.part(|draft, _| draft.attach_scales(dataset, rank, scales))
    }

    /// Writes what waits, checks all chunks against their checksums, and puts the new version in its place.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when something is not in the file as it was written, or an earlier part failed;
    /// [`Error::Writing`], [`Error::Interrupted`]. Then the file is what it was before.
    pub fn finish(&mut self, control: &Control<'_>) -> Result<()> {
        self.draft()?;
        let result = self.finished(control);
        self.discard();
        result
    }

    fn finished(&mut self, control: &Control<'_>) -> Result<()> {
        let (Some(draft), Some(temporary)) = (self.draft.take(), self.temporary.take()) else {
            return Err(Error::Internal("no file to finish".into()));
        };
        let mut finished = Vec::new();
        for sink in self.sinks.drain(..).flatten() {
            memory::push(&mut finished, sink.finish(control)?)?;
        }
        draft.close()?;
        if !self.user_block.is_empty() {
            write_user_block(temporary.path(), &self.user_block)
                .map_err(|source| Error::Writing { place: Place::file(&self.target), source })?;
        }
        verify(temporary.path(), &self.target, &finished, control)?;
        temporary.put_in_place()
    }

    /// Gives up what was written. The file is what it was before.
    pub fn discard(&mut self) {
        self.sinks.clear();
        if let Some(draft) = self.draft.take() {
            draft.abandon();
        }
        self.temporary = None;
    }

    fn check_is_free(&self, name: &[u8]) -> Result<()> {
        match self.kind(name)? {
            Some(_) => Err(Error::Exists { place: Place::dataset(&self.target, name) }),
            None => Ok(()),
        }
    }
}

fn sink(sinks: &mut [Option<Sink>], id: SinkId) -> Result<&mut Sink> {
    sinks
        .get_mut(id.0)
        .and_then(Option::as_mut)
        .ok_or_else(|| Error::Internal(format!("dataset {} of a writer that has {}", id.0, "no such one")))
}

/// The group that an object is in.
fn parent(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let slash = name[..end].iter().rposition(|&byte| byte == b'/');
    slash.map_or(&[], |slash| &name[..slash])
}

/// Makes a group and those that it is in, unless they are there.
fn create_groups(draft: &Draft, name: &[u8], place: &Place) -> Result<()> {
    if name.iter().all(|&byte| byte == b'/') {
        return Ok(());
    }
    match draft.kind(name)? {
        Some(Kind::Group) => Ok(()),
        Some(_) => Err(Error::Exists { place: place.clone() }),
        None => {
            create_groups(draft, parent(name), place)?;
            draft.create_group(name)
        }
    }
}

#[cfg(unix)]
fn write_user_block(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all_at(bytes, 0)
}

#[cfg(not(unix))]
fn write_user_block(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes)
}

/// Opens what was written and compares each chunk with its checksum.
fn verify(path: &Path, target: &Path, finished: &[Finished], control: &Control<'_>) -> Result<()> {
    let source = Source::open(path)?;
    for Finished { name, grid, written } in finished {
        let place = Place::dataset(target, name);
        let differs = |place: &Place, how: &str| Error::Unwritable {
            place: place.clone(),
            message: format!("what is in the file is not what was written ({how}); check the disk"),
        };
        let index = hdf5::chunk_index(source.origin(), name, grid)
            .map_err(|error| differs(&place, &error.to_string()))?;
        let mut chunks = memory::collect(written.iter())?;
        chunks.sort_unstable_by_key(|&(&linear, _)| index.get(linear).map(|chunk| chunk.address));
        pool::for_each(control, chunks.len(), |buffer: &mut Vec<u8>, number| {
            let (&linear, record) = chunks[number];
            let chunk = index.get(linear).filter(|chunk| chunk.size == record.len as u64);
            let Some(chunk) = chunk else {
                return Err(differs(&place, "a chunk is missing or of another length"));
            };
            memory::resize(buffer, record.len, 0)?;
            source.read_at(chunk.address, buffer, || place.clone())?;
            if libdeflater::crc32(buffer) == record.checksum {
                return Ok(());
            }
            Err(differs(&place, "a chunk has another checksum"))
        })?;
    }
    Ok(())
}
