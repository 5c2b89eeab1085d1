//! Statistics of matrices.
//!
//! Stored elements are gone through in *blocks*, at whose edges both datasets have an edge of a chunk, so that each chunk is
//! decoded once. A unit is some blocks. What the file does not store is zero, and is added at the end.
//!
//! Two kinds of matrices go through [`super::window`] instead, one window after another: those with elements that are there
//! more than once, which have to be added up before anything else is done with them, and those whose chunks have no edges
//! in common for too long.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::window::{Filter, Hits};
use super::{Indices, Matrix, Opened, Types, canonical};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{PerAxis, Piece, Plan};
use crate::pool::{self, Control};
use crate::reader::{self, Request};
use crate::reduce::cells::{Cells, Counts, Part, PerCell, merge_part};
use crate::reduce::compressed;
use crate::reduce::number::Number;
use crate::reduce::order::InOrder;
use crate::reduce::running::Scattered;
use crate::reduce::{Statistics, Use, View, check_element, with_number};
use crate::scatter::{Kernel, Output};
use crate::selection::{Axis, to_len};

/// Stored elements of a unit, at least.
const UNIT_ELEMENTS: u64 = if crate::SMALL { 4 } else { 1 << 17 };

/// Units have so many stored elements for each cell of the other axis, so that merging them costs little.
const ELEMENTS_PER_CELL: u64 = if crate::SMALL { 1 } else { 8 };

/// The longest block.
const BLOCK_ELEMENTS: u64 = if crate::SMALL { 16 } else { 1 << 22 };

/// Bytes of a unit's cells that may lie and wait to be merged.
const SMALL_PART: usize = 1 << 20;

/// Elements that are brought into canonical form at a time.
const CANONICAL_ELEMENTS: usize = if crate::SMALL { 4 } else { 1 << 20 };

/// Statistics of a selection of a matrix whose elements are first converted to `target`, one [`Statistics`] for each view;
/// what the file does not store counts as zeros. The axes of views are rows and columns.
///
/// `skips_nan` leaves NaNs out. Memory: a few chunks for each thread, and the cells of the views, for each thread too where
/// they are those of the axis that the matrix is not compressed along.
///
/// # Errors
/// As [`super::read`]; [`Error::ElementType`] when `target` is no native type of numbers or booleans, [`Error::Structure`]
/// when a view does not fit the selection.
#[allow(clippy::too_many_arguments)]
pub fn reduce(
    matrix: &Matrix,
    rows: &Axis,
    columns: &Axis,
    target: ElementType,
    views: &[View],
    skips_nan: bool,
    control: &Control<'_>,
) -> Result<Vec<Statistics>> {
    check_element(target)?;
    let (primary, secondary) = matrix.orient(rows, columns)?;
    let selected = [rows.len(), columns.len()];
    for view in views {
        view.check(&selected)?;
    }
    Request::run(&matrix.path, |request| {
        let opened = Opened::new(request, matrix)?;
        let needs_zeros = views.iter().any(|view| view.wanted.moments || view.wanted.extremes);
        let counts = Counts { skips_nan, present: skips_nan, stored: needs_zeros || skips_nan };
        let kernel = Kernel::new(opened.types.data, target)?;
        let sweep = Sweep { opened: &opened, primary, secondary, selected, target, kernel, views, counts };
        macro_rules! run {
            ($t:ty) => {
                sweep.run::<$t>(control)
            };
        }
        with_number!(target, run)
    })
}

/// What all units of a sweep share.
struct Sweep<'a> {
    opened: &'a Opened<'a>,
    primary: &'a Axis,
    secondary: &'a Axis,
    /// Selected rows and columns.
    selected: [usize; 2],
    target: ElementType,
    kernel: Kernel,
    views: &'a [View],
    counts: Counts,
}

/// What a worker keeps between units.
struct Worker<T: Number> {
    read: Reading,
    /// For each view.
    scattered: Vec<Scattered<T>>,
}

impl<T: Number> Default for Worker<T> {
    fn default() -> Self {
        Self { read: Reading::default(), scattered: Vec::new() }
    }
}

/// What a worker keeps between blocks.
#[derive(Default)]
struct Reading {
    chunks: reader::Worker,
    /// Room for indices that have to be converted.
    wide: Vec<u64>,
    found: Found,
    /// Of `u64` for the sake of alignment.
    values: Vec<u64>,
}

/// Elements of a block that are in the selection.
#[derive(Default)]
struct Found {
    /// `(position in the selection of the primary axis, number of elements)`.
    segments: Vec<(usize, usize)>,
    /// Position of each in the selection of the secondary axis.
    secondary: Vec<u32>,
    /// Its place among the stored elements, where not all are selected.
    stored: Vec<u64>,
}

/// A position of the primary axis, and one of the secondary.
type Edge = (usize, u32);

impl Sweep<'_> {
    fn run<T: Number>(&self, control: &Control<'_>) -> Result<Vec<Statistics>> {
        let mut totals = memory::with_capacity(self.views.len())?;
        for view in self.views {
            totals.push(Cells::<T>::new(&view.lens(&self.selected), view.wanted, self.counts)?);
        }
        let in_blocks = match self.block() {
            Some(block) => self.by_blocks(block, &mut totals, control)?,
            None => false,
        };
        if !in_blocks {
            for (view, total) in self.views.iter().zip(&mut totals) {
                *total = Cells::new(&view.lens(&self.selected), view.wanted, self.counts)?;
            }
            self.by_windows(&mut totals, control)?;
        }
        let mut results = memory::with_capacity(self.views.len())?;
        for (view, cells) in self.views.iter().zip(totals) {
            let mut result = Statistics::new::<T>(&view.lens(&self.selected), view.wanted)?;
            let sizes = PerCell::of_view(view, &self.selected)?;
            cells.finish(&sizes, &[0, 0], &mut result);
            results.push(result);
        }
        Ok(results)
    }

    /// How many stored elements there are from one common edge of the two datasets' chunks to the next.
    fn block(&self) -> Option<u64> {
        let (indices, data) = (self.opened.indices.grid().chunk()[0], self.opened.data.grid().chunk()[0]);
        let (mut a, mut b) = (indices, data);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let common = (indices / a).checked_mul(data)?;
        let is_short = common <= BLOCK_ELEMENTS || common == indices.max(data);
        // A position of the secondary axis is kept in 32 bits.
        (is_short && u32::try_from(self.opened.matrix.secondary_extent()).is_ok()).then_some(common)
    }

    /// Stored elements of a position of the primary axis' selection.
    fn stretch(&self, position: usize) -> Range<u64> {
        let index = self.primary.get(position).unwrap_or(0) as usize;
        self.opened.pointers[index]..self.opened.pointers[index + 1]
    }

    /// Positions of the primary axis with elements among these stored ones, perhaps after some without any.
    fn positions(&self, stored: &Range<u64>) -> Range<usize> {
        let search = |is_before: &dyn Fn(Range<u64>) -> bool| {
            let (mut low, mut high) = (0, self.primary.len());
            while low < high {
                let middle = low.midpoint(high);
                if is_before(self.stretch(middle)) { low = middle + 1 } else { high = middle }
            }
            low
        };
        search(&|stretch| stretch.end <= stored.start)..search(&|stretch| stretch.start < stored.end)
    }

    /// The units: stored elements from one multiple of `len` to the next, where any are selected.
    fn units(&self, len: u64) -> Result<Vec<Range<u64>>> {
        // No more than these, of all that the file says that there are; checked before they are listed.
        let stored = self.opened.pointers.last().copied().unwrap_or(0);
        let mut units: Vec<Range<u64>> = memory::with_capacity(to_len(stored.div_ceil(len))?)?;
        let mut next = 0;
        loop {
            let position = self.positions(&(next..next + 1)).start;
            // Positions without elements are skipped.
            let found = (position..self.primary.len())
                .map(|position| self.stretch(position))
                .find(|stretch| !stretch.is_empty());
            let Some(stretch) = found else { return Ok(units) };
            let start = stretch.start.max(next) / len * len;
            memory::push(&mut units, start..start + len)?;
            next = start + len;
        }
    }

    /// Goes through the blocks. Whether it got to the end: not, if elements are out of order or there more than once.
    fn by_blocks<T: Number>(
        &self,
        block: u64,
        totals: &mut [Cells<T>],
        control: &Control<'_>,
    ) -> Result<bool> {
        let secondary_axis = 1 - self.opened.matrix.primary_axis();
        let mut cells = 0;
        let mut bytes = 0;
        for view in self.views {
            if view.axes[secondary_axis] != Use::Reduce {
                let len = view.lens(&self.selected)[secondary_axis];
                cells = len.max(cells);
                bytes += len * Cells::<T>::bytes(view.wanted, self.counts);
            }
        }
        let wanted = UNIT_ELEMENTS.max(ELEMENTS_PER_CELL * cells as u64);
        let units = self.units(wanted.div_ceil(block) * block)?;
        let filter = Filter::new(self.secondary, self.opened.matrix.secondary_extent())?;
        let room = if bytes <= SMALL_PART { 2 * pool::num_threads()? } else { 0 };
        let is_ordered = AtomicBool::new(true);
        let mut last: Option<Edge> = None;
        let order = InOrder::new(room, |(part, first, end): (Part<T>, Option<Edge>, Option<Edge>)| {
            if !follows(last, first) {
                is_ordered.store(false, Ordering::Relaxed);
                return Err(Error::Internal("elements out of order".into()));
            }
            last = end.or(last);
            merge_part(totals, &part);
            Ok(())
        });
        let work = control.work();
        work.expect(units.len() as u64);
        let result = pool::for_each_in_order(control, units.len(), |worker: &mut Worker<T>, number| {
            order.bring(number, || {
                let unit = self.unit(&units[number], block, &filter, worker)?;
                unit.ok_or_else(|| {
                    is_ordered.store(false, Ordering::Relaxed);
                    Error::Internal("elements out of order".into())
                })
            })?;
            work.advance(1);
            Ok(())
        });
        let finished = result.and_then(|()| order.finish(units.len()));
        if is_ordered.into_inner() { finished.map(|()| true) } else { Ok(false) }
    }

    /// Folds the elements of a unit; with its first and its last one. `None` if they are out of order.
    #[allow(clippy::type_complexity)]
    fn unit<T: Number>(
        &self,
        unit: &Range<u64>,
        block: u64,
        filter: &Filter<'_>,
        worker: &mut Worker<T>,
    ) -> Result<Option<(Part<T>, Option<Edge>, Option<Edge>)>> {
        let positions = self.positions(unit);
        let mut part = self.part(&positions)?;
        let Worker { read: worker, scattered } = worker;
        let axis = self.opened.matrix.primary_axis();
        *scattered = compressed::scattered(self.views, &part, axis, std::mem::take(scattered))?;
        let (mut first, mut last) = (None, None);
        for start in (unit.start..unit.end).step_by(block as usize) {
            let block = start..start + block;
            let runs = self.runs(&block)?;
            if !self.find(&block, &runs, filter, worker)? {
                return Ok(None);
            }
            let Found { segments, secondary, .. } = &worker.found;
            let (Some(&begin), Some(&end)) = (segments.first(), segments.last()) else { continue };
            let edge = |position, index: Option<&u32>| index.map(|&index| (position, index));
            let begin = edge(begin.0, secondary.first());
            if !follows(last, begin) {
                return Ok(None);
            }
            first = first.or(begin);
            last = edge(end.0, secondary.last());
            self.values(runs, worker)?;
            let Found { segments, secondary, .. } = &worker.found;
            let values = &bytemuck::cast_slice(&worker.values)[..secondary.len()];
            self.fold(&mut part, scattered, positions.start, segments, secondary, values);
        }
        compressed::settle(&mut part, scattered);
        Ok(Some((part, first, last)))
    }

    /// Cells for these positions of the primary axis.
    fn part<T: Number>(&self, positions: &Range<usize>) -> Result<Part<T>> {
        let axis = self.opened.matrix.primary_axis();
        let mut selected = self.selected;
        selected[axis] = positions.len();
        let mut part = memory::with_capacity(self.views.len())?;
        for view in self.views {
            let mut origin = PerAxis::from_elem(0, 2);
            if view.axes[axis] == Use::Keep {
                origin[axis] = positions.start;
            }
            part.push((origin, Cells::new(&view.lens(&selected), view.wanted, self.counts)?));
        }
        Ok(part)
    }

    /// Finds the elements of a block that are in the selection, among the `runs` of its columns (or rows). Whether they are in order.
    fn find(
        &self,
        block: &Range<u64>,
        runs: &Axis,
        filter: &Filter<'_>,
        worker: &mut Reading,
    ) -> Result<bool> {
        let Reading { chunks, wide, found, .. } = worker;
        found.segments.clear();
        found.secondary.clear();
        found.stored.clear();
        let reader = &self.opened.indices;
        let plan = Plan::new(reader.grid().clone(), std::slice::from_ref(runs))?;
        let sweep = reader.part_of_sweep(&plan, reader.grid().len() as usize);
        let (mut position, mut ordered) = (self.positions(block).start, true);
        for number in 0..plan.jobs() {
            let job = plan.job(number);
            let decoded = sweep.integers(number, &job, chunks)?;
            let Some(&Piece::Runs(runs)) = job.pieces.first() else {
                return Err(Error::Internal("stretches are runs".into()));
            };
            for run in runs {
                let first = job.offset[0] + run.source as u64;
                let take = Take { sweep: self, filter, first, position: &mut position, found };
                ordered &= self.opened.with_indices(&decoded, run.source, run.len, wide, take)?;
            }
        }
        Ok(ordered)
    }

    /// Stored elements of a block that belong to selected positions of the primary axis; runs that follow each other are
    /// one.
    fn runs(&self, block: &Range<u64>) -> Result<Axis> {
        let mut runs: Vec<(u64, usize)> = Vec::new();
        for position in self.positions(block) {
            let stretch = self.stretch(position);
            let (start, end) = (stretch.start.max(block.start), stretch.end.min(block.end));
            let len = end.saturating_sub(start) as usize;
            match runs.last_mut() {
                Some(last) if last.0 + last.1 as u64 == start => last.1 += len,
                _ if len > 0 => memory::push(&mut runs, (start, len))?,
                _ => {}
            }
        }
        Ok(Axis::Runs(runs))
    }

    /// Reads the values of the elements that were found in a block.
    fn values(&self, runs: Axis, worker: &mut Reading) -> Result<()> {
        let Reading { chunks, found, values, .. } = worker;
        let reader = &self.opened.data;
        // Of a selection of both axes, only chunks that have any of it.
        let axis = if found.stored.is_empty() {
            runs
        } else {
            Axis::from_indices(std::mem::take(&mut found.stored))?
        };
        let plan = Plan::new(reader.grid().clone(), &[axis])?;
        let bytes = found.secondary.len() * self.target.size();
        let words = bytes.div_ceil(8);
        if values.len() < words {
            memory::resize(values, words, 0)?;
        }
        let output = Output::new(&mut bytemuck::cast_slice_mut(values)[..bytes], &plan, self.kernel)?;
        let sweep = reader.part_of_sweep(&plan, reader.grid().len() as usize);
        for number in 0..plan.jobs() {
            sweep.copy(number, &output, chunks)?;
        }
        output.finish().map(|_| ())
    }

    /// Takes elements into the cells of a part whose first position of the primary axis is `first`.
    fn fold<T: Number, I: Copy + TryInto<usize>>(
        &self,
        part: &mut Part<T>,
        scattered: &mut [Scattered<T>],
        first: usize,
        segments: &[(usize, usize)],
        secondary: &[I],
        values: &[T],
    ) {
        let axis = self.opened.matrix.primary_axis();
        let mut cells = [0; 2];
        cells[axis] = first;
        let segments = segments.iter().copied();
        compressed::fold(self.views, part, scattered, axis, cells, &segments, (secondary, 0), values);
    }

    /// Goes through windows, one after another, and brings whole columns (or rows) into canonical form.
    fn by_windows<T: Number>(&self, totals: &mut [Cells<T>], control: &Control<'_>) -> Result<()> {
        let types = Types { data: self.target, indices: ElementType::U64 };
        let mut windows = self.opened.windows(self.primary, self.secondary, self.target)?;
        let (mut segments, mut indices, mut values) = (Vec::<(usize, usize)>::new(), Vec::new(), Vec::new());
        let mut scattered = Vec::new();
        let work = control.work();
        work.expect(windows.elements() as u64);
        loop {
            let window = windows.next(Hits::WithValues, control)?;
            let is_last = window.is_none();
            if let Some(window) = window {
                for &(position, count) in &window.segments {
                    match segments.last_mut() {
                        Some(last) if last.0 == position => last.1 += count,
                        _ => segments.push((position, count)),
                    }
                }
                memory::append(&mut indices, bytemuck::cast_slice(&window.secondary))?;
                memory::append(&mut values, &window.values)?;
            }
            if !is_last && (windows.is_inside() || indices.len() < CANONICAL_ELEMENTS * size_of::<u64>()) {
                continue;
            }
            let mut pointers: Vec<u64> = memory::with_capacity(segments.len() + 1)?;
            pointers.push(0);
            pointers.extend(segments.iter().scan(0, |end, &(_, count)| {
                *end += count as u64;
                Some(*end)
            }));
            canonical::make(&mut pointers, &mut indices, &mut values, types, control)?;
            let counts = pointers.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
            let left = memory::collect(segments.iter().map(|segment| segment.0).zip(counts))?;
            let count = pointers.last().copied().unwrap_or(0) as usize;
            let secondary: Vec<u64> = numbers(&indices, count)?;
            let elements: Vec<T> = numbers(&values, count)?;
            if let (Some(first), Some(last)) = (left.first(), left.last()) {
                let positions = first.0..last.0 + 1;
                let mut part = self.part(&positions)?;
                let axis = self.opened.matrix.primary_axis();
                scattered = compressed::scattered(self.views, &part, axis, scattered)?;
                self.fold(&mut part, &mut scattered, positions.start, &left, &secondary, &elements);
                compressed::settle(&mut part, &mut scattered);
                merge_part(totals, &part);
            }
            work.advance(count as u64);
            segments.clear();
            indices.clear();
            values.clear();
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Takes the indices of some consecutive stored elements, the first of which is `first`. Whether they increase.
struct Take<'a, 's> {
    sweep: &'a Sweep<'s>,
    filter: &'a Filter<'a>,
    first: u64,
    /// The position of the primary axis that comes next, or the one that is not done.
    position: &'a mut usize,
    found: &'a mut Found,
}

impl Indices<bool> for Take<'_, '_> {
    fn run<I: Copy + Ord + Into<u64>>(self, indices: &[I]) -> Result<bool> {
        let Self { sweep, filter, first, position, found } = self;
        let (mut ordered, mut done) = (true, 0);
        while done < indices.len() {
            let stored = first + done as u64;
            let mut stretch = sweep.stretch(*position);
            while stretch.end <= stored {
                *position += 1;
                stretch = sweep.stretch(*position);
            }
            let len = (indices.len() - done).min((stretch.end - stored) as usize);
            let before = found.secondary.len();
            let continues = found.segments.last().is_some_and(|last| last.0 == *position && last.1 > 0);
            let all = matches!(filter, Filter::All { .. });
            filter
                .apply(&indices[done..done + len], |number, place| {
                    found.secondary.push(place as u32);
                    if !all {
                        found.stored.push(stored + number as u64);
                    }
                })
                .map_err(|number| {
                    let number = done + number;
                    sweep.opened.outside(indices[number].into(), first + number as u64)
                })?;
            let count = found.secondary.len() - before;
            let from = before - usize::from(continues);
            ordered &= found.secondary[from..].is_sorted_by(|a, b| a < b);
            if count > 0 {
                match found.segments.last_mut() {
                    Some(last) if continues => last.1 += count,
                    _ => found.segments.push((*position, count)),
                }
            }
            done += len;
        }
        Ok(ordered)
    }
}

/// The first numbers among bytes that may lie anywhere.
fn numbers<N: bytemuck::Pod>(bytes: &[u8], count: usize) -> Result<Vec<N>> {
    let numbers = bytes.chunks_exact(size_of::<N>()).take(count).map(bytemuck::pod_read_unaligned);
    Ok(memory::collect(numbers)?)
}

/// Whether an element may stand after another in the file.
fn follows(last: Option<Edge>, next: Option<Edge>) -> bool {
    match (last, next) {
        (Some(last), Some(next)) => last.0 != next.0 || last.1 < next.1,
        _ => true,
    }
}
