//! One request to one file in one state: its datasets, and their chunks decoded one by one.

use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lru::LruCache;

use crate::cache::{self, Key};
use crate::chunks::{ChunkIndex, Grid};
use crate::dataset::{Dataset, Layout};
use crate::element::ElementType;
use crate::error::{Error, Place, Result};
use crate::filters::{self, Complaint, Narrowed, Pipeline, Scratch};
use crate::hdf5;
use crate::heap::{self, Collection, Reference};
use crate::plan::{Job, Plan};
use crate::pool::{self, Control};
use crate::scatter::{Kernel, Output};
use crate::source::Source;

/// How often a request is begun anew when the file changes under it.
const ATTEMPTS: usize = 3;

/// Wanted parts of a block that are closer than this are read together: the bytes between cost less
/// than another call to the operating system.
const MERGE_GAP: usize = 4096;

/// How many global heap collections are kept: they are of a few KiB mostly.
const COLLECTIONS: NonZero<usize> = NonZero::new(256).unwrap();

/// A file that stays open, and the same, for the length of a request.
pub(crate) struct Request {
    source: Source,
}

impl Request {
    /// Runs `work` on the file at `path`, anew if the file changes meanwhile: what comes back is of one
    /// state of the file.
    ///
    /// # Errors
    /// Those of `work` and of opening the file; [`Error::Changing`] when it does not keep still.
    pub(crate) fn run<T>(path: &Path, mut work: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        hdf5::provide(filters::undo);
        for _ in 0..ATTEMPTS {
            let request = Self { source: Source::open(path)? };
            let result = work(&request);
            match result {
                Err(Error::Changing { .. }) => {}
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                result if request.source.is_unchanged()? => return result,
                _ => {}
            }
        }
        Err(Error::Changing { place: Place::file(path) })
    }

    fn key(&self, name: &[u8]) -> Key {
        Key { identity: self.source.identity(), name: name.to_vec() }
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    /// The description of a dataset.
    pub(crate) fn dataset(&self, name: &[u8]) -> Result<Arc<Dataset>> {
        let describe = || {
            let decodes = |filters: &[_]| Pipeline::new(filters).is_known();
            hdf5::describe(self.path(), &self.source.identity(), name, decodes).map(Arc::new)
        };
        // What depends on other files than this one, or on which plugins there are, is asked anew.
        let dataset = cache::dataset(&self.key(name), || {
            let dataset = describe()?;
            match dataset.layout {
                Layout::Library { .. } | Layout::Chunked { missing: Some(_), .. } => {
                    Err(Uncached::Dataset(dataset))
                }
                _ => Ok(dataset),
            }
        });
        match dataset {
            Ok(dataset) | Err(Uncached::Dataset(dataset)) => Ok(dataset),
            Err(Uncached::Error(error)) => Err(error),
        }
    }

    /// What a cached fact of this dataset may be kept under: the pointers of a compressed matrix.
    pub(crate) fn pointers(
        &self,
        name: &[u8],
        find: impl FnOnce() -> Result<Arc<[u64]>>,
    ) -> Result<Arc<[u64]>> {
        cache::pointers(&self.key(name), find)
    }

    /// A reader of a dataset's chunks.
    pub(crate) fn reader(&self, name: &[u8]) -> Result<ChunkReader<'_>> {
        let dataset = self.dataset(name)?;
        let place = Place::dataset(self.path(), name);
        let grid = dataset.grid()?;
        let backend = match &dataset.layout {
            Layout::Compact(_) => Backend::Compact,
            Layout::Contiguous(address) => Backend::Contiguous(*address),
            Layout::Chunked { filters, partial_unfiltered, .. } => Backend::Chunked {
                index: cache::index(&self.key(name), || {
                    hdf5::chunk_index(self.path(), &self.source.identity(), name, &grid).map(Arc::new)
                })?,
                pipeline: Pipeline::new(filters),
                partial_unfiltered: *partial_unfiltered,
            },
            Layout::Library { filters, .. } => {
                let identity = self.source.identity();
                let filtered = if filters.is_empty() {
                    None
                } else {
                    let index = hdf5::chunk_index(self.path(), &identity, name, &grid)?;
                    Some((index, Pipeline::new(filters)))
                };
                Backend::Library { reader: Arc::new(self.by_library(name, dataset.element)?), filtered }
            }
        };
        // Of what libhdf5 reads, no more than the wanted box of a chunk is ever asked for.
        let chunk_bytes = match &backend {
            Backend::Library { .. } => 0,
            _ => dataset.chunk_bytes(&grid)?,
        };
        Ok(ChunkReader {
            request: self,
            name: name.to_vec(),
            source: &self.source,
            dataset,
            grid,
            chunk_bytes,
            place,
            backend,
            kept: Mutex::new(None),
            heaps: OnceLock::new(),
            opened: Mutex::new(None),
        })
    }

    fn by_library(&self, name: &[u8], element: ElementType) -> Result<hdf5::Reader> {
        hdf5::Reader::open(self.path(), &self.source.identity(), name, element)
    }
}

/// Why a description is not kept.
enum Uncached {
    Dataset(Arc<Dataset>),
    Error(Error),
}

impl From<Error> for Uncached {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Where the chunks of a dataset come from.
enum Backend {
    Compact,
    Contiguous(Option<u64>),
    Chunked {
        index: Arc<ChunkIndex>,
        pipeline: Pipeline,
        partial_unfiltered: bool,
    },
    /// With the index and the pipeline of chunks that are filtered, to be checked before libhdf5 decodes them.
    Library {
        reader: Arc<hdf5::Reader>,
        filtered: Option<(ChunkIndex, Pipeline)>,
    },
}

/// A chunk as it was asked for.
pub(crate) enum Decoded<'s> {
    /// Its values in C order; only those that the job wants need to be there.
    Values(&'s [u8]),
    /// 64-bit integers of which none needs more than 32 bits, as native 32-bit unsigned ones.
    Narrow(&'s [u8]),
    /// The same, decoded by an earlier job.
    Kept(Arc<Vec<u8>>),
    /// Of its values only the box of [`Job::bounds`].
    Boxed(&'s [u8]),
    /// It was never written: all its values are the dataset's fill value.
    Missing,
}

/// What came of a chunk on the direct path; values stand in the scratch.
enum Found {
    Values,
    Narrow,
    Kept(Arc<Vec<u8>>),
    Missing,
    /// The complaint is [`Complaint::Unknown`].
    Unknown(Complaint),
}

impl Decoded<'_> {
    /// The values as they stand in memory, unless the chunk was never written.
    pub(crate) fn values(&self) -> Option<&[u8]> {
        match self {
            Self::Values(values) | Self::Narrow(values) | Self::Boxed(values) => Some(values),
            Self::Kept(values) => Some(values),
            Self::Missing => None,
        }
    }
}

/// Decodes the chunks of one dataset; used by many threads at once.
pub(crate) struct ChunkReader<'r> {
    request: &'r Request,
    name: Vec<u8>,
    source: &'r Source,
    dataset: Arc<Dataset>,
    grid: Grid,
    chunk_bytes: usize,
    place: Place,
    backend: Backend,
    /// A chunk that the next of several reads begins with, and the number of it.
    kept: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
    /// Global heap collections that strings were found in, by address; neighbours are mostly in the same.
    heaps: OnceLock<Mutex<LruCache<u64, Arc<Collection>>>>,
    /// The dataset as libhdf5 has it open, once a chunk was met that only it can read.
    opened: Mutex<Option<Arc<hdf5::Reader>>>,
}

impl ChunkReader<'_> {
    /// What is read.
    pub(crate) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The chunks that it is read in.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Decodes the chunks of a plan and writes what is wanted of them.
    pub(crate) fn read(&self, plan: &Plan, output: &Output<'_>, control: &Control<'_>) -> Result<()> {
        self.read_chunks(plan, output, false, control)
    }

    /// The same for one of several reads of which each goes on where the one before ended: the chunk that
    /// both share is decoded once.
    pub(crate) fn read_next(&self, plan: &Plan, output: &Output<'_>, control: &Control<'_>) -> Result<()> {
        self.read_chunks(plan, output, true, control)
    }

    fn read_chunks(
        &self,
        plan: &Plan,
        output: &Output<'_>,
        keep_last: bool,
        control: &Control<'_>,
    ) -> Result<()> {
        pool::for_each(control, plan.jobs(), |scratch: &mut Scratch, number| {
            let job = plan.job(number);
            let decoded = self.decode(&job, scratch)?;
            self.write(output, number, &decoded)?;
            if keep_last && number + 1 == plan.jobs() {
                self.keep(&job, &decoded)?;
            }
            Ok(())
        })
    }

    /// Writes what job `number` wants of its chunk.
    pub(crate) fn write(&self, output: &Output<'_>, number: usize, decoded: &Decoded<'_>) -> Result<()> {
        match (decoded, decoded.values()) {
            (Decoded::Boxed(_), Some(values)) => output.boxed(number, values),
            (_, Some(values)) => output.chunk(number, values),
            (_, None) => output.fill(number, &self.dataset.fill),
        }
    }

    /// Keeps a chunk for the next read, which may begin with it.
    ///
    /// Only whole chunks are kept: of a block, or of what libhdf5 reads, only the wanted part is there.
    pub(crate) fn keep(&self, job: &Job<'_>, decoded: &Decoded<'_>) -> Result<()> {
        if !matches!(self.backend, Backend::Chunked { .. }) {
            return Ok(());
        }
        match decoded {
            Decoded::Values(values) => *self.kept() = Some((job.linear, Arc::new(values.to_vec()))),
            Decoded::Narrow(values) => {
                let element = ElementType::U64;
                let mut wide = vec![0; values.len() * 2];
                Kernel::new(ElementType::U32, element)?.convert(values, &mut wide);
                *self.kept() = Some((job.linear, Arc::new(wide)));
            }
            Decoded::Boxed(_) | Decoded::Kept(_) | Decoded::Missing => {}
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Option<(u64, Arc<Vec<u8>>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decodes the chunk of a job, at least as far as the job wants it.
    pub(crate) fn decode<'s>(&'s self, job: &Job<'_>, scratch: &'s mut Scratch) -> Result<Decoded<'s>> {
        self.decode_as(job, scratch, false)
    }

    /// The same for integers along one axis; what fits into 32 bits may come out as such, but the values are never
    /// [`Decoded::Boxed`].
    pub(crate) fn decode_integers<'s>(
        &'s self,
        job: &Job<'_>,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>> {
        self.decode_as(job, scratch, true)
    }

    fn decode_as<'s>(
        &'s self,
        job: &Job<'_>,
        scratch: &'s mut Scratch,
        integers: bool,
    ) -> Result<Decoded<'s>> {
        match &self.backend {
            Backend::Compact => match &self.dataset.layout {
                Layout::Compact(values) => Ok(Decoded::Values(values)),
                _ => Ok(Decoded::Missing),
            },
            Backend::Contiguous(None) => Ok(Decoded::Missing),
            Backend::Contiguous(Some(address)) => self.block(*address, job, scratch),
            Backend::Chunked { index, pipeline, partial_unfiltered } => {
                let unfiltered = *partial_unfiltered && self.grid.is_partial(&job.offset);
                match self.chunk(index, pipeline, unfiltered, job, scratch, integers)? {
                    Found::Values => Ok(Decoded::Values(scratch.filled())),
                    Found::Narrow => Ok(Decoded::Narrow(scratch.filled())),
                    Found::Kept(values) => Ok(Decoded::Kept(values)),
                    Found::Missing => Ok(Decoded::Missing),
                    Found::Unknown(complaint) => {
                        let reader = self.instead(complaint, job)?;
                        self.by_library(&reader, job, scratch, integers)
                    }
                }
            }
            Backend::Library { reader, filtered } => {
                if let (Some((index, pipeline)), Some(len)) = (filtered, reader.chunk_bytes())
                    && let Some(chunk) = index.get(job.linear)
                {
                    // Before libhdf5 asks for memory because the file says so.
                    let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
                    pipeline
                        .check_sizes(chunk.filter_mask, bytes(chunk.size), bytes(len))
                        .and_then(|()| filters::check_memory(bytes(len)))
                        .map_err(|complaint| self.complain(complaint, job))?;
                }
                self.by_library(reader, job, scratch, integers)
            }
        }
    }

    /// Decodes a chunk on the direct path.
    fn chunk(
        &self,
        index: &ChunkIndex,
        pipeline: &Pipeline,
        unfiltered: bool,
        job: &Job<'_>,
        scratch: &mut Scratch,
        integers: bool,
    ) -> Result<Found> {
        if let Some((_, values)) = self.kept().as_ref().filter(|kept| kept.0 == job.linear) {
            return Ok(Found::Kept(Arc::clone(values)));
        }
        let Some(chunk) = index.get(job.linear) else { return Ok(Found::Missing) };
        let place = || self.place.chunk(&job.offset);
        let mask = if unfiltered { u32::MAX } else { chunk.filter_mask };
        let complain = |complaint| self.complain(complaint, job);
        // Before any memory is asked for: what the file claims has to be possible.
        let stored = usize::try_from(chunk.size)
            .map_err(|_| complain(Complaint::Damaged(format!("{} bytes are stored for it", chunk.size))))?;
        pipeline.check_sizes(mask, stored, self.chunk_bytes).map_err(complain)?;
        self.source.check(chunk.address, chunk.size, place)?;
        let buffer = scratch.input(stored).map_err(complain)?;
        self.source.read_at(chunk.address, buffer, place)?;
        let narrow = integers && self.dataset.element.size() == 8 && self.dataset.element.is_little_endian();
        let decoded = if narrow && cfg!(target_endian = "little") {
            let narrowed = pipeline.decode_narrow(mask, self.chunk_bytes, scratch);
            narrowed.map(
                |narrowed| if matches!(narrowed, Narrowed::Yes(_)) { Found::Narrow } else { Found::Values },
            )
        } else {
            pipeline.decode(mask, self.chunk_bytes, scratch).map(|_| Found::Values)
        };
        match decoded {
            Err(unknown @ Complaint::Unknown { .. }) => Ok(Found::Unknown(unknown)),
            decoded => decoded.map_err(complain),
        }
    }

    /// What reads a chunk that the direct path cannot, if there is a plugin for the filter that it complains of.
    fn instead(&self, complaint: Complaint, job: &Job<'_>) -> Result<Arc<hdf5::Reader>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = opened.as_ref() {
            return Ok(Arc::clone(reader));
        }
        let has_plugin = matches!(complaint, Complaint::Unknown { filter, .. } if hdf5::has_plugin(filter));
        // libhdf5 hands strings out, not the references to them that the direct path goes on from.
        if !has_plugin || self.dataset.element == ElementType::STRING {
            return Err(self.complain(complaint, job));
        }
        let reader = Arc::new(self.request.by_library(&self.name, self.dataset.element)?);
        *opened = Some(Arc::clone(&reader));
        Ok(reader)
    }

    /// Reads the wanted box of a chunk by libhdf5. Along the one axis of integers, all before it is there too, as
    /// anything.
    fn by_library<'s>(
        &self,
        reader: &hdf5::Reader,
        job: &Job<'_>,
        scratch: &'s mut Scratch,
        integers: bool,
    ) -> Result<Decoded<'s>> {
        let complain = |complaint| self.complain(complaint, job);
        let (start, count) = job.bounds();
        let before = match (integers, start.first(), job.offset.first()) {
            (true, Some(&start), Some(&offset)) if count.len() == 1 => start - offset,
            (true, ..) => return Err(Error::Internal(format!("{}: not one axis of integers", self.place))),
            (false, ..) => 0,
        };
        let bytes =
            count.iter().try_fold(self.dataset.element.size() as u64, |bytes, &len| bytes.checked_mul(len));
        let before = before.checked_mul(self.dataset.element.size() as u64);
        let (before, all) = before
            .zip(bytes)
            .and_then(|(before, bytes)| Some((before, before.checked_add(bytes)?)))
            .and_then(|(before, all)| Some((usize::try_from(before).ok()?, usize::try_from(all).ok()?)))
            .ok_or_else(|| complain(Complaint::OutOfMemory(usize::MAX)))?;
        let buffer = scratch.input(all).map_err(complain)?;
        reader.read(&job.offset, &start, &count, self.dataset.element.size(), &mut buffer[before..])?;
        let values = scratch.filled();
        Ok(if integers { Decoded::Values(values) } else { Decoded::Boxed(values) })
    }

    fn complain(&self, complaint: Complaint, job: &Job<'_>) -> Error {
        let place = self.place.chunk(&job.offset);
        match complaint {
            Complaint::Damaged(message) => Error::Damaged { place, message },
            Complaint::OutOfMemory(bytes) => {
                Error::OutOfMemory(format!("{place}: no memory for the {bytes} bytes that it comes to"))
            }
            Complaint::Unknown { filter, what } => {
                let step = match &self.dataset.layout {
                    Layout::Chunked { filters, .. } | Layout::Library { filters, .. } => {
                        filters.iter().find(|step| step.id == filter)
                    }
                    Layout::Compact(_) | Layout::Contiguous(_) => None,
                };
                let step = step.map_or_else(|| filter.to_string(), hdf5::describe_missing);
                let what = if what.is_empty() { what } else { format!("{what} of ") };
                Error::Filter { place, message: format!("nothing at hand decodes {what}its filter {step}") }
            }
        }
    }

    /// The strings of variable length that a job wants, at their places in its box; the others are empty.
    pub(crate) fn strings(&self, job: &Job<'_>, scratch: &mut Scratch) -> Result<Vec<Vec<u8>>> {
        let (start, count) = job.bounds();
        if let Backend::Library { reader, .. } = &self.backend {
            return reader.read_strings(&start, &count);
        }
        let decoded = self.decode(job, scratch)?;
        let mut strings = vec![Vec::new(); count.iter().product::<u64>() as usize];
        let Some(values) = decoded.values() else { return Ok(strings) };
        let (references, _) = values.as_chunks::<{ heap::REFERENCE_BYTES }>();
        let mut result = Ok(());
        job.for_each(&vec![0; count.len()], |place, _| {
            if result.is_err() {
                return;
            }
            // From the place in the box to that in the chunk.
            let (mut left, mut position, mut stride) = (place as u64, 0, 1);
            for axis in (0..count.len()).rev() {
                position += (left % count[axis] + start[axis] - job.offset[axis]) * stride;
                left /= count[axis];
                stride *= self.grid.chunk()[axis];
            }
            match self.string(references.get(position as usize), job) {
                Ok(string) => strings[place] = string,
                Err(error) => result = Err(error),
            }
        });
        result.map(|()| strings)
    }

    /// The string that a reference leads to.
    fn string(&self, reference: Option<&[u8; heap::REFERENCE_BYTES]>, job: &Job<'_>) -> Result<Vec<u8>> {
        let place = || self.place.chunk(&job.offset);
        let damaged = |message| Error::Damaged { place: place(), message };
        let Some(reference) = reference.and_then(Reference::parse) else { return Ok(Vec::new()) };
        let known = self.heaps().get(&reference.collection).cloned();
        let collection = if let Some(known) = known {
            known
        } else {
            let address = self.dataset.base.saturating_add(reference.collection);
            let mut header = [0; heap::HEADER_BYTES];
            self.source.read_at(address, &mut header, place)?;
            let size = heap::collection_size(&header).map_err(damaged)?;
            self.source.check(address, size as u64, place)?;
            let mut bytes = Vec::new();
            let complaint = |_| self.complain(Complaint::OutOfMemory(size), job);
            bytes.try_reserve_exact(size).map_err(complaint)?;
            bytes.resize(size, 0);
            self.source.read_at(address, &mut bytes, place)?;
            let collection = Arc::new(Collection::parse(bytes).map_err(damaged)?);
            self.heaps().put(reference.collection, Arc::clone(&collection));
            collection
        };
        collection.string(reference).map(<[u8]>::to_vec).map_err(damaged)
    }

    fn heaps(&self) -> MutexGuard<'_, LruCache<u64, Arc<Collection>>> {
        let heaps = self.heaps.get_or_init(|| Mutex::new(LruCache::new(COLLECTIONS)));
        heaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the wanted parts of a block of a contiguous dataset.
    fn block<'s>(&'s self, address: u64, job: &Job<'_>, scratch: &'s mut Scratch) -> Result<Decoded<'s>> {
        let place = || self.place.chunk(&job.offset);
        let element = self.dataset.element.size();
        // Trailing axes of a block are whole, so that it is consecutive in the file.
        let first = job
            .offset
            .iter()
            .zip(&self.dataset.shape)
            .fold(0u64, |at, (&index, &extent)| at * extent + index);
        let begin = address.saturating_add(first * element as u64);
        let buffer = scratch.input(self.chunk_bytes).map_err(|complaint| self.complain(complaint, job))?;
        job.spans(self.grid.chunk(), element, MERGE_GAP, |from, to| {
            self.source.read_at(begin.saturating_add(from as u64), &mut buffer[from..to], place)
        })?;
        Ok(Decoded::Values(scratch.filled()))
    }
}
