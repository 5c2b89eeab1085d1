//! Windows: a matrix as a sequence of pieces of bounded size, each decoded in parallel.
//!
//! A window is a run of stored elements of the selected columns (or rows). Its `indices` are decoded first
//! and compared with the selection of the secondary axis; those that are in it are *hits*. Of `data` only
//! the chunks that hold a hit are decoded.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::sync::{Mutex, PoisonError};

use super::{Indices, Opened};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{Job, Piece, Plan, Run};
use crate::pool::{self, Control};
use crate::reader::{self, Decoded};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;

/// Stored elements of a window: large enough that all cores find chunks to decode in it, small enough
/// that what is kept of it (24 bytes for each) does not matter.
const ELEMENTS: usize = if crate::SMALL { 4 } else { 1 << 20 };

/// No position of the selection.
const NOWHERE: u32 = u32::MAX;

/// Longest axis for which there is a table of where each index goes, of 4 bytes each: a few MiB. Of longer ones there is
/// one that is as long as the selection.
const TABLE_EXTENT: u64 = if crate::SMALL { 4 } else { 1 << 20 };

/// Whether the values of hits are wanted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hits {
    IndicesOnly,
    WithValues,
}

/// The hits of one window, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// `(position in the selection of the primary axis, number of hits)`; positions increase.
    pub(super) segments: Vec<(usize, usize)>,
    /// Position of each hit in the selection of the secondary axis.
    pub(super) secondary: Vec<u64>,
    /// Value of each hit, converted.
    pub(super) values: Vec<u8>,
    /// Whether positions increased strictly within each column (or row), counting from its beginning.
    pub(super) increasing: bool,
}

/// Where an index of the secondary axis goes.
pub(super) enum Filter<'a> {
    /// To itself; an index outside of the axis is an error.
    All { extent: u64 },
    /// To its distance from the first.
    Range { start: u64, len: u64 },
    /// To what the table says.
    Table(Vec<u32>),
    /// To its place in the list, of which each bucket of neighbouring indices has a part: for axes too long for a table.
    Buckets { indices: &'a [u64], shift: u32, starts: Vec<u32> },
    /// To its place in a selection in which it is found without a table.
    Found(&'a Axis),
}

impl<'a> Filter<'a> {
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn new(secondary: &'a Axis, extent: u64) -> Result<Self> {
        Ok(match *secondary {
            _ if secondary.is_all(extent) => Self::All { extent },
            Axis::Range { start, len, step: 1 } => Self::Range { start, len: len as u64 },
            _ if extent <= TABLE_EXTENT => {
                let mut table = memory::vec(NOWHERE, extent as usize)?;
                let indices = (0..secondary.len()).filter_map(|position| secondary.get(position));
                for (index, position) in indices.zip(0..) {
                    table[index as usize] = position;
                }
                Self::Table(table)
            }
            Axis::Indices(ref indices) if !indices.is_empty() && u32::try_from(indices.len()).is_ok() => {
                // One to two buckets for each index that is selected.
                let shift = (extent / indices.len() as u64).max(1).ilog2();
                let buckets = ((extent - 1) >> shift) as usize + 1;
                let mut starts = memory::with_capacity(buckets + 1)?;
                for (index, position) in indices.iter().zip(0..) {
                    let bucket = (index >> shift) as usize;
                    let len = starts.len().max(bucket + 1);
                    memory::resize(&mut starts, len, position)?;
                }
                memory::resize(&mut starts, buckets + 1, indices.len() as u32)?;
                Self::Buckets { indices, shift, starts }
            }
            _ => Self::Found(secondary),
        })
    }

    /// Calls `hit` with the number of each index that is selected, and its position in the selection.
    ///
    /// # Errors
    /// The number of the first index outside of the axis, if all of the axis is selected.
    pub(super) fn apply<I: Copy + Into<u64>>(
        &self,
        indices: &[I],
        mut hit: impl FnMut(usize, u64),
    ) -> std::result::Result<(), usize> {
        let indices = indices.iter().map(|&index| index.into());
        match self {
            Self::All { extent } => {
                for (number, index) in indices.enumerate() {
                    if index >= *extent {
                        return Err(number);
                    }
                    hit(number, index);
                }
            }
            Self::Range { start, len } => {
                for (number, index) in indices.enumerate() {
                    let position = index.wrapping_sub(*start);
                    if position < *len {
                        hit(number, position);
                    }
                }
            }
            Self::Table(table) => {
                for (number, index) in indices.enumerate() {
                    let position = table.get(index as usize).copied().unwrap_or(NOWHERE);
                    if position != NOWHERE {
                        hit(number, u64::from(position));
                    }
                }
            }
            Self::Buckets { indices: selected, shift, starts } => {
                for (number, index) in indices.enumerate() {
                    let bucket = usize::try_from(index >> shift).unwrap_or(usize::MAX);
                    let Some(&begin) = starts.get(bucket) else { continue };
                    let end = starts.get(bucket.saturating_add(1)).copied().unwrap_or(begin);
                    let bucket = &selected[begin as usize..end as usize];
                    // Nearly all have one index, or none.
                    let before = match bucket {
                        [only] if *only == index => Some(0),
                        [] | [_] => None,
                        several => several.binary_search(&index).ok(),
                    };
                    if let Some(before) = before {
                        hit(number, u64::from(begin) + before as u64);
                    }
                }
            }
            Self::Found(axis) => {
                for (number, index) in indices.enumerate() {
                    if let Some(position) = axis.position(index) {
                        hit(number, position as u64);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Finds the hits among indices, the first of which belongs to the stored element `first`.
struct Find<'a, 'o> {
    windows: &'a Windows<'o>,
    first: u64,
    hits: &'a mut ChunkHits,
}

impl Indices<()> for Find<'_, '_> {
    fn run<I: Copy + Ord + Into<u64>>(self, indices: &[I]) -> Result<()> {
        let Self { windows, first, hits } = self;
        let collect = |number, position| {
            hits.stored.push(first + number as u64);
            hits.secondary.push(position);
        };
        windows
            .filter
            .apply(indices, collect)
            .map_err(|number| windows.opened.outside(indices[number].into(), first + number as u64))
    }
}

/// What one chunk of `indices` gives.
#[derive(Default)]
struct ChunkHits {
    /// Positions among the stored elements.
    stored: Vec<u64>,
    secondary: Vec<u64>,
}

/// What a worker keeps between chunks.
#[derive(Default)]
struct Worker {
    chunks: reader::Worker,
    indices: Vec<u64>,
}

/// The windows of a selection, one after another.
pub(super) struct Windows<'o> {
    opened: &'o Opened<'o>,
    filter: Filter<'o>,
    target: ElementType,
    /// `(first stored element, number of them)` of each position of the primary axis' selection.
    stretches: Vec<(u64, usize)>,
    /// Stored elements of all of them.
    elements: usize,
    /// The position that comes next, and how much of it was in windows before.
    next: usize,
    done: usize,
    /// The last secondary position of the column (or row) that the last window ended in.
    last: Option<u64>,
}

impl<'o> Windows<'o> {
    pub(super) fn new(
        opened: &'o Opened<'o>,
        stretches: Vec<(u64, usize)>,
        secondary: &'o Axis,
        target: ElementType,
    ) -> Result<Self> {
        let filter = Filter::new(secondary, opened.matrix.secondary_extent())?;
        let elements = stretches.iter().map(|stretch| stretch.1).sum();
        Ok(Self { opened, filter, target, stretches, elements, next: 0, done: 0, last: None })
    }

    /// Begins again.
    pub(super) fn rewind(&mut self) {
        (self.next, self.done, self.last) = (0, 0, None);
    }

    /// Stored elements of all windows.
    pub(super) fn elements(&self) -> usize {
        self.elements
    }

    /// Whether the last window ended inside of a column (or row).
    pub(super) fn is_inside(&self) -> bool {
        self.done > 0
    }

    /// Whether one window holds everything that is left.
    pub(super) fn is_short(&self) -> bool {
        self.stretches[self.next..].iter().map(|stretch| stretch.1).sum::<usize>() - self.done <= ELEMENTS
    }

    /// Cuts off the next window's stretches: `(position, first stored element, number of them)`.
    fn cut(&mut self) -> Vec<(usize, u64, usize)> {
        let mut parts = Vec::new();
        let mut room = ELEMENTS;
        while let Some(&(start, len)) = self.stretches.get(self.next) {
            let left = len - self.done;
            let taken = left.min(room);
            if taken > 0 {
                parts.push((self.next, start + self.done as u64, taken));
            }
            room -= taken;
            if taken < left {
                self.done += taken;
                break;
            }
            (self.next, self.done) = (self.next + 1, 0);
        }
        parts
    }

    /// The next window; `None` after the last.
    pub(super) fn next(&mut self, want: Hits, control: &Control<'_>) -> Result<Option<Window>> {
        let begins_inside = self.done > 0;
        let parts = self.cut();
        if parts.is_empty() {
            return Ok(None);
        }
        let found = self.find(&parts, control)?;
        let (stored, secondary) = match <[ChunkHits; 1]>::try_from(found) {
            Ok([ChunkHits { stored, secondary }]) => (stored, secondary),
            Err(found) => (
                memory::collect(found.iter().flat_map(|hits| hits.stored.iter().copied()))?,
                memory::collect(found.iter().flat_map(|hits| hits.secondary.iter().copied()))?,
            ),
        };
        let mut window = Window { secondary, increasing: true, ..Window::default() };
        let mut begin = 0;
        for (number, &(position, start, len)) in parts.iter().enumerate() {
            let end = begin + stored[begin..].partition_point(|&stored| stored < start + len as u64);
            let hits = &window.secondary[begin..end];
            let before = if number == 0 && begins_inside { self.last } else { None };
            let follows = match (before, hits.first()) {
                (Some(before), Some(&first)) => before < first,
                _ => true,
            };
            window.increasing &= follows && hits.is_sorted_by(|a, b| a < b);
            self.last = hits.last().copied().or(before);
            if end > begin {
                window.segments.push((position, end - begin));
            }
            begin = end;
        }
        if want == Hits::WithValues {
            window.values = self.values(stored, control)?;
        }
        Ok(Some(window))
    }

    /// Decodes the indices of these stretches and finds the hits among them, chunk by chunk.
    fn find(&self, parts: &[(usize, u64, usize)], control: &Control<'_>) -> Result<Vec<ChunkHits>> {
        let reader = &self.opened.indices;
        let runs = memory::collect(parts.iter().map(|&(_, start, len)| (start, len)))?;
        let plan = Plan::new(reader.grid().clone(), &[Axis::Runs(runs)])?;
        let found: Vec<Mutex<ChunkHits>> = memory::collect((0..plan.jobs()).map(|_| Mutex::default()))?;
        let sweep = reader.next_sweep(&plan, self.elements);
        pool::for_each_with(sweep.threads(), control, plan.jobs(), |worker: &mut Worker, number| {
            let job = plan.job(number);
            let decoded = sweep.integers(number, &job, &mut worker.chunks)?;
            let hits = self.hits_of_chunk(&job, &decoded, &mut worker.indices)?;
            *found[number].lock().unwrap_or_else(PoisonError::into_inner) = hits;
            Ok(())
        })?;
        let found = found.into_iter().map(|hits| hits.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(memory::collect(found)?)
    }

    fn hits_of_chunk(
        &self,
        job: &Job<'_>,
        decoded: &Decoded<'_>,
        indices: &mut Vec<u64>,
    ) -> Result<ChunkHits> {
        let Some(&Piece::Runs(runs)) = job.pieces.first() else {
            return Err(Error::Internal("stretches are runs".into()));
        };
        let mut hits = ChunkHits::default();
        if matches!(self.filter, Filter::All { .. }) {
            let all = runs.iter().map(|run| run.len).sum();
            memory::reserve(&mut hits.stored, all)?;
            memory::reserve(&mut hits.secondary, all)?;
        }
        for &Run { source, len, .. } in runs {
            let first = job.offset[0] + source as u64;
            let find = Find { windows: self, first, hits: &mut hits };
            self.opened.with_indices(decoded, source, len, indices, find)?;
        }
        Ok(hits)
    }

    /// Decodes the values of these stored elements.
    fn values(&self, stored: Vec<u64>, control: &Control<'_>) -> Result<Vec<u8>> {
        let reader = &self.opened.data;
        let kernel = Kernel::new(self.opened.types.data, self.target)?;
        let mut values = memory::zeros(stored.len() * self.target.size())?;
        let plan = Plan::new(reader.grid().clone(), &[Axis::from_indices(stored)?])?;
        let output = Output::new(&mut values, &plan, kernel)?;
        reader.next_sweep(&plan, self.elements).read(&output, control)?;
        drop(output);
        Ok(values)
    }
}
