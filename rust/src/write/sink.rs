//! A dataset of chunks that blocks of values are written to, in any order.
//!
//! A chunk that a block covers is encoded from it at once. One that is covered in part waits in memory until it is complete,
//! as long as all that wait fit into the budget; then those that have waited longest are written as they are, and read back
//! when another part of them comes. So every order of blocks gives the same values; blocks that end where chunks do are the
//! fastest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gather::Block;
use crate::chunks::Grid;
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::filters::{self, Compression, Encoder, Encoding, Pipeline};
use crate::hdf5::{Chunked, Definition, Draft};
use crate::memory;
use crate::plan::{PerAxis, per_axis};
use crate::pool::{self, Control};

/// How a dataset of chunks is to be made.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Extent of each axis.
    pub shape: Vec<u64>,
    /// Maximum extent of each axis; `None` where there is none.
    pub most: Vec<Option<u64>>,
    /// Type of an element.
    pub element: ElementType,
    /// Whether strings are UTF-8.
    pub utf8: bool,
    /// Shape of a chunk.
    pub chunk: Vec<u64>,
    /// What chunks are compressed with.
    pub compression: Compression,
    /// One value, which elements have that are not written; `None` for zero.
    pub fill: Option<Vec<u8>>,
    /// Bytes of incomplete chunks that wait in memory.
    pub budget: usize,
}

/// A chunk that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Bytes in the file.
    pub(super) len: usize,
    /// CRC-32 of these.
    pub(super) checksum: u32,
    /// How many of its elements came from blocks, in as far as no two blocks had the same.
    filled: u64,
}

/// A chunk that waits for more of its elements.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    filled: u64,
    /// Number of the block that it was last changed by.
    touched: u64,
}

/// A dataset that is being written.
#[derive(Debug)]
pub(super) struct Sink {
    name: Vec<u8>,
    chunked: Chunked,
    options: SinkOptions,
    grid: Grid,
    encoding: Encoding,
    pipeline: Pipeline,
    chunk_bytes: usize,
    /// Distances of neighbours along each axis of a chunk, in elements.
    steps: Vec<usize>,
    /// The shape that the file has, which follows that of the grid before anything is written.
    stated: Vec<u64>,
    written: HashMap<u64, Written>,
    waiting: HashMap<u64, Waiting>,
    blocks: u64,
    /// More may come behind the last index of the first axis.
    grows: bool,
    spare: Spare,
}

/// What workers leave for those that encode the next block.
#[derive(Default)]
struct Spare(Mutex<Vec<Scratch>>);

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spare")
    }
}

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Vec<Scratch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chunk that is to be encoded.
struct Job {
    linear: u64,
    offset: PerAxis<u64>,
    filled: u64,
    /// Its values; `None` for one that the block has.
    bytes: Option<Vec<u8>>,
}

/// What a worker keeps from one chunk to the next.
#[derive(Default)]
struct Scratch {
    raw: Vec<u8>,
    encoder: Encoder,
}

impl Sink {
    pub(super) fn create(draft: &Draft, name: &[u8], options: SinkOptions) -> Result<Self> {
        let SinkOptions { shape, most, element, utf8, chunk, compression, fill, budget: _ } = &options;
        let rank = shape.len();
        if rank == 0 || chunk.len() != rank || most.len() != rank {
            return Err(Error::Structure(format!(
                "chunks of shape {chunk:?} and maximum extents {most:?} for a dataset of shape {shape:?}"
            )));
        }
        if let Some(axis) = (0..rank).find(|&axis| most[axis].is_some_and(|most| most < shape[axis])) {
            return Err(Error::Structure(format!(
                "axis {axis} of extent {} may not be that long",
                shape[axis]
            )));
        }
        if fill.as_ref().is_some_and(|fill| fill.len() != element.size()) {
            return Err(Error::Structure(format!("a fill value that is not one of dtype {element}")));
        }
        let grid = Grid::new(shape, chunk)?;
        let chunk_bytes = chunk
            .iter()
            .try_fold(element.size(), |product, &len| product.checked_mul(usize::try_from(len).ok()?))
            .filter(|&bytes| u32::try_from(bytes).is_ok())
            .ok_or_else(|| {
                Error::Structure(format!(
                    "a chunk of shape {chunk:?} has 4 GiB or more, which HDF5 cannot have"
                ))
            })?;
        let encoding = Encoding::new(compression, element.size(), chunk_bytes)?;
        let definition = Definition {
            shape,
            most,
            element: *element,
            utf8: *utf8,
            chunk,
            filters: encoding.steps(),
            fill: fill.as_deref(),
        };
        let chunked = draft.create_chunked(name, &definition)?;
        let mut steps = memory::vec(1usize, rank)?;
        for axis in (0..rank - 1).rev() {
            steps[axis] = steps[axis + 1] * chunk[axis + 1] as usize;
        }
        Ok(Self {
            name: memory::copy(name)?,
            pipeline: Pipeline::new(encoding.steps()),
            stated: memory::copy(shape)?,
            chunked,
            grid,
            encoding,
            chunk_bytes,
            steps,
            written: HashMap::new(),
            waiting: HashMap::new(),
            blocks: 0,
            grows: false,
            spare: Spare::default(),
            options,
        })
    }

    pub(super) fn shape(&self) -> &[u64] {
        self.grid.shape()
    }

    /// Writes a block whose first element is at `start`.
    pub(super) fn write(&mut self, start: &[u64], block: &Block<'_>, control: &Control<'_>) -> Result<()> {
        let place = self.chunked.place();
        if block.element() != self.options.element {
            return Err(Error::ElementType(format!(
                "{place}: a block of dtype {} for a dataset of {}",
                block.element(),
                self.options.element
            )));
        }
        let fits = start.len() == block.shape().len()
            && start.len() == self.shape().len()
            && start
                .iter()
                .zip(block.shape().iter().zip(self.shape()))
                .all(|(&at, (&len, &extent))| at.checked_add(len).is_some_and(|end| end <= extent));
        if !fits {
            return Err(Error::Index(format!(
                "{place}: a block of shape {:?} at {start:?} is not inside of the shape {:?}",
                block.shape(),
                self.shape()
            )));
        }
        if block.shape().contains(&0) {
            return Ok(());
        }
        self.blocks += 1;
        let first: PerAxis<u64> = per_axis(start.iter().zip(self.grid.chunk()).map(|(&at, &len)| at / len));
        let counts: PerAxis<u64> = per_axis(
            start
                .iter()
                .zip(block.shape())
                .zip(self.grid.chunk().iter().zip(&first))
                .map(|((&at, &extent), (&len, &first))| (at + extent).div_ceil(len) - first),
        );
        let mut jobs = Vec::new();
        let mut at: PerAxis<u64> = per_axis(counts.iter().map(|_| 0));
        loop {
            self.part(
                start,
                block,
                &per_axis(at.iter().zip(&first).map(|(at, first)| at + first)),
                &mut jobs,
            )?;
            if !step(&mut at, &counts) {
                break;
            }
        }
        self.store(&jobs, Some((start, block)), control)?;
        self.make_room(control)
    }

    /// What a block has of the chunk with these coordinates.
    fn part(&mut self, start: &[u64], block: &Block<'_>, chunk: &[u64], jobs: &mut Vec<Job>) -> Result<()> {
        let linear = self.grid.linear(chunk.iter().copied());
        let offset: PerAxis<u64> = per_axis(chunk.iter().zip(self.grid.chunk()).map(|(&at, &len)| at * len));
        let (inside, count, from) = self.overlap(start, block, &offset);
        let covered: u64 = count.iter().product();
        let all = self.inside(&offset);
        if covered == all {
            // What waited, or was written, is replaced as a whole.
            self.waiting.remove(&linear);
            return Ok(memory::push(jobs, Job { linear, offset, filled: covered, bytes: None })?);
        }
        let mut waiting = match self.waiting.remove(&linear) {
            Some(waiting) => waiting,
            None => self.begin(linear, &offset)?,
        };
        let target = inside.iter().zip(&self.steps).map(|(&at, &step)| at as usize * step).sum();
        block.copy(&from, &count, &mut waiting.bytes, target, &self.steps);
        waiting.filled = waiting.filled.saturating_add(covered);
        waiting.touched = self.blocks;
        if waiting.filled >= all {
            let bytes = Some(waiting.bytes);
            memory::push(jobs, Job { linear, offset, filled: waiting.filled, bytes })?;
        } else {
            self.waiting.insert(linear, waiting);
        }
        Ok(())
    }

    /// Of a chunk and a block: where what they share begins in the chunk, how long it is, where it begins in the block.
    fn overlap(
        &self,
        start: &[u64],
        block: &Block<'_>,
        offset: &[u64],
    ) -> (PerAxis<u64>, PerAxis<u64>, PerAxis<u64>) {
        let (mut inside, mut count, mut from) = (PerAxis::new(), PerAxis::new(), PerAxis::new());
        for axis in 0..start.len() {
            let begin = start[axis].max(offset[axis]);
            let end =
                (start[axis] + block.shape()[axis]).min(offset[axis].saturating_add(self.grid.chunk()[axis]));
            inside.push(begin - offset[axis]);
            count.push(end - begin);
            from.push(begin - start[axis]);
        }
        (inside, count, from)
    }

    /// How many elements of a chunk are inside of the dataset, or will be.
    fn inside(&self, offset: &[u64]) -> u64 {
        let axes = offset.iter().zip(self.grid.chunk().iter().zip(self.grid.shape())).enumerate();
        axes.map(
            |(axis, (&at, (&len, &extent)))| {
                if axis == 0 && self.grows { len } else { len.min(extent - at) }
            },
        )
        .product()
    }

    /// A chunk of which nothing waits: as it was written, or of fill values.
    fn begin(&self, linear: u64, offset: &[u64]) -> Result<Waiting> {
        let Some(&Written { len, filled, .. }) = self.written.get(&linear) else {
            let mut bytes = Vec::new();
            self.fill(&mut bytes)?;
            return Ok(Waiting { bytes, filled: 0, touched: 0 });
        };
        let (mask, encoded) = self.chunked.read(offset, len)?;
        let mut scratch = filters::Scratch::default();
        let place = || self.chunked.place().chunk(offset);
        let failed = |message| Error::Unwritable { place: place(), message };
        scratch
            .input(encoded.len())
            .map_err(|_| Error::from(memory::NoMemory(encoded.len())))?
            .copy_from_slice(&encoded);
        self.pipeline
            .decode(mask, self.chunk_bytes, &mut scratch)
            .map_err(|complaint| failed(format!("it cannot be read back: {complaint:?}")))?;
        Ok(Waiting { bytes: memory::copy(scratch.filled())?, filled, touched: 0 })
    }

    /// Makes `bytes` a chunk of fill values.
    fn fill(&self, bytes: &mut Vec<u8>) -> Result<()> {
        match &self.options.fill {
            Some(fill) if fill.iter().any(|&byte| byte != 0) => {
                if bytes.len() != self.chunk_bytes {
                    *bytes = memory::zeros(self.chunk_bytes)?;
                }
                bytes.chunks_exact_mut(fill.len()).for_each(|value| value.copy_from_slice(fill));
            }
            _ if bytes.len() == self.chunk_bytes => bytes.fill(0),
            _ => *bytes = memory::zeros(self.chunk_bytes)?,
        }
        Ok(())
    }

    /// Encodes chunks, on all threads, and writes them in their order.
    fn store(
        &mut self,
        jobs: &[Job],
        block: Option<(&[u64], &Block<'_>)>,
        control: &Control<'_>,
    ) -> Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        if self.stated != self.grid.shape() {
            self.chunked.set_extent(self.grid.shape())?;
            self.stated = memory::copy(self.grid.shape())?;
        }
        let queue = InOrder::default();
        let this = &*self;
        pool::for_each_in_order(control, jobs.len(), |(): &mut (), number| {
            let job = &jobs[number];
            let mut scratch = this.spare.lock().pop().unwrap_or_default();
            let Scratch { raw, encoder } = &mut scratch;
            let values = this.values(job, block, raw)?;
            let (mask, encoded) = this.encoding.encode(values, encoder)?;
            queue.put(number, mask, encoded, |number, mask, encoded| {
                this.chunked.write(&jobs[number].offset, mask, encoded)
            })?;
            this.spare.lock().push(scratch);
            Ok(())
        })?;
        for (job, (len, checksum)) in jobs.iter().zip(queue.into_written()) {
            self.written.insert(job.linear, Written { len, checksum, filled: job.filled });
        }
        Ok(())
    }

    /// The values of a chunk.
    fn values<'a>(
        &self,
        job: &'a Job,
        block: Option<(&[u64], &Block<'a>)>,
        raw: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        if let Some(bytes) = &job.bytes {
            return Ok(bytes);
        }
        let (start, block) = block.ok_or_else(|| Error::Internal("a chunk without values".into()))?;
        let (inside, count, from) = self.overlap(start, block, &job.offset);
        let whole = count.iter().eq(self.grid.chunk());
        if whole && let Some(values) = block.consecutive(&from, &count) {
            return Ok(values);
        }
        if !whole || raw.len() != self.chunk_bytes {
            self.fill(raw)?;
        }
        let target = inside.iter().zip(&self.steps).map(|(&at, &step)| at as usize * step).sum();
        block.copy(&from, &count, raw, target, &self.steps);
        Ok(raw)
    }

    /// Writes those that have waited longest, until the others fit into half of the budget.
    fn make_room(&mut self, control: &Control<'_>) -> Result<()> {
        let most = self.options.budget / self.chunk_bytes.max(1);
        if self.waiting.len() <= most {
            return Ok(());
        }
        let mut oldest =
            memory::collect(self.waiting.iter().map(|(&linear, waiting)| (waiting.touched, linear)))?;
        oldest.sort_unstable();
        oldest.truncate(self.waiting.len() - most / 2);
        self.write_waiting(oldest.into_iter().map(|(_, linear)| linear), control)
    }

    fn write_waiting(&mut self, which: impl Iterator<Item = u64>, control: &Control<'_>) -> Result<()> {
        let mut jobs = Vec::new();
        for linear in which {
            if let Some(waiting) = self.waiting.remove(&linear) {
                let offset = self.offset(linear);
                let bytes = Some(waiting.bytes);
                memory::push(&mut jobs, Job { linear, offset, filled: waiting.filled, bytes })?;
            }
        }
        jobs.sort_unstable_by_key(|job| job.linear);
        self.store(&jobs, None, control)
    }

    /// The first element of the chunk of this number.
    fn offset(&self, mut linear: u64) -> PerAxis<u64> {
        let mut offset = per_axis(self.grid.chunk().iter().map(|_| 0));
        for axis in (0..offset.len()).rev() {
            let count = if axis == 0 { u64::MAX } else { self.grid.counts()[axis].max(1) };
            offset[axis] = linear % count * self.grid.chunk()[axis];
            linear /= count;
        }
        offset
    }

    /// Writes a block behind the last index of the first axis, which grows by that.
    pub(super) fn append(&mut self, block: &Block<'_>, control: &Control<'_>) -> Result<()> {
        let mut start: PerAxis<u64> = per_axis(self.shape().iter().map(|_| 0));
        let mut shape = memory::copy(self.shape())?;
        let more = block.shape().first().copied().unwrap_or(0);
        let place = self.chunked.place();
        let end =
            shape[0].checked_add(more).filter(|&end| self.options.most[0].is_none_or(|most| end <= most));
        let Some(end) = end else {
            return Err(Error::Index(format!(
                "{place}: {more} more than the {} that there are, of {} at most",
                shape[0],
                self.options.most[0].unwrap_or(u64::MAX)
            )));
        };
        // A chunk at the end waits for what comes behind it.
        self.grows = true;
        start[0] = std::mem::replace(&mut shape[0], end);
        self.grid = Grid::new(&shape, self.grid.chunk())?;
        self.write(&start, block, control)
    }

    /// Writes what waits, states the shape, and closes the dataset.
    pub(super) fn finish(mut self, control: &Control<'_>) -> Result<Finished> {
        let waiting = memory::collect(self.waiting.keys().copied())?;
        self.write_waiting(waiting.into_iter(), control)?;
        if self.stated != self.grid.shape() {
            self.chunked.set_extent(self.grid.shape())?;
        }
        self.chunked.close()?;
        Ok(Finished { name: self.name, grid: self.grid, written: self.written })
    }
}

/// A dataset that was written, with the checksums of its chunks.
pub(super) struct Finished {
    pub(super) name: Vec<u8>,
    pub(super) grid: Grid,
    pub(super) written: HashMap<u64, Written>,
}

/// Goes to the next index below `counts`, in the order of rows; false when there is none.
fn step(at: &mut [u64], counts: &[u64]) -> bool {
    for axis in (0..at.len()).rev() {
        at[axis] += 1;
        if at[axis] < counts[axis] {
            return true;
        }
        at[axis] = 0;
    }
    false
}

/// Chunks are encoded in any order and written in that of their numbers, by one thread at a time: so the file is the same
/// whatever the number of threads. A chunk that is done before its turn waits in memory; there are no more of these than the
/// block has chunks.
#[derive(Default)]
struct InOrder(Mutex<Turns>);

#[derive(Default)]
struct Turns {
    next: usize,
    waiting: BTreeMap<usize, (u32, Vec<u8>)>,
    /// Somebody writes, and goes on as long as there is a next one.
    is_writing: bool,
    written: Vec<(usize, u32)>,
}

impl InOrder {
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(
        &self,
        number: usize,
        mask: u32,
        encoded: &[u8],
        write: impl Fn(usize, u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut turns = self.lock();
        if turns.is_writing || turns.next != number {
            turns.waiting.insert(number, (mask, memory::copy(encoded)?));
            if turns.is_writing {
                return Ok(());
            }
            let Some(first) = turns.first() else { return Ok(()) };
            return self.write_from(turns, first, &write);
        }
        turns.is_writing = true;
        turns.note(encoded)?;
        drop(turns);
        write(number, mask, encoded)?;
        let mut turns = self.lock();
        turns.is_writing = false;
        match turns.first() {
            Some(first) => self.write_from(turns, first, &write),
            None => Ok(()),
        }
    }

    /// Writes this one, and those that follow it and are done.
    fn write_from<'a>(
        &'a self,
        mut turns: MutexGuard<'a, Turns>,
        (mut mask, mut encoded): (u32, Vec<u8>),
        write: &impl Fn(usize, u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        loop {
            let number = turns.next;
            turns.is_writing = true;
            turns.note(&encoded)?;
            drop(turns);
            write(number, mask, &encoded)?;
            turns = self.lock();
            turns.is_writing = false;
            match turns.first() {
                Some(first) => (mask, encoded) = first,
                None => return Ok(()),
            }
        }
    }

    fn into_written(self) -> Vec<(usize, u32)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).written
    }
}

impl Turns {
    /// The next one, if it is done.
    fn first(&mut self) -> Option<(u32, Vec<u8>)> {
        let next = self.next;
        self.waiting.remove(&next)
    }

    /// Takes note of the next one, which is about to be written.
    fn note(&mut self, encoded: &[u8]) -> Result<()> {
        self.next += 1;
        Ok(memory::push(&mut self.written, (encoded.len(), libdeflater::crc32(encoded)))?)
    }
}
