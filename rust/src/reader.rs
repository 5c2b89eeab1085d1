//! One request to one file in one state: its datasets, and their chunks decoded one by one.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::SystemTime;

use lru::LruCache;
use smallvec::SmallVec;

use crate::cache::{self, Chunks, Kept, Key};
use crate::chunks::{Chunk, ChunkIndex, Grid};
use crate::dataset::{Dataset, Facts, Layout, Segment, Virtual};
use crate::element::ElementType;
use crate::error::{Error, Place, Result};
use crate::filters::{self, Complaint, Declined, Fault, Lent, Pipeline, Scratch};
use crate::hdf5::{self, Pick, Region, Runs};
use crate::heap::{self, Collection, Reference};
use crate::identity::Identity;
use crate::mapping::{self, Definition};
use crate::memory;
use crate::origin::Origin;
use crate::plan::{Job, PerAxis, Piece, Plan};
use crate::planes::Planes;
use crate::pool::{self, Control};
use crate::scatter::Output;
use crate::selection::Axis;
use crate::snapshot::{Snapshot, current_snapshot};
use crate::source::{Ahead, MERGE_GAP, Source};
use crate::sources::{self, Inner, Sources};
use crate::strings;

/// How often a request is begun anew when the file changes under it.
const ATTEMPTS: usize = 3;

/// Chunks that come to no more than this are decoded sooner than another thread wakes up.
const TINY_BYTES: usize = 16 << 10;

/// Of no more chunks than these it is asked one by one whether they are in the cache.
const FEW_JOBS: usize = 256;

/// Into so many parts a thread's jobs are cut for each of which it may read ahead.
const PARTS_AHEAD: usize = 4;

/// And of no more jobs than these: where nearly no chunk was ever written, the next one may be any number of jobs away.
const MOST_AHEAD: usize = 1024;

/// No more chunks than these are looked for one by one, where the index of all is not known.
const FEW_LOOKUPS: usize = 4;

/// A chunk is found in the time in which the index of so many is read: that takes over when as many were looked for as it
/// would have cost. Smaller datasets are read whole at once.
const INDEXED_PER_LOOKUP: u64 = 2048;

/// Bytes that a chunk takes in any index, at least.
const INDEXED_BYTES: u64 = 8;

/// Maximum number of runs that libhdf5 is told to read at a time: it goes through all of them for each.
const MOST_RUNS: usize = 512;

/// A box is read as a whole by libhdf5 unless it has this many times as many elements as are wanted, at least.
const WORTH_PICKING: u64 = 3;

/// Maximum number of virtual datasets and links that lead from one to the next: more are taken to go round.
const MOST_DEEP: usize = 16;

/// Maximum number of other files that a request keeps open: a process may have no more than 1,024 in all on many systems.
const OPEN_FILES: NonZero<usize> = NonZero::new(64).unwrap();

/// How many global heap collections are kept: they are of a few KiB mostly.
const COLLECTIONS: NonZero<usize> = NonZero::new(256).unwrap();

/// A file that stays open, and the same, for the length of a request.
pub(crate) struct Request {
    source: Source,
    /// Other files that take part.
    open: Arc<OpenFiles>,
    /// How many virtual datasets and links led here from the file of the request that was made.
    depth: usize,
    /// Virtual datasets, with what their sources are for the length of this request.
    resolved: Mutex<HashMap<Vec<u8>, Arc<Dataset>>>,
}

/// Files that take part in a request, open, each for what is so many virtual datasets and links away.
type OpenFiles = Mutex<LruCache<(PathBuf, usize), Arc<Request>>>;

fn open_files(files: &OpenFiles) -> MutexGuard<'_, LruCache<(PathBuf, usize), Arc<Request>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a dataset is.
#[derive(Clone)]
enum Located {
    Here(Arc<Dataset>),
    /// In a file that a link leads to, by this name.
    There(Arc<Request>, Vec<u8>),
}

/// A request for as long as a reader needs it.
pub(crate) enum Held<'r> {
    Borrowed(&'r Request),
    Shared(Arc<Request>),
}

impl Deref for Held<'_> {
    type Target = Request;

    fn deref(&self) -> &Request {
        match self {
            Self::Borrowed(request) => request,
            Self::Shared(request) => request,
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.depth == 0 {
            // They hold each other.
            open_files(&self.open).clear();
        }
    }
}

impl Request {
    /// Runs `work` on the file at `path`, anew if the file changes meanwhile, or one of those that it leads to: what comes
    /// back is of one state of them all. If a snapshot is bound to this thread, it is the state that is noted there.
    ///
    /// # Errors
    /// Those of `work` and of opening the file; [`Error::Changing`] when it does not keep still; [`Error::Changed`] when it
    /// is not what the snapshot says.
    pub(crate) fn run<T>(path: &Path, mut work: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        hdf5::provide(filters::undo);
        let snapshot = current_snapshot();
        for _ in 0..ATTEMPTS {
            let request = match open_settled(path) {
                Ok(source) => Self::new(source, Arc::new(Mutex::new(LruCache::new(OPEN_FILES))), 0),
                Err(Error::Changing { .. }) => continue,
                Err(error) => {
                    if let Some(snapshot) = &snapshot {
                        snapshot.lost(path);
                    }
                    return Err(error);
                }
            };
            if let Some(snapshot) = &snapshot {
                snapshot.check(path, &request.identity())?;
            }
            let result = work(&request);
            match result {
                // Of other files it is known only now that they may still change unnoticed.
                Err(Error::Changing { .. }) => thread::sleep(request.origin().unsettled()),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                result if request.source.is_unchanged()? => {
                    // Also of an error: that something is not there is a result, too.
                    if let Some(snapshot) = &snapshot {
                        request.note(snapshot)?;
                    }
                    return result;
                }
                _ => {}
            }
        }
        if let Some(snapshot) = &snapshot {
            snapshot.lost(path);
        }
        Err(Error::Changing { place: Place::file(path) })
    }

    fn new(source: Source, open: Arc<OpenFiles>, depth: usize) -> Self {
        Self { source, open, depth, resolved: Mutex::default() }
    }

    /// Notes all files that took part, in the states in which they were found.
    fn note(&self, snapshot: &Snapshot) -> Result<()> {
        snapshot.note(self.path(), Some(self.identity()))?;
        self.origin().others().into_iter().try_for_each(|(path, found)| snapshot.note(&path, found))
    }

    /// The file with all others that take part.
    pub(crate) fn origin(&self) -> &Origin {
        self.source.origin()
    }

    fn key(&self, name: &[u8]) -> Key {
        Key { identity: self.source.identity(), name: name.to_vec() }
    }

    /// The state that the file is in.
    pub(crate) fn identity(&self) -> Identity {
        self.source.identity()
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    /// The description of a dataset.
    pub(crate) fn dataset(&self, name: &[u8]) -> Result<Arc<Dataset>> {
        match self.look_up(name)? {
            Located::Here(dataset) => Ok(dataset),
            Located::There(request, name) => request.dataset(&name),
        }
    }

    /// Finds a dataset, or where a link to it leads.
    fn look_up(&self, name: &[u8]) -> Result<Located> {
        let resolved = || self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dataset) = resolved().get(name) {
            return Ok(Located::Here(Arc::clone(dataset)));
        }
        // What depends on other files than this one, or on which plugins there are, is asked anew by each request.
        let dataset = cache::dataset(&self.key(name), || match self.describe(name, true)? {
            hdf5::Found::Here(dataset) => {
                let dataset = Arc::new(dataset);
                match dataset.layout {
                    Layout::Library { .. } | Layout::Chunked { missing: Some(_), .. } => {
                        Err(Uncached::Dataset(dataset))
                    }
                    _ if dataset.elsewhere => Err(Uncached::Dataset(dataset)),
                    _ => Ok(dataset),
                }
            }
            hdf5::Found::Linked(location) => Err(Uncached::Linked(location)),
        });
        match dataset {
            Ok(dataset) | Err(Uncached::Dataset(dataset)) => Ok(Located::Here(match &dataset.layout {
                Layout::Virtual(Virtual::Stated(definitions)) => {
                    let dataset = self.resolve(name, &dataset, definitions)?;
                    resolved().insert(name.to_vec(), Arc::clone(&dataset));
                    dataset
                }
                _ => dataset,
            })),
            Err(Uncached::Linked(location)) => {
                let changing = || Error::Changing { place: Place::file(&location.path) };
                let request = self.other(&location.path)?.ok_or_else(changing)?;
                if request.identity() != location.identity {
                    return Err(changing());
                }
                Ok(Located::There(request, location.name))
            }
            Err(Uncached::Error(error)) => Err(error),
        }
    }

    fn describe(&self, name: &[u8], resolves: bool) -> Result<hdf5::Found> {
        let decodes = |filters: &[_]| Pipeline::new(filters).is_known();
        hdf5::describe(self.origin(), name, decodes, resolves)
    }

    /// A virtual dataset with what its sources are now.
    fn resolve(&self, name: &[u8], stated: &Dataset, definitions: &[Definition]) -> Result<Arc<Dataset>> {
        let extents = |file: &[u8], name: &[u8]| match self.source_of(file, name)? {
            Some((source, name)) => source.dataset(&name).map(|dataset| Some(dataset.shape.clone())),
            None => Ok(None),
        };
        let Some(resolved) = mapping::resolve(&stated.shape, definitions, extents)? else {
            let sources = definitions.iter().filter_map(Definition::first_source);
            self.leave_to_library(name, sources)?;
            return match self.describe(name, false)? {
                hdf5::Found::Here(dataset) => Ok(Arc::new(dataset)),
                hdf5::Found::Linked(_) => Err(Error::Changing { place: Place::file(self.path()) }),
            };
        };
        let mut dataset = Dataset {
            shape: resolved.shape,
            layout: Layout::Compact(Vec::new()),
            elsewhere: true,
            ..stated.clone()
        };
        let block = sources::block(self, &dataset, &resolved.mappings)?;
        dataset.layout = Layout::Virtual(Virtual::Resolved { mappings: resolved.mappings, block });
        Ok(Arc::new(dataset))
    }

    /// Finds the source of a virtual dataset of this file: in which file it is, and by which name; `None` where there is
    /// no such file or no such dataset.
    pub(crate) fn source_of(&self, file: &[u8], name: &[u8]) -> Result<Option<(Arc<Self>, Vec<u8>)>> {
        for path in hdf5::source_paths(self.path(), file) {
            let Some(request) = self.other(&path)? else { continue };
            return match request.look_up(name) {
                Ok(Located::Here(_)) => Ok(Some((request, name.to_vec()))),
                Ok(Located::There(request, name)) => Ok(Some((request, name))),
                Err(Error::NotFound { place, message }) => {
                    // What is there, but no dataset, is no source that may still come.
                    match hdf5::object(request.origin(), name) {
                        Ok(_) => Err(Error::Unreadable { place, message }),
                        Err(Error::NotFound { .. } | Error::Unreadable { .. }) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
        }
        Ok(None)
    }

    /// Another file that takes part in this request; `None` if there is none at the path.
    ///
    /// # Errors
    /// [`Error::Unreadable`] where no other file may be opened, and where one leads on and on; [`Error::Changing`] when it
    /// is not in the state that it was found in before.
    fn other(&self, path: &Path) -> Result<Option<Arc<Self>>> {
        if hdf5::only_this() && path != self.path() {
            return Err(hdf5::elsewhere(&Place::file(self.path())));
        }
        let depth = self.depth + 1;
        if depth > MOST_DEEP {
            return Err(Error::Unreadable {
                place: Place::file(path),
                message: format!(
                    "more than {MOST_DEEP} virtual datasets or links lead from one to the next; perhaps one is a source \
                     of itself"
                ),
            });
        }
        let key = (path.to_owned(), depth);
        if let Some(request) = open_files(&self.open).get(&key) {
            return Ok(Some(Arc::clone(request)));
        }
        // Before it is opened: if it changes from now on, this request ends with an error.
        let _ = self.origin().note([path.to_owned()]);
        // What keeps libhdf5 from opening others holds for all threads.
        let held = hdf5::only_this().then(hdf5::hold);
        let source = open_settled(path);
        drop(held);
        let source = match source {
            Ok(source) => Some(source),
            Err(Error::FileNotFound(_)) => None,
            Err(error) => return Err(error),
        };
        if !self.origin().has(path, source.as_ref().map(Source::identity)) {
            return Err(Error::Changing { place: Place::file(path) });
        }
        let Some(source) = source else { return Ok(None) };
        let source = source.beside(self.origin());
        let request = Arc::new(Self::new(source, Arc::clone(&self.open), depth));
        open_files(&self.open).put(key, Arc::clone(&request));
        Ok(Some(request))
    }

    /// Checks that libhdf5 may read a virtual dataset: each of its sources is a dataset of the file that the mapping names,
    /// and not virtual itself. libhdf5 ends the process where sources go round or lead back by a link.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub(crate) fn leave_to_library(
        &self,
        name: &[u8],
        sources: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<()> {
        let place = || Place::dataset(self.path(), name);
        if hdf5::only_this() {
            return Err(hdf5::elsewhere(&place()));
        }
        let mut seen = HashSet::new();
        for (file, dataset) in sources {
            if !seen.insert((file.clone(), dataset.clone())) {
                continue;
            }
            let plain = match self.source_of(&file, &dataset)? {
                // What a link leads to is one step further away.
                Some((source, found)) => source.depth == self.depth + 1 && source.is_plain(&found)?,
                None => true,
            };
            if !plain {
                return Err(Error::Unreadable {
                    place: place(),
                    message: "its mappings are of a kind that is left to libhdf5, and its source leads on to \
                              another dataset, where libhdf5 may end the process: make the virtual dataset of the \
                              last sources"
                        .into(),
                });
            }
        }
        Ok(())
    }

    /// Whether a dataset is one of this file, and not a virtual one.
    fn is_plain(&self, name: &[u8]) -> Result<bool> {
        Ok(
            matches!(self.look_up(name)?, Located::Here(dataset) if !matches!(dataset.layout, Layout::Virtual(_))),
        )
    }

    /// How a dataset is stored, asked anew each time.
    pub(crate) fn facts(&self, name: &[u8]) -> Result<Facts> {
        hdf5::facts(self.origin(), name)
    }

    /// The pointers of a compressed matrix, which this dataset holds; found by `find` unless they are known already.
    pub(crate) fn pointers(
        &self,
        name: &[u8],
        find: impl FnOnce() -> Result<Arc<[u64]>>,
    ) -> Result<Arc<[u64]>> {
        match self.look_up(name)? {
            // Kept under the identity of this file, which does not tell when others change.
            Located::Here(dataset) if dataset.elsewhere => find(),
            Located::Here(_) => cache::pointers(&self.key(name), find),
            Located::There(request, name) => request.pointers(&name, find),
        }
    }

    /// A reader of a dataset's chunks.
    pub(crate) fn reader(&self, name: &[u8]) -> Result<ChunkReader<'_>> {
        self.reader_of(name, None)
    }

    /// The few chunks that a selection wants of very many, whose index is not known and would take longer to read; `None`
    /// where it is better read, or anything is the matter.
    fn few(&self, name: &[u8], grid: &Grid, dataset: &Dataset, selection: &[Axis]) -> Option<Vec<Sought>> {
        let key = self.key(name);
        let is_large = grid.len() >= INDEXED_PER_LOOKUP * 2 * FEW_LOOKUPS as u64;
        // A file that only claims to have so many has an index, if any, that is not to be looked into by libhdf5.
        let has_room = grid.len().saturating_mul(INDEXED_BYTES) <= self.identity().length();
        if !is_large || !has_room || cache::has_index(&key) {
            return None;
        }
        let plan = Plan::new(grid.clone(), selection).ok().filter(|plan| plan.jobs() <= FEW_LOOKUPS)?;
        let cached = Chunks::of(cache::number(&key));
        let mut sought: SmallVec<[Sought; FEW_LOOKUPS]> = SmallVec::new();
        let mut lookups = 0;
        for number in 0..plan.jobs() {
            let job = plan.job(number);
            let known = cached.and_then(|cached| cached.get(job.linear)).filter(|chunk| !chunk.narrow);
            lookups += u64::from(known.is_none());
            sought.push(Sought { linear: job.linear, stored: known.ok_or((0, Vec::new())) });
        }
        if !cache::may_look_up(&key, lookups, grid.len() / INDEXED_PER_LOOKUP) {
            return None;
        }
        let wanted = (0..plan.jobs()).filter(|&number| sought[number].stored.is_err());
        let offsets: SmallVec<[_; FEW_LOOKUPS]> = wanted.map(|number| plan.job(number).offset).collect();
        let most =
            dataset.chunk_bytes(grid, dataset.stored_size()).ok()?.saturating_mul(2).saturating_add(4096);
        let mut found = hdf5::raw_chunks(self.origin(), name, &offsets, most).ok()??.into_iter();
        for sought in sought.iter_mut().filter(|sought| sought.stored.is_err()) {
            sought.stored = Err(found.next()?);
        }
        Some(sought.into_vec())
    }

    /// The same for a reader that reads this selection and nothing else, if there is one.
    pub(crate) fn reader_of(&self, name: &[u8], selection: Option<&[Axis]>) -> Result<ChunkReader<'_>> {
        match self.look_up(name)? {
            Located::Here(dataset) => ChunkReader::new(Held::Borrowed(self), name, dataset, selection),
            Located::There(request, name) => request.into_reader(&name, selection),
        }
    }

    /// The same of a request that the reader keeps.
    pub(crate) fn into_reader(
        self: Arc<Self>,
        name: &[u8],
        selection: Option<&[Axis]>,
    ) -> Result<ChunkReader<'static>> {
        match self.look_up(name)? {
            Located::Here(dataset) => ChunkReader::new(Held::Shared(self), name, dataset, selection),
            Located::There(request, name) => request.into_reader(&name, selection),
        }
    }

    fn by_library(&self, name: &[u8], dataset: &Dataset) -> Result<hdf5::Reader> {
        hdf5::Reader::open(self.origin(), name, dataset.element, dataset.packed)
    }
}

impl<'r> ChunkReader<'r> {
    fn new(
        request: Held<'r>,
        name: &[u8],
        dataset: Arc<Dataset>,
        selection: Option<&[Axis]>,
    ) -> Result<Self> {
        let place = Place::dataset(request.path(), name);
        let grid = dataset.grid()?;
        let key = request.key(name);
        let mut cached = None;
        let backend = match &dataset.layout {
            Layout::Compact(_) => Backend::Compact,
            Layout::Contiguous(address) => Backend::Contiguous(*address),
            Layout::External(_) => Backend::External,
            Layout::Chunked { filters, partial_unfiltered, .. } => {
                cached = Chunks::of(cache::number(&key));
                let few = selection.and_then(|selection| request.few(name, &grid, &dataset, selection));
                Backend::Chunked(Chunked {
                    index: match few {
                        Some(few) => Index::Few(few),
                        None => Index::Whole(cache::index(&key, || {
                            hdf5::chunk_index(request.origin(), name, &grid).map(Arc::new)
                        })?),
                    },
                    pipeline: Pipeline::new(filters),
                    partial_unfiltered: *partial_unfiltered,
                })
            }
            Layout::Virtual(_) => Sources::new(&dataset)
                .map(Backend::Virtual)
                .ok_or_else(|| Error::Internal(format!("{place}: sources that were not looked for")))?,
            Layout::Library { filters, chunk, .. } => {
                if chunk.is_some() && !dataset.elsewhere {
                    cached = Chunks::of(cache::number(&key));
                }
                let filtered = if filters.is_empty() {
                    None
                } else {
                    let index = hdf5::chunk_index(request.origin(), name, &grid)?;
                    Some((index, Pipeline::new(filters)))
                };
                Backend::Library { reader: Arc::new(request.by_library(name, &dataset)?), filtered }
            }
        };
        let chunk_bytes = |size| match (dataset.chunk_bytes(&grid, size), &backend) {
            (Ok(bytes), _) => Ok(bytes),
            // Of what libhdf5 reads, and of sources, no more than the wanted box of a chunk is ever asked for.
            (Err(_), Backend::Library { .. } | Backend::Virtual(_)) => Ok(usize::MAX),
            (Err(error), _) => Err(error),
        };
        let stored_bytes = chunk_bytes(dataset.stored_size())?;
        let chunk_bytes = chunk_bytes(dataset.element.size())?;
        Ok(Self {
            request,
            name: name.to_vec(),
            dataset,
            grid,
            chunk_bytes,
            stored_bytes,
            place,
            backend,
            cached,
            shared: Mutex::new(None),
            is_shared: AtomicBool::new(false),
            heaps: OnceLock::new(),
            opened: Mutex::new(None),
        })
    }
}

/// Opens a file in a state that differs from all later ones by its identity.
fn open_settled(path: &Path) -> Result<Source> {
    let source = Source::open(path)?;
    let unsettled = source.identity().unsettled(SystemTime::now());
    if unsettled.is_zero() {
        return Ok(source);
    }
    thread::sleep(unsettled);
    let source = Source::open(path)?;
    // Still being written to. The next attempt waits again.
    let settled = source.identity().unsettled(SystemTime::now()).is_zero();
    if settled { Ok(source) } else { Err(Error::Changing { place: Place::file(path) }) }
}

/// Why a description is not kept.
enum Uncached {
    Dataset(Arc<Dataset>),
    Linked(hdf5::Location),
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
    /// In pieces of other files, which the layout names.
    External,
    Chunked(Chunked),
    Virtual(Sources),
    /// With the index and the pipeline of chunks that are filtered, to be checked before libhdf5 decodes them.
    Library {
        reader: Arc<hdf5::Reader>,
        filtered: Option<(ChunkIndex, Pipeline)>,
    },
}

/// What is known of where chunks are.
enum Index {
    /// All of it.
    Whole(Arc<ChunkIndex>),
    /// The chunks that are wanted, and nothing of others.
    Few(Vec<Sought>),
}

/// A chunk as the cache has it, or as the file has it.
type Stored = std::result::Result<Arc<Kept>, hdf5::RawChunk>;

/// A chunk that was looked for, and is there.
struct Sought {
    linear: u64,
    stored: Stored,
}

impl Index {
    /// Where the file has a chunk; `None` if it was never written. Of a chunk that was looked for, only the size and the mask.
    ///
    /// # Errors
    /// [`Error::Internal`] for one that was not.
    fn get(&self, linear: u64) -> Result<Option<Chunk>> {
        if let Self::Whole(index) = self {
            return Ok(index.get(linear));
        }
        let chunk = |size, filter_mask| Some(Chunk { address: 0, size, filter_mask });
        match self.sought(linear) {
            Some(Ok(_)) => Ok(chunk(0, 0)),
            Some(Err((mask, bytes))) => Ok(chunk(bytes.len() as u64, *mask)),
            None => Err(Error::Internal("a chunk that was not looked for".into())),
        }
    }

    fn sought(&self, linear: u64) -> Option<&Stored> {
        match self {
            Self::Whole(_) => None,
            Self::Few(few) => few.iter().find(|sought| sought.linear == linear).map(|sought| &sought.stored),
        }
    }
}

/// Chunks that the direct path decodes.
struct Chunked {
    index: Index,
    pipeline: Pipeline,
    /// Chunks that reach over the end of an axis went through no filter.
    partial_unfiltered: bool,
}

impl Chunked {
    /// Where the file has the chunk of a job, and which filters it skipped; `None` if it was never written.
    fn find(&self, job: &Job<'_>, grid: &Grid) -> Result<Option<Chunk>> {
        let Some(chunk) = self.index.get(job.linear)? else { return Ok(None) };
        let unfiltered = self.partial_unfiltered && grid.is_partial(&job.offset);
        Ok(Some(if unfiltered { Chunk { filter_mask: u32::MAX, ..chunk } } else { chunk }))
    }

    /// Where the file has the chunks that the thread which does this job is likely to do next.
    fn following(&self, job: &Job<'_>) -> impl Iterator<Item = Chunk> {
        // A small part of the jobs that it begins with: those after them are another thread's.
        let likely = (job.of() / (PARTS_AHEAD * pool::num_threads().unwrap_or(1))).min(MOST_AHEAD);
        let index = if let Index::Whole(index) = &self.index { Some(index) } else { None };
        job.following().take(likely).filter_map(move |linear| index?.get(linear))
    }
}

/// A chunk as it was asked for.
pub(crate) enum Decoded<'s> {
    /// In the thread's scratch, or in the dataset's description.
    Here(Values<'s>),
    /// Kept by this request or an earlier one.
    Kept(Arc<Kept>),
    /// It was never written: all its values are the dataset's fill value.
    Missing,
}

/// Values in C order; only those that the job wants need to be there.
#[derive(Clone, Copy)]
pub(crate) enum Values<'s> {
    /// As the dataset's element type says.
    AsStored(&'s [u8]),
    /// 64-bit integers of which none needs more than 32 bits, as native 32-bit unsigned ones.
    Narrow(&'s [u8]),
    /// Of the values only the box of [`Job::bounds`].
    Boxed(&'s [u8]),
    /// Still to be put together.
    InPlanes(Planes<'s>),
}

/// In which form values are of use, beside that of the dataset's element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    AsStored,
    /// Integers along one axis, from the chunk's beginning on, which may be narrowed.
    Integers,
    /// Elements of so many bytes, still in planes.
    InPlanes(usize),
}

/// What came of a chunk on the direct path; values stand in the scratch.
enum Found {
    Values,
    Narrow,
    InPlanes(usize),
    Kept(Arc<Kept>),
    Missing,
    /// Something else than the direct path may decode it.
    Declined(Declined),
}

impl Decoded<'_> {
    /// The values, unless the chunk was never written.
    pub(crate) fn values(&self) -> Option<Values<'_>> {
        match self {
            Self::Here(values) => Some(*values),
            Self::Kept(chunk) if chunk.narrow => Some(Values::Narrow(&chunk.bytes)),
            Self::Kept(chunk) => Some(Values::AsStored(&chunk.bytes)),
            Self::Missing => None,
        }
    }
}

/// What a thread needs to read and decode the chunks of one file one after another.
#[derive(Default)]
pub(crate) struct Worker {
    scratch: Lent,
    ahead: Ahead,
    /// The global heap collection that the last string was found in, by its address: the next is mostly there too.
    heap: Option<(u64, Arc<Collection>)>,
    /// For the sources of a virtual dataset.
    inner: Option<Box<Inner>>,
}

impl Worker {
    /// Drops what was read of one file, for another.
    pub(crate) fn forget(&mut self) {
        self.ahead = Ahead::default();
        self.heap = None;
    }
}

/// Decodes the chunks of one dataset; used by many threads at once.
pub(crate) struct ChunkReader<'r> {
    request: Held<'r>,
    name: Vec<u8>,
    dataset: Arc<Dataset>,
    grid: Grid,
    /// Of its values.
    chunk_bytes: usize,
    /// Of its values as the file has them, without the filters.
    stored_bytes: usize,
    place: Place,
    backend: Backend,
    /// Chunks that earlier requests decoded, and those that this one keeps for later ones.
    cached: Option<Chunks>,
    /// The chunk in which the last of several reads ended and the next one begins, with its number.
    shared: Mutex<Option<(u64, Arc<Kept>)>>,
    /// Whether there is one: most reads are the only one of their request, and need not take the lock to know.
    is_shared: AtomicBool,
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

    /// The request that it is a part of.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The chunks of a plan.
    pub(crate) fn sweep<'p>(&'p self, plan: &'p Plan) -> Sweep<'p> {
        let keeps_parts = Chunks::keeps(plan.jobs(), self.chunk_bytes);
        Sweep { reader: self, plan, keeps_parts, shares_last: false }
    }

    /// The same for one of several reads of which each goes on where the one before ended: the chunk that
    /// both share is decoded once. `elements` is how many all of them go through.
    pub(crate) fn next_sweep<'p>(&'p self, plan: &'p Plan, elements: usize) -> Sweep<'p> {
        let chunks = elements.saturating_mul(self.dataset.element.size()) / self.chunk_bytes.max(1);
        // What is asked of the cache is the whole request's.
        let keeps_parts = Chunks::keeps(chunks.max(plan.jobs()), self.chunk_bytes);
        Sweep { reader: self, plan, keeps_parts, shares_last: true }
    }

    /// The same for a part of the chunks that a request goes through, which are so many.
    pub(crate) fn part_of_sweep<'p>(&'p self, plan: &'p Plan, jobs: usize) -> Sweep<'p> {
        let keeps_parts = Chunks::keeps(jobs, self.chunk_bytes);
        Sweep { reader: self, plan, keeps_parts, shares_last: false }
    }

    /// Decodes the one chunk of a plan, a part of one with so many jobs.
    pub(crate) fn part_of_plan<'s>(
        &'s self,
        plan: &Plan,
        jobs: usize,
        worker: &'s mut Worker,
        form: Form,
    ) -> Result<Decoded<'s>> {
        let job = plan.job(0);
        let keep = self.part_of_sweep(plan, jobs).keep(&job, 0);
        self.decode(&job, worker, form, keep)
    }

    /// The same, that takes nothing from the cache and leaves nothing in it.
    pub(crate) fn uncached(self) -> Self {
        let backend = match self.backend {
            Backend::Virtual(sources) => Backend::Virtual(sources.uncached()),
            backend => backend,
        };
        Self { cached: None, backend, ..self }
    }

    /// Whether its values are those of other datasets.
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self.backend, Backend::Virtual(_))
    }

    /// Whether it is known that none of a plan's chunks was ever written, without looking for each.
    pub(crate) fn is_unwritten(&self, plan: &Plan) -> bool {
        let Some(last) = plan.jobs().checked_sub(1) else { return true };
        match &self.backend {
            Backend::Chunked(Chunked { index: Index::Whole(index), .. }) => {
                !index.has_any(plan.job(0).linear..=plan.job(last).linear)
            }
            Backend::Contiguous(None) => true,
            Backend::Compact
            | Backend::Contiguous(_)
            | Backend::External
            | Backend::Chunked(_)
            | Backend::Virtual(_)
            | Backend::Library { .. } => false,
        }
    }

    /// The numbers in the grid of the chunks that were ever written; `None` where the file has no index of them, and all
    /// blocks have to be read to know.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn written(&self) -> Result<Option<Vec<usize>>> {
        let index = match &self.backend {
            Backend::Chunked(Chunked { index: Index::Whole(index), .. }) => index.as_ref(),
            Backend::Library { filtered: Some((index, _)), .. } => index,
            Backend::Contiguous(None) => return Ok(Some(Vec::new())),
            // That one source is damaged says nothing of the others.
            Backend::Virtual(_) => {
                let blocks = crate::selection::to_len(self.grid.len())?;
                let mut numbers = memory::with_capacity(blocks)?;
                numbers.extend(0..blocks);
                return Ok(Some(numbers));
            }
            Backend::Compact
            | Backend::Contiguous(_)
            | Backend::External
            | Backend::Chunked(_)
            | Backend::Library { .. } => return Ok(None),
        };
        Ok(Some(memory::collect(index.numbers().filter_map(|number| usize::try_from(number).ok()))?))
    }

    /// Reads and decodes the chunk of a job for nothing but its faults; of strings, also what it refers to.
    pub(crate) fn attempt(&self, job: &Job<'_>, worker: &mut Worker) -> Result<()> {
        if self.dataset.element == ElementType::STRING {
            self.strings(job, &PerAxis::from_elem(0, job.pieces.len()), worker).map(drop)
        } else {
            self.decode(job, worker, Form::AsStored, Keep::Nowhere).map(drop)
        }
    }

    /// Decodes the chunks of a plan and writes what is wanted of them.
    pub(crate) fn read(&self, plan: &Plan, output: &Output<'_>, control: &Control<'_>) -> Result<()> {
        self.sweep(plan).read(output, control)
    }

    fn shared(&self) -> MutexGuard<'_, Option<(u64, Arc<Kept>)>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk that was decoded before. Whoever cannot take narrowed integers gets none.
    fn known(&self, linear: u64, form: Form) -> Option<Arc<Kept>> {
        if let Backend::Chunked(chunked) = &self.backend
            && let Some(Ok(kept)) = chunked.index.sought(linear)
        {
            return Some(Arc::clone(kept));
        }
        let shared = if self.is_shared.load(Ordering::Acquire) {
            self.shared().as_ref().filter(|shared| shared.0 == linear).map(|shared| Arc::clone(&shared.1))
        } else {
            None
        };
        shared.or_else(|| self.cached?.get(linear)).filter(|chunk| form == Form::Integers || !chunk.narrow)
    }

    /// Decodes the chunk of a job, at least as far as the job wants it.
    fn decode<'s>(
        &'s self,
        job: &Job<'_>,
        worker: &'s mut Worker,
        form: Form,
        keep: Keep,
    ) -> Result<Decoded<'s>> {
        match &self.backend {
            Backend::Compact => match &self.dataset.layout {
                Layout::Compact(values) => Ok(Decoded::Here(Values::AsStored(values))),
                _ => Ok(Decoded::Missing),
            },
            Backend::Contiguous(None) => Ok(Decoded::Missing),
            Backend::Contiguous(Some(_)) | Backend::External => self.block(job, worker.scratch.get()),
            Backend::Chunked(chunked) => match self.chunk(chunked, job, worker, form, keep)? {
                Found::Values => Ok(Decoded::Here(Values::AsStored(worker.scratch.get().filled()))),
                Found::Narrow => Ok(Decoded::Here(Values::Narrow(worker.scratch.get().filled()))),
                Found::InPlanes(element) => Planes::new(worker.scratch.get().filled(), element)
                    .map(|planes| Decoded::Here(Values::InPlanes(planes)))
                    .ok_or_else(|| Error::Internal("a part of an element".into())),
                Found::Kept(chunk) => Ok(Decoded::Kept(chunk)),
                Found::Missing => Ok(Decoded::Missing),
                Found::Declined(declined) => {
                    let reader = self.instead(declined, job)?;
                    self.by_library(&reader, job, worker.scratch.get(), form, keep)
                }
            },
            Backend::Virtual(sources) => {
                if let Some(same) = sources.same_chunk(self, job)? {
                    return same.decode(job.of(), &mut worker.inner, form);
                }
                let wanted = self.boxed(job, form)?;
                let Worker { scratch, inner, .. } = worker;
                let buffer = scratch.get().input(wanted.bytes).map_err(|fault| self.fault(fault, job))?;
                if sources.read(self, job, &mut buffer[wanted.before..], inner)? {
                    return Ok(Decoded::Here(wanted.values(scratch.get().filled())));
                }
                self.by_library(&*self.instead_of(sources)?, job, scratch.get(), form, Keep::Nowhere)
            }
            Backend::Library { reader, filtered } => {
                if let Some(known) = self.known(job.linear, form) {
                    return Ok(Decoded::Kept(known));
                }
                if let (Some((index, pipeline)), Some(len)) = (filtered, reader.chunk_bytes())
                    && let Some(chunk) = index.get(job.linear)
                {
                    // Before libhdf5 asks for memory because the file says so.
                    let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
                    pipeline
                        .check_sizes(chunk.filter_mask, bytes(chunk.size), bytes(len))
                        .and_then(|()| Ok(memory::check(bytes(len))?))
                        .map_err(|fault| self.fault(fault, job))?;
                }
                self.by_library(reader, job, worker.scratch.get(), form, keep)
            }
        }
    }

    /// Decodes a chunk on the direct path.
    fn chunk(
        &self,
        chunked: &Chunked,
        job: &Job<'_>,
        worker: &mut Worker,
        form: Form,
        keep: Keep,
    ) -> Result<Found> {
        let Some(chunk) = chunked.find(job, &self.grid)? else { return Ok(Found::Missing) };
        if let Some(known) = self.known(job.linear, form) {
            return Ok(Found::Kept(known));
        }
        let (pipeline, mask) = (&chunked.pipeline, chunk.filter_mask);
        let complain = |fault| self.fault(fault, job);
        self.fetch(&chunk, chunked, job, worker)?;
        let scratch = worker.scratch.get();
        let Dataset { element, packed, .. } = *self.dataset;
        let may_narrow = packed.is_none()
            && element.size() == 8
            && element.is_little_endian()
            && cfg!(target_endian = "little");
        let len = self.stored_bytes;
        let decoded = match form {
            // What is kept is put together once.
            Form::InPlanes(element) if keep == Keep::Nowhere && packed.is_none() => {
                let in_planes = pipeline.decode_to_planes(mask, len, element, scratch);
                in_planes.map(|in_planes| if in_planes { Found::InPlanes(element) } else { Found::Values })
            }
            Form::Integers if may_narrow => {
                let narrow = pipeline.decode_narrow(mask, len, scratch);
                narrow.map(|narrow| if narrow { Found::Narrow } else { Found::Values })
            }
            _ => pipeline.decode(mask, len, scratch).map(|()| Found::Values),
        };
        let found = match decoded {
            Ok(found) => found,
            Err(Complaint::Declined(declined)) => return Ok(Found::Declined(declined)),
            Err(Complaint::Fault(fault)) => return Err(complain(fault)),
        };
        if let Some(packed) = packed {
            scratch.unpack(packed, element).map_err(complain)?;
        }
        if keep == Keep::Nowhere {
            return Ok(found);
        }
        let chunk = Kept { bytes: scratch.take().map_err(complain)?, narrow: matches!(found, Found::Narrow) };
        Ok(Found::Kept(self.kept(chunk, job, keep)))
    }

    /// Keeps a chunk for later.
    fn kept(&self, chunk: Kept, job: &Job<'_>, keep: Keep) -> Arc<Kept> {
        let chunk = Arc::new(chunk);
        if let (Keep::InCache, Some(cached)) = (keep, self.cached) {
            cached.put(job.linear, Arc::clone(&chunk));
        } else {
            *self.shared() = Some((job.linear, Arc::clone(&chunk)));
            self.is_shared.store(true, Ordering::Release);
        }
        chunk
    }

    /// Reads a chunk's bytes as the file has them into the scratch.
    fn fetch(&self, chunk: &Chunk, chunked: &Chunked, job: &Job<'_>, worker: &mut Worker) -> Result<()> {
        let place = || self.place.chunk(&job.offset);
        let complain = |fault| self.fault(fault, job);
        // Before any memory is asked for: what the file claims has to be possible.
        let stored = usize::try_from(chunk.size)
            .map_err(|_| complain(Fault::Damaged(format!("{} bytes are stored for it", chunk.size))))?;
        chunked.pipeline.check_sizes(chunk.filter_mask, stored, self.stored_bytes).map_err(complain)?;
        self.request.source.check(chunk.address, chunk.size, place)?;
        let Worker { scratch, ahead, .. } = worker;
        let buffer = scratch.get().input(stored).map_err(complain)?;
        self.read_stored(chunk, chunked, job, buffer, ahead)
    }

    /// Reads a chunk's bytes as the file has them.
    fn read_stored(
        &self,
        chunk: &Chunk,
        chunked: &Chunked,
        job: &Job<'_>,
        buffer: &mut [u8],
        ahead: &mut Ahead,
    ) -> Result<()> {
        if let Some(Err((_, bytes))) = chunked.index.sought(job.linear) {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        let following = chunked.following(job).map(|next| (next.address, next.size));
        self.request
            .source
            .read_ahead(chunk.address, buffer, ahead, following, || self.place.chunk(&job.offset))
    }

    /// What reads a chunk that the direct path cannot, if there is a plugin for the filter that it complains of.
    fn instead(&self, declined: Declined, job: &Job<'_>) -> Result<Arc<hdf5::Reader>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = opened.as_ref() {
            return Ok(Arc::clone(reader));
        }
        // libhdf5 hands strings out, not the references to them that the direct path goes on from.
        if self.dataset.element == ElementType::STRING || !hdf5::has_plugin(declined.filter)? {
            return Err(self.undecoded(declined, job));
        }
        let reader = Arc::new(self.request.by_library(&self.name, &self.dataset)?);
        *opened = Some(Arc::clone(&reader));
        Ok(reader)
    }

    /// What reads a virtual dataset that is beyond the engine.
    fn instead_of(&self, sources: &Sources) -> Result<Arc<hdf5::Reader>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = opened.as_ref() {
            return Ok(Arc::clone(reader));
        }
        self.request.leave_to_library(&self.name, sources.names())?;
        let reader = Arc::new(self.request.by_library(&self.name, &self.dataset)?);
        *opened = Some(Arc::clone(&reader));
        Ok(reader)
    }

    /// How much room the wanted box of a chunk takes.
    fn boxed(&self, job: &Job<'_>, form: Form) -> Result<Boxed> {
        let (start, count) = job.bounds();
        let integers = form == Form::Integers;
        let before = match (integers, start.first(), job.offset.first()) {
            (true, Some(&start), Some(&offset)) if count.len() == 1 => start - offset,
            (true, ..) => return Err(Error::Internal(format!("{}: not one axis of integers", self.place))),
            (false, ..) => 0,
        };
        let element = self.dataset.element.size() as u64;
        let bytes = count.iter().try_fold(element, |bytes, &len| bytes.checked_mul(len));
        let (before, bytes) = before
            .checked_mul(element)
            .zip(bytes)
            .and_then(|(before, bytes)| Some((before, before.checked_add(bytes)?)))
            .and_then(|(before, bytes)| Some((usize::try_from(before).ok()?, usize::try_from(bytes).ok()?)))
            .ok_or_else(|| self.fault(Fault::OutOfMemory(usize::MAX), job))?;
        Ok(Boxed { start, count, before, bytes, integers })
    }

    /// Reads what is wanted of a chunk by libhdf5; all of it, if it is kept.
    fn by_library<'s>(
        &self,
        reader: &hdf5::Reader,
        job: &Job<'_>,
        scratch: &'s mut Scratch,
        form: Form,
        keep: Keep,
    ) -> Result<Decoded<'s>> {
        if keep != Keep::Nowhere && reader.chunk_bytes().is_some() {
            let lens = self.grid.chunk();
            let inside = job.offset.iter().zip(self.grid.shape().iter().zip(lens));
            let count = inside.map(|(&at, (&extent, &len))| len.min(extent - at)).collect();
            let region = Region::all(job.offset.to_vec(), count).within(lens.to_vec());
            self.read_region(reader, job, &region, 0, self.chunk_bytes, scratch)?;
            let bytes = scratch.take().map_err(|fault| self.fault(fault, job))?;
            return Ok(Decoded::Kept(self.kept(Kept { bytes, narrow: false }, job, keep)));
        }
        let wanted = self.boxed(job, form)?;
        let mut region = Region::all(wanted.start.clone(), wanted.count.clone());
        // What goes through filters is decoded as a whole anyway.
        let is_filtered =
            matches!(&self.backend, Backend::Library { filtered: Some(_), .. } | Backend::Chunked(_));
        if !is_filtered
            && !wanted.integers
            && let Some(picks) = picks(job, &self.dataset.shape, self.dataset.stored_size())
        {
            region = region.picking(picks);
        }
        self.read_region(reader, job, &region, wanted.before, wanted.bytes, scratch)?;
        Ok(Decoded::Here(wanted.values(scratch.filled())))
    }

    /// Has libhdf5 fill the scratch with a region, behind `before` bytes of anything, `bytes` in all.
    fn read_region(
        &self,
        reader: &hdf5::Reader,
        job: &Job<'_>,
        region: &Region,
        before: usize,
        bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let complain = |fault| self.fault(fault, job);
        let Dataset { element, packed, .. } = *self.dataset;
        let Some(packed) = packed else {
            let buffer = scratch.input(bytes).map_err(complain)?;
            return reader.read(&job.offset, region, &mut buffer[before..]);
        };
        let (before, count) = (before / element.size(), bytes / element.size());
        let (stored, values) = scratch.packed_input(count, packed, element).map_err(complain)?;
        let stored = &mut stored[before * packed.size()..];
        reader.read(&job.offset, region, stored)?;
        packed.unpack(stored, element, &mut values[before * element.size()..]);
        Ok(())
    }

    fn fault(&self, fault: Fault, job: &Job<'_>) -> Error {
        let place = self.place.chunk(&job.offset);
        match fault {
            Fault::Damaged(message) => Error::Damaged { place, message },
            Fault::OutOfMemory(bytes) => {
                Error::OutOfMemory(format!("{place}: no memory for the {bytes} bytes that it comes to"))
            }
        }
    }

    /// The error for a chunk that neither the direct path decodes nor a plugin.
    fn undecoded(&self, Declined { filter, what }: Declined, job: &Job<'_>) -> Error {
        let step = match &self.dataset.layout {
            Layout::Chunked { filters, .. } | Layout::Library { filters, .. } => {
                filters.iter().find(|step| step.id == filter)
            }
            Layout::Compact(_) | Layout::Contiguous(_) | Layout::External(_) | Layout::Virtual(_) => None,
        };
        let step = step.map_or_else(|| filter.to_string(), hdf5::describe_missing);
        let what = if what.is_empty() { what } else { format!("{what} of ") };
        let message = format!("nothing at hand decodes {what}its filter {step}");
        Error::Filter { place: self.place.chunk(&job.offset), message }
    }

    /// The strings of variable length that a job wants, with their places in an output of shape `lens`; some that are empty
    /// are left out.
    pub(crate) fn strings(
        &self,
        job: &Job<'_>,
        lens: &[usize],
        worker: &mut Worker,
    ) -> Result<strings::Found> {
        let (start, count) = job.bounds();
        let mut found = strings::Found::default();
        let mut result = Ok(());
        let boxed = match &self.backend {
            Backend::Library { reader, .. } => Some(reader.read_strings(&start, &count)?),
            Backend::Virtual(sources) => Some(match sources.strings(self, job, &mut worker.inner)? {
                Some(strings) => strings,
                None => self.instead_of(sources)?.read_strings(&start, &count)?,
            }),
            Backend::Compact | Backend::Contiguous(_) | Backend::External | Backend::Chunked(_) => None,
        };
        if let Some(strings) = boxed {
            job.for_each(lens, |place, target| {
                if result.is_ok() {
                    result = found.push(target, &strings[place]);
                }
            });
            return result.map(|()| found);
        }
        let mut heap = worker.heap.take();
        let decoded = self.decode(job, worker, Form::AsStored, Keep::Nowhere)?;
        let Some(Values::AsStored(values)) = decoded.values() else { return Ok(found) };
        let (references, _) = values.as_chunks::<{ heap::REFERENCE_BYTES }>();
        job.for_each(lens, |place, target| {
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
            if let Some(reference) = references.get(position as usize).and_then(Reference::parse) {
                let string = self.string(reference, job, &mut heap);
                // Any number of references may lead to the same long string.
                result = string
                    .and_then(|string| found.push(target, string).map_err(|error| error.at(&self.place)));
            }
        });
        worker.heap = heap;
        result.map(|()| found)
    }

    /// The string that a reference leads to, in the collection that was used last or in another one, which then is the last.
    fn string<'c>(
        &self,
        reference: Reference,
        job: &Job<'_>,
        last: &'c mut Option<(u64, Arc<Collection>)>,
    ) -> Result<&'c [u8]> {
        let damaged = |message| Error::Damaged { place: self.place.chunk(&job.offset), message };
        if last.as_ref().is_none_or(|&(address, _)| address != reference.collection) {
            *last = Some((reference.collection, self.collection(reference.collection, job)?));
        }
        match last {
            Some((_, collection)) => collection.string(reference).map_err(damaged),
            None => Ok(&[]),
        }
    }

    /// The global heap collection at an address, counted from the file's base.
    fn collection(&self, at: u64, job: &Job<'_>) -> Result<Arc<Collection>> {
        let place = || self.place.chunk(&job.offset);
        let damaged = |message| Error::Damaged { place: place(), message };
        if let Some(known) = self.heaps().get(&at) {
            return Ok(Arc::clone(known));
        }
        let address = self.dataset.base.saturating_add(at);
        // Most are as long as this; where the file ends before, it is the header that is missing or not.
        let left = self.request.source.identity().length().saturating_sub(address);
        let mut first = [0; heap::USUAL_BYTES];
        let first = &mut first[..heap::USUAL_BYTES.min(left.max(heap::HEADER_BYTES as u64) as usize)];
        self.request.source.read_at(address, first, place)?;
        let header = first.first_chunk().ok_or_else(|| Error::Internal("a header is cut off".into()))?;
        let size = heap::collection_size(header).map_err(damaged)?;
        self.request.source.check(address, size as u64, place)?;
        let mut bytes = memory::zeros(size).map_err(|error| self.fault(error.into(), job))?;
        let (here, rest) = bytes.split_at_mut(size.min(first.len()));
        here.copy_from_slice(&first[..here.len()]);
        if !rest.is_empty() {
            self.request.source.read_at(address.saturating_add(here.len() as u64), rest, place)?;
        }
        let collection = Arc::new(Collection::parse(bytes).map_err(damaged)?);
        self.heaps().put(at, Arc::clone(&collection));
        Ok(collection)
    }

    fn heaps(&self) -> MutexGuard<'_, LruCache<u64, Arc<Collection>>> {
        let heaps = self.heaps.get_or_init(|| Mutex::new(LruCache::new(COLLECTIONS)));
        heaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a block begins among the bytes of a dataset that has all of them one after the other.
    fn block_begin(&self, job: &Job<'_>) -> u64 {
        // Trailing axes of a block are whole, so that it is consecutive.
        let indices = job.offset.iter().zip(&self.dataset.shape);
        let first = indices.fold(0u64, |at, (&index, &extent)| at * extent + index);
        first * self.dataset.stored_size() as u64
    }

    /// Reads bytes of a dataset that has all of them one after the other.
    fn read_bytes(&self, begin: u64, room: &mut [u8], job: &Job<'_>) -> Result<()> {
        let place = || self.place.chunk(&job.offset);
        match (&self.backend, &self.dataset.layout) {
            (Backend::Contiguous(Some(address)), _) => {
                self.request.source.read_at(address.saturating_add(begin), room, place)
            }
            (_, Layout::External(segments)) => self.read_segments(segments, begin, room, job),
            _ => Err(Error::Internal(format!("{}: bytes of what has none", self.place))),
        }
    }

    /// Reads bytes of external storage. Past the end of a file they are zeros, as libhdf5 has it.
    fn read_segments(
        &self,
        segments: &[Segment],
        mut begin: u64,
        mut room: &mut [u8],
        job: &Job<'_>,
    ) -> Result<()> {
        let place = || self.place.chunk(&job.offset);
        for segment in segments {
            if room.is_empty() {
                return Ok(());
            }
            let Some(left) = segment.size.checked_sub(begin).filter(|&left| left > 0) else {
                begin -= segment.size;
                continue;
            };
            let len = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
            let (part, rest) = room.split_at_mut(len);
            let request = self.request.other(&segment.path)?.ok_or_else(|| Error::Unreadable {
                place: place(),
                message: format!("the file of its external storage is not there: {}", segment.path.display()),
            })?;
            let address = segment.offset.saturating_add(begin);
            let there = request.identity().length().saturating_sub(address);
            let there = usize::try_from(there).map_or(len, |there| there.min(len));
            if there > 0 {
                request.source.read_at(address, &mut part[..there], || Place::file(&segment.path))?;
            }
            part[there..].fill(0);
            (begin, room) = (0, rest);
        }
        if room.is_empty() {
            Ok(())
        } else {
            Err(Error::Internal(format!("{}: past its storage", self.place)))
        }
    }

    /// Reads the wanted parts of a block of a dataset that has all its bytes one after the other.
    fn block<'s>(&'s self, job: &Job<'_>, scratch: &'s mut Scratch) -> Result<Decoded<'s>> {
        let complain = |fault| self.fault(fault, job);
        let Dataset { element, packed, .. } = *self.dataset;
        let begin = self.block_begin(job);
        let read =
            |from: usize, room: &mut [u8]| self.read_bytes(begin.saturating_add(from as u64), room, job);
        if let Backend::Contiguous(Some(address)) = &self.backend {
            // The first block is as long as any: if it cannot be in the file, no memory is asked for.
            let place = || self.place.chunk(&job.offset);
            self.request.source.check(*address, self.stored_bytes as u64, place)?;
        }
        if let Some(packed) = packed {
            let (size, count) = (packed.size(), self.stored_bytes / packed.size());
            let (stored, values) = scratch.packed_input(count, packed, element).map_err(complain)?;
            job.spans(self.grid.chunk(), size, MERGE_GAP, |from, to| {
                read(from, &mut stored[from..to])?;
                packed.unpack(&stored[from..to], element, &mut values[from / size * element.size()..]);
                Ok(())
            })?;
        } else {
            let buffer = scratch.input(self.stored_bytes).map_err(complain)?;
            job.spans(self.grid.chunk(), element.size(), MERGE_GAP, |from, to| {
                read(from, &mut buffer[from..to])
            })?;
        }
        Ok(Decoded::Here(Values::AsStored(scratch.filled())))
    }
}

/// Which indices of the box of a job libhdf5 is told to read: steps, and runs along one axis, where each index that is left out
/// is of [`MERGE_GAP`] bytes or more. `None` where that is most of the box, which is read faster as a whole.
fn picks(job: &Job<'_>, shape: &[u64], size: usize) -> Option<Vec<Pick>> {
    let mut picks = Vec::new();
    // The axis along which runs leave out most.
    let mut sparsest: Option<(usize, Runs, u64)> = None;
    let mut times = 1;
    for (axis, piece) in job.pieces.iter().enumerate() {
        let (low, high) = piece.source_bounds();
        let len = (high - low) as u64 + 1;
        let index_bytes = shape[axis + 1..].iter().fold(size as u64, |bytes, &len| bytes.saturating_mul(len));
        match *piece {
            _ if index_bytes < MERGE_GAP as u64 => picks.push(Pick::Steps { step: 1, count: len }),
            Piece::Strided { step, len: count, .. } => {
                times *= step as u64;
                picks.push(Pick::Steps { step: step as u64, count: count as u64 });
            }
            Piece::Gather { .. } | Piece::Runs(_) => {
                picks.push(Pick::Steps { step: 1, count: len });
                let mut runs: Runs = Vec::new();
                piece.for_each(|source, _| match runs.last_mut() {
                    Some((first, len)) if *first + *len == (source - low) as u64 => *len += 1,
                    _ => runs.push(((source - low) as u64, 1)),
                });
                let fewer = len / piece.count() as u64;
                if runs.len() <= MOST_RUNS && sparsest.as_ref().is_none_or(|sparsest| sparsest.2 < fewer) {
                    sparsest = Some((axis, runs, fewer));
                }
            }
        }
    }
    if let Some((axis, runs, fewer)) = sparsest {
        times *= fewer;
        picks[axis] = Pick::Runs(runs);
    }
    (times >= WORTH_PICKING).then_some(picks)
}

/// The wanted box of a chunk. Along the one axis of integers, all before it is there too, as anything.
struct Boxed {
    start: Vec<u64>,
    count: Vec<u64>,
    /// Bytes before it.
    before: usize,
    /// Bytes of all.
    bytes: usize,
    integers: bool,
}

impl Boxed {
    fn values<'s>(&self, filled: &'s [u8]) -> Values<'s> {
        if self.integers { Values::AsStored(filled) } else { Values::Boxed(filled) }
    }
}

/// Where a decoded chunk is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nowhere,
    /// For later requests.
    InCache,
    /// For the next read of this one.
    ForNext,
}

/// One pass over the chunks of a plan, by many threads.
pub(crate) struct Sweep<'r> {
    reader: &'r ChunkReader<'r>,
    plan: &'r Plan,
    /// Chunks of which only a part is wanted are kept.
    keeps_parts: bool,
    /// The last chunk is kept for the next sweep of the request.
    shares_last: bool,
}

impl Sweep<'_> {
    /// Decodes the chunk of job `number`, a chunk of integers; what fits into 32 bits may come out as such.
    pub(crate) fn integers<'s>(
        &'s self,
        number: usize,
        job: &Job<'_>,
        worker: &'s mut Worker,
    ) -> Result<Decoded<'s>> {
        self.decode(number, job, worker, Form::Integers)
    }

    /// Whether what is decoded is always whole chunks, of which any part can be written.
    pub(crate) fn decodes_whole_chunks(&self) -> bool {
        match &self.reader.backend {
            Backend::Compact | Backend::Chunked(_) => true,
            // Of blocks the bytes that are not wanted are not read.
            Backend::Contiguous(_) | Backend::External | Backend::Virtual(_) | Backend::Library { .. } => {
                false
            }
        }
    }

    /// Decodes the chunk of job `number`.
    pub(crate) fn values<'s>(
        &'s self,
        number: usize,
        job: &Job<'_>,
        worker: &'s mut Worker,
    ) -> Result<Decoded<'s>> {
        self.decode(number, job, worker, Form::AsStored)
    }

    /// Decodes the chunk of job `number`, and writes what is wanted of it.
    pub(crate) fn copy(&self, number: usize, output: &Output<'_>, worker: &mut Worker) -> Result<()> {
        let job = self.plan.job(number);
        if self.copy_in_place(number, &job, output, worker)? {
            return Ok(());
        }
        let element = self.reader.dataset.element.size();
        let form = if output.takes_planes(element) { Form::InPlanes(element) } else { Form::AsStored };
        let decoded = self.decode(number, &job, worker, form)?;
        self.write(output, number, &decoded)
    }

    /// The same where nothing has to be done to the values on their way from the file, or from the decoder, to the
    /// output. Whether it is so.
    fn copy_in_place(
        &self,
        number: usize,
        job: &Job<'_>,
        output: &Output<'_>,
        worker: &mut Worker,
    ) -> Result<bool> {
        let reader = self.reader;
        match &reader.backend {
            Backend::Contiguous(Some(_)) | Backend::External if reader.dataset.packed.is_none() => {
                let element = reader.dataset.element.size();
                output.in_place(number, |first, place| {
                    let begin = reader.block_begin(job).saturating_add(first as u64 * element as u64);
                    reader.read_bytes(begin, place, job)
                })
            }
            Backend::Chunked(chunked) if reader.dataset.packed.is_none() => {
                let Some(chunk) = chunked.find(job, &reader.grid)? else { return Ok(false) };
                let (pipeline, mask, len) = (&chunked.pipeline, chunk.filter_mask, reader.chunk_bytes);
                let stored = pipeline.is_empty(mask) && chunk.size == len as u64;
                let is_whole = || {
                    self.plan.single_run(job).is_some_and(|run| {
                        run.source == 0 && run.len.checked_mul(reader.dataset.element.size()) == Some(len)
                    })
                };
                if !(stored || pipeline.fills(mask, len))
                    || !is_whole()
                    || self.keep(job, number) != Keep::Nowhere
                    || reader.known(job.linear, Form::AsStored).is_some()
                {
                    return Ok(false);
                }
                output.in_place(number, |_, place| {
                    if stored {
                        return reader.read_stored(&chunk, chunked, job, place, &mut worker.ahead);
                    }
                    reader.fetch(&chunk, chunked, job, worker)?;
                    match pipeline.decode_into(mask, place, worker.scratch.get()) {
                        Ok(()) => Ok(()),
                        Err(Complaint::Fault(fault)) => Err(reader.fault(fault, job)),
                        Err(Complaint::Declined(declined)) => {
                            let (start, count) = job.bounds();
                            let region = Region::all(start, count);
                            reader.instead(declined, job)?.read(&job.offset, &region, place)
                        }
                    }
                })
            }
            _ => Ok(false),
        }
    }

    fn decode<'s>(
        &'s self,
        number: usize,
        job: &Job<'_>,
        worker: &'s mut Worker,
        form: Form,
    ) -> Result<Decoded<'s>> {
        self.reader.decode(job, worker, form, self.keep(job, number))
    }

    /// Where the chunk of a job is kept.
    fn keep(&self, job: &Job<'_>, number: usize) -> Keep {
        if self.keeps_parts && self.reader.cached.is_some() && !self.plan.wants_whole_chunk(job) {
            Keep::InCache
        } else if self.shares_last && number + 1 == self.plan.jobs() {
            Keep::ForNext
        } else {
            Keep::Nowhere
        }
    }

    /// Writes what job `number` wants of its chunk, which must not be narrow.
    pub(crate) fn write(&self, output: &Output<'_>, number: usize, decoded: &Decoded<'_>) -> Result<()> {
        match decoded.values() {
            Some(Values::AsStored(values)) => output.chunk(number, values),
            Some(Values::Boxed(values)) => output.boxed(number, values),
            Some(Values::InPlanes(planes)) => output.planes(number, planes),
            Some(Values::Narrow(_)) => Err(Error::Internal("narrow values where none were asked for".into())),
            None => output.fill(number, &self.reader.dataset.fill_value()?),
        }
    }

    /// How many threads are of use: one, if there is nothing to be decoded or next to nothing.
    pub(crate) fn threads(&self) -> usize {
        let jobs = self.plan.jobs();
        let tiny = self.reader.chunk_bytes.saturating_mul(jobs) <= TINY_BYTES;
        let all_known = || match self.reader.cached {
            Some(cached) => {
                jobs <= FEW_JOBS && (0..jobs).all(|number| cached.has(self.plan.job(number).linear))
            }
            None => false,
        };
        // libhdf5 does one thing at a time.
        let by_library = matches!(self.reader.backend, Backend::Library { .. });
        if tiny || by_library || all_known() { 1 } else { usize::MAX }
    }

    /// Decodes all chunks and writes what is wanted of them.
    pub(crate) fn read(&self, output: &Output<'_>, control: &Control<'_>) -> Result<()> {
        pool::for_each_with(self.threads(), control, self.plan.jobs(), |worker: &mut Worker, number| {
            self.copy(number, output, worker)
        })
    }
}
