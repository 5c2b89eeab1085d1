//! Virtual datasets: reads of their sources, each of them a dataset like others, in this file or another.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::dataset::{BLOCK_BYTES, Dataset, Layout, Virtual, block_shape};
use crate::element::{ElementType, Kind, Padding};
use crate::error::{Error, Place, Result};
use crate::hdf5;
use crate::mapping::{self, Finder, Hit, Mapping};
use crate::memory;
use crate::plan::{Job, PerAxis, Plan};
use crate::reader::{ChunkReader, Decoded, Form, Request, Worker};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;

/// Maximum number of sources that one virtual dataset keeps open: each has a file descriptor.
const OPEN_SOURCES: NonZero<usize> = NonZero::new(64).unwrap();

/// Number of mappings that are looked at for a source that exists, whose chunks say in which blocks to read.
const LOOKED_AT: usize = 16;

/// Bytes of a block that is worth the cost of a job; the chunks of small sources are read several at a time.
const LEAST_BLOCK: u64 = 64 << 10;

/// The sources of one virtual dataset, used by many threads at once.
pub(crate) struct Sources {
    dataset: Arc<Dataset>,
    finder: Finder,
    /// For each mapping the number of its source: several may have the same.
    numbers: Vec<usize>,
    open: Mutex<LruCache<usize, Arc<Source>>>,
    /// Of sources, chunks are neither taken from the cache nor left in it.
    uncached: bool,
}

/// What a mapping takes its values from.
pub(crate) enum Source {
    /// There is no such file, or no such dataset in it: the virtual dataset's fill value stands for it.
    Missing,
    Here(Box<Opened>),
}

/// A source that is open.
pub(crate) struct Opened {
    reader: ChunkReader<'static>,
    conversion: Conversion,
}

/// How values of a source become those of the virtual dataset.
#[derive(Debug, Clone, Copy)]
enum Conversion {
    /// Exactly.
    Exact(Kernel),
    /// As libhdf5 does where they may not fit.
    ByLibrary { from: ElementType, to: ElementType },
    /// Strings of variable length are not converted.
    Strings,
    /// There is none here.
    None,
}

/// What one thread reads sources with.
pub(crate) struct Inner {
    worker: Worker,
    /// The source that it was last used for.
    source: Arc<Source>,
}

/// The chunk of a source that is a chunk of the virtual dataset, element by element.
pub(crate) struct SameChunk {
    source: Arc<Source>,
    /// Of one job.
    plan: Plan,
}

/// What a job wants of one mapping.
struct Part<'a> {
    mapping: &'a Mapping,
    number: usize,
    /// Along each axis of the virtual dataset.
    hits: Vec<Vec<Hit>>,
}

impl Part<'_> {
    /// How many elements.
    fn count(&self) -> usize {
        self.lens().product()
    }

    /// How many positions along each axis.
    fn lens(&self) -> impl Iterator<Item = usize> {
        self.hits.iter().map(|hits| hits.iter().map(|hit| hit.len).sum())
    }

    /// Whether it is all of a box of this shape, in order.
    fn fills(&self, count: &[u64]) -> bool {
        self.hits
            .iter()
            .zip(count)
            .all(|(hits, &len)| matches!(hits.as_slice(), [hit] if hit.place == 0 && hit.len as u64 == len))
    }

    /// Its indices along each axis of the source; `None` for elements that come in another shape there.
    fn indices(&self, source: &Dataset) -> Result<Option<Vec<Axis>>> {
        let all = || source.shape.iter().map(|&extent| Axis::all(extent)).collect::<Result<Vec<_>>>();
        let axes = self.mapping.source.clone().map_or_else(all, Ok)?;
        if axes.len() != source.shape.len() {
            return Ok(None);
        }
        let Some(pairs) = mapping::pair(&self.mapping.target, &axes) else { return Ok(None) };
        let mut indices = axes;
        for (pair, hits) in pairs.iter().zip(&self.hits) {
            if let &Some(axis) = pair {
                indices[axis] = mapping::at(&indices[axis], hits)?;
            }
        }
        Ok(Some(indices))
    }
}

impl Sources {
    /// `None` for a dataset that is not virtual.
    pub(crate) fn new(dataset: &Arc<Dataset>) -> Option<Self> {
        let Layout::Virtual(Virtual::Resolved { mappings, .. }) = &dataset.layout else { return None };
        let mut known = HashMap::new();
        let number = |mapping: &Mapping| {
            let next = known.len();
            *known.entry((mapping.file.clone(), mapping.dataset.clone())).or_insert(next)
        };
        Some(Self {
            finder: Finder::new(mappings),
            numbers: mappings.iter().map(number).collect(),
            open: Mutex::new(LruCache::new(OPEN_SOURCES)),
            dataset: Arc::clone(dataset),
            uncached: false,
        })
    }

    /// The same, that takes nothing of its sources from the cache.
    pub(crate) fn uncached(self) -> Self {
        Self { uncached: true, ..self }
    }

    fn mappings(&self) -> &[Mapping] {
        match &self.dataset.layout {
            Layout::Virtual(Virtual::Resolved { mappings, .. }) => mappings,
            _ => &[],
        }
    }

    fn open(&self) -> MutexGuard<'_, LruCache<usize, Arc<Source>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source of a mapping.
    fn source(&self, request: &Request, number: usize) -> Result<Arc<Source>> {
        let (mapping, number) = (&self.mappings()[number], self.numbers[number]);
        if let Some(source) = self.open().get(&number) {
            return Ok(Arc::clone(source));
        }
        let source = match request.source_of(&mapping.file, &mapping.dataset)? {
            None => Source::Missing,
            Some((request, name)) => {
                let reader = request.into_reader(&name, None)?;
                let reader = if self.uncached { reader.uncached() } else { reader };
                let conversion = Conversion::new(reader.dataset().element, self.dataset.element)?;
                Source::Here(Box::new(Opened { reader, conversion }))
            }
        };
        let source = Arc::new(source);
        self.open().put(number, Arc::clone(&source));
        Ok(source)
    }

    /// What a job wants of each mapping, in their order. `start` and `count` are its bounds.
    fn parts(&self, job: &Job<'_>, start: &[u64], count: &[u64]) -> Vec<Part<'_>> {
        let mut wanted = None;
        let of = |number: usize| {
            let wanted = wanted.get_or_insert_with(|| {
                let axes = job.pieces.iter().zip(&job.offset);
                axes.map(|(piece, &offset)| mapping::wanted(piece, offset)).collect::<Vec<_>>()
            });
            let mapping = &self.mappings()[number];
            let axes = mapping.target.iter().zip(wanted).zip(start);
            let hits =
                axes.map(|((axis, wanted), &origin)| mapping::hits(axis, wanted, origin)).collect::<Vec<_>>();
            let is_empty = hits.iter().any(Vec::is_empty);
            (!is_empty).then_some(Part { mapping, number, hits })
        };
        self.finder.find(start, count).into_iter().filter_map(of).collect()
    }

    /// The chunk of a source that has all that a job wants, if its elements stand there as in the job's own chunk.
    pub(crate) fn same_chunk(
        &self,
        virtual_reader: &ChunkReader<'_>,
        job: &Job<'_>,
    ) -> Result<Option<SameChunk>> {
        let (start, count) = job.bounds();
        let parts = self.parts(job, &start, &count);
        let wanted: usize = job.pieces.iter().map(crate::plan::Piece::count).product();
        let [part] = parts.as_slice() else { return Ok(None) };
        if part.count() != wanted {
            return Ok(None);
        }
        let held = self.source(virtual_reader.request(), part.number)?;
        let Source::Here(source) = held.as_ref() else { return Ok(None) };
        let reader = &source.reader;
        let (element, grid) = (reader.dataset().element, reader.grid());
        if element != self.dataset.element || element == ElementType::STRING {
            return Ok(None);
        }
        let Some(indices) = part.indices(reader.dataset())? else { return Ok(None) };
        // Of the axes that are longer than one, chunks have the same lengths and begin at the same element.
        let lens = |chunk: &[u64]| chunk.iter().copied().filter(|&len| len != 1).collect::<PerAxis<u64>>();
        if lens(grid.chunk()) != lens(virtual_reader.grid().chunk()) {
            return Ok(None);
        }
        let plan = source.plan(&indices, virtual_reader.place())?;
        if plan.jobs() != 1 {
            return Ok(None);
        }
        let stretches = |job: &Job<'_>, chunk: &[u64]| {
            let axes = job.pieces.iter().zip(chunk).filter(|&(_, &len)| len != 1);
            axes.map(|(piece, _)| mapping::wanted(piece, 0)).collect::<Vec<_>>()
        };
        let is_same = stretches(&plan.job(0), grid.chunk()) == stretches(job, virtual_reader.grid().chunk());
        Ok(is_same.then_some(SameChunk { source: held, plan }))
    }

    /// Reads what a job wants into `out`, the values of the box of [`Job::bounds`]. Whether it could: what it could not is
    /// left to libhdf5.
    pub(crate) fn read(
        &self,
        virtual_reader: &ChunkReader<'_>,
        job: &Job<'_>,
        out: &mut [u8],
        inner: &mut Option<Box<Inner>>,
    ) -> Result<bool> {
        let (start, count) = job.bounds();
        let parts = self.parts(job, &start, &count);
        let wanted: usize = job.pieces.iter().map(crate::plan::Piece::count).product();
        let (element, mut is_filled) = (self.dataset.element.size(), false);
        let mut fill = |out: &mut [u8]| -> Result<()> {
            if !std::mem::replace(&mut is_filled, true) {
                let value = self.dataset.fill_value()?;
                out.chunks_exact_mut(element).for_each(|place| place.copy_from_slice(&value));
            }
            Ok(())
        };
        if !matches!(parts.as_slice(), [part] if part.count() == wanted) {
            fill(out)?;
        }
        for part in &parts {
            let held = self.source(virtual_reader.request(), part.number)?;
            let Source::Here(source) = held.as_ref() else {
                fill(out)?;
                continue;
            };
            let worker = Inner::of(inner, &held);
            let Some(indices) = part.indices(source.reader.dataset())? else { return Ok(false) };
            let place = || virtual_reader.place().chunk(&job.offset);
            if part.fills(&count) {
                if !source.read(&indices, out, worker, &place)? {
                    return Ok(false);
                }
                continue;
            }
            let mut values = memory::zeros(part.count() * element)?;
            if !source.read(&indices, &mut values, worker, &place)? {
                return Ok(false);
            }
            mapping::place(&values, &part.hits, &count, element, out);
        }
        Ok(true)
    }

    /// The strings of variable length that a job wants, at their places in its box; the others are empty. `None` for what
    /// is left to libhdf5.
    pub(crate) fn strings(
        &self,
        virtual_reader: &ChunkReader<'_>,
        job: &Job<'_>,
        inner: &mut Option<Box<Inner>>,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        let (start, count) = job.bounds();
        let mut strings = memory::vec(Vec::new(), count.iter().product::<u64>() as usize)?;
        for part in self.parts(job, &start, &count) {
            let held = self.source(virtual_reader.request(), part.number)?;
            let Source::Here(source) = held.as_ref() else { continue };
            let Some(indices) = part.indices(source.reader.dataset())? else { return Ok(None) };
            if !matches!(source.conversion, Conversion::Strings) {
                return Ok(None);
            }
            let plan = source.plan(&indices, virtual_reader.place())?;
            let worker = Inner::of(inner, &held);
            let mut found = memory::vec(Vec::new(), plan.count())?;
            for number in 0..plan.jobs() {
                for (target, string) in source.reader.strings(&plan.job(number), plan.lens(), worker)?.iter()
                {
                    found[target] = memory::copy(string)?;
                }
            }
            // The place in the box of each, as bytes are placed.
            let numbers: Vec<u8> = (1..=found.len() as u64).flat_map(u64::to_ne_bytes).collect();
            let mut places = memory::zeros::<u8>(strings.len() * 8)?;
            mapping::place(&numbers, &part.hits, &count, 8, &mut places);
            for (string, place) in strings.iter_mut().zip(places.as_chunks::<8>().0) {
                if let Some(number) = (u64::from_ne_bytes(*place) as usize).checked_sub(1) {
                    *string = std::mem::take(&mut found[number]);
                }
            }
        }
        Ok(Some(strings))
    }

    /// Names of all sources: of the file, and of the dataset in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.mappings().iter().map(|mapping| (mapping.file.clone(), mapping.dataset.clone()))
    }
}

impl SameChunk {
    /// Decodes it, for a job of a plan with so many.
    pub(crate) fn decode<'s>(
        &self,
        jobs: usize,
        inner: &'s mut Option<Box<Inner>>,
        form: Form,
    ) -> Result<Decoded<'s>> {
        let Inner { worker, source } = Inner::with(inner, &self.source);
        match &**source {
            Source::Here(source) => source.reader.part_of_plan(&self.plan, jobs, worker, form),
            Source::Missing => Ok(Decoded::Missing),
        }
    }
}

impl Opened {
    fn plan(&self, indices: &[Axis], of: &Place) -> Result<Plan> {
        Plan::new(self.reader.grid().clone(), indices).map_err(|error| match error {
            Error::Index(_) => Error::Unreadable {
                place: of.clone(),
                message: format!(
                    "of its source {}, whose shape is {:?}, it maps more than there is",
                    self.reader.place(),
                    self.reader.dataset().shape
                ),
            },
            other => other.at(of),
        })
    }

    /// Reads a selection of the source, converted to the element type of the virtual dataset. Whether there is such a
    /// conversion.
    fn read(
        &self,
        indices: &[Axis],
        out: &mut [u8],
        worker: &mut Worker,
        place: &impl Fn() -> Place,
    ) -> Result<bool> {
        let plan = self.plan(indices, &place())?;
        match self.conversion {
            Conversion::None | Conversion::Strings => return Ok(false),
            Conversion::Exact(kernel) => self.run(&plan, kernel, out, worker)?,
            Conversion::ByLibrary { from, to } => {
                let mut values = memory::zeros(plan.count() * from.size())?;
                self.run(&plan, Kernel::new(from, from)?, &mut values, worker)?;
                match hdf5::convert(&values, from, to, &place())? {
                    Some(converted) => out.copy_from_slice(&converted),
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    fn run(&self, plan: &Plan, kernel: Kernel, out: &mut [u8], worker: &mut Worker) -> Result<()> {
        let output = Output::new(out, plan, kernel)?;
        // Chunks that reach into the next block are kept for it.
        let sweep = self.reader.part_of_sweep(plan, plan.jobs());
        for number in 0..plan.jobs() {
            sweep.copy(number, &output, worker)?;
        }
        output.finish()?;
        Ok(())
    }
}

impl Inner {
    /// A worker for a source.
    fn of<'i>(inner: &'i mut Option<Box<Self>>, source: &Arc<Source>) -> &'i mut Worker {
        &mut Self::with(inner, source).worker
    }

    fn with<'i>(inner: &'i mut Option<Box<Self>>, source: &Arc<Source>) -> &'i mut Self {
        let make = || Box::new(Self { worker: Worker::default(), source: Arc::clone(source) });
        let inner = inner.get_or_insert_with(make);
        if !Arc::ptr_eq(&inner.source, source) {
            // What was read ahead is another file's.
            inner.worker.forget();
            inner.source = Arc::clone(source);
        }
        inner
    }
}

impl Conversion {
    fn new(from: ElementType, to: ElementType) -> Result<Self> {
        if from == ElementType::STRING || to == ElementType::STRING {
            return Ok(if from == to { Self::Strings } else { Self::None });
        }
        if from == to {
            // Bytes as they are: what they mean is said of the virtual dataset.
            let same = match from.kind() {
                Kind::Text(_) => text(from.size())?,
                _ => from,
            };
            return Ok(Self::Exact(Kernel::new(same, same)?));
        }
        if is_exact(from, to) {
            return Ok(Self::Exact(Kernel::new(from, to)?));
        }
        let is_number = |element: ElementType| element.is_real() && element.kind() != Kind::Bool;
        Ok(if is_number(from) && is_number(to) { Self::ByLibrary { from, to } } else { Self::None })
    }
}

fn text(size: usize) -> Result<ElementType> {
    ElementType::new(Kind::Text(Padding::Null), size, crate::element::Order::NATIVE)
        .ok_or_else(|| Error::Internal("strings of no length".into()))
}

/// Whether each value of the one type is one of the other.
fn is_exact(from: ElementType, to: ElementType) -> bool {
    let (wide, wider) = (from.size(), to.size());
    match (from.kind(), to.kind()) {
        (Kind::Int, Kind::Int) | (Kind::UInt, Kind::UInt) | (Kind::Float, Kind::Float) => wide <= wider,
        (Kind::UInt, Kind::Int) => wide < wider,
        // As many bits as a float's mantissa has, with the sign: 24 or 53.
        (Kind::Int | Kind::UInt, Kind::Float) => wider >= 4 && wide * 2 <= wider,
        _ => false,
    }
}

/// The shape of the blocks that a virtual dataset is read in: as the chunks of its first source lie in it, where there is
/// one.
pub(crate) fn block(request: &Request, dataset: &Dataset, mappings: &[Mapping]) -> Result<Vec<u64>> {
    let element = dataset.element.size() as u64;
    for mapping in
        mappings.iter().filter(|mapping| mapping.target.iter().all(|axis| !axis.is_empty())).take(LOOKED_AT)
    {
        let Some((source, name)) = request.source_of(&mapping.file, &mapping.dataset)? else { continue };
        let source = source.dataset(&name)?;
        let all = || source.shape.iter().map(|&extent| Axis::all(extent)).collect::<Result<Vec<_>>>();
        let axes = mapping.source.clone().map_or_else(all, Ok)?;
        let Some(pairs) = mapping::pair(&mapping.target, &axes) else { continue };
        let grid = source.grid()?;
        let len = |(pair, &extent): (&Option<usize>, &u64)| {
            let chunk = pair.map_or(1, |axis| grid.chunk().get(axis).copied().unwrap_or(1));
            chunk.clamp(1, extent.max(1))
        };
        let mut block: Vec<u64> = pairs.iter().zip(&dataset.shape).map(len).collect();
        let mut bytes = block.iter().fold(element, |bytes, &len| bytes.saturating_mul(len));
        for (len, &extent) in block.iter_mut().zip(&dataset.shape).rev() {
            let times = (LEAST_BLOCK / bytes.max(1)).clamp(1, extent.div_ceil(*len).max(1));
            *len *= times;
            bytes = bytes.saturating_mul(times);
        }
        return Ok(block);
    }
    Ok(block_shape(&dataset.shape, element, BLOCK_BYTES))
}
