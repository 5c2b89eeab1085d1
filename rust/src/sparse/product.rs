//! Products with dense matrices: windows of stored elements, each multiplied while the next is decoded.
//!
//! A stored element adds a multiple of a row of the right-hand side to a row of the result. Which of the two follows
//! from the element's index, and is somewhere in memory, depends on the direction; so this one of them is gone through
//! by *bands* of rows that a core's cache holds. Where the rows of the result are the bands, each is one thread's;
//! where they are the columns (or rows) of the matrix, each thread has some of these. Either way the elements that go
//! into a row of the result are added in the order of the file.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::window::Filter;
use super::{Indices, Matrix, Opened};
use crate::element::{ElementType, Kind};
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{Job, Piece, Plan, Run};
use crate::pool::{self, Control};
use crate::product::{Left, Number, Right, add_row, is_exact};
use crate::reader::{self, Decoded, Request, Values};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;

/// Stored elements of a window, of which two are in memory at a time.
const ELEMENTS: usize = if crate::SMALL { 4 } else { 1 << 20 };

/// What a band should take, with room beside it in a cache of 1 MiB or more.
const BAND_BYTES: usize = if crate::SMALL { 32 } else { 512 << 10 };

/// Stored elements that a column should have in a band on average: it takes time to find them.
const PER_BAND: usize = if crate::SMALL { 1 } else { 16 };

/// A product of fewer multiplications than these is done sooner than another thread wakes up.
const FEW: usize = 1 << 14;

/// How a product ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in its place.
    Done,
    /// Elements with the same row and column have to be added up in a narrow type first, which is not done here.
    HasDuplicates,
}

/// Multiplies a selection of a matrix with a matrix in memory. Only what is stored is multiplied: zero times
/// infinity, where the zero is not stored, is nothing.
///
/// # Errors
/// As [`super::read`]; any index outside of the matrix is one, whatever the selection. [`Error::Structure`] also when
/// the sizes do not fit. The result is lost then.
pub fn multiply<N: Number>(
    matrix: &Matrix,
    left: &Left<'_>,
    right: &mut Right<'_, N>,
    control: &Control<'_>,
) -> Result<Outcome> {
    right.check(left)?;
    let (primary, secondary) = matrix.orient(left.rows, left.columns)?;
    // Whether rows of the result are positions of the primary axis.
    let gathers = matrix.by_column == left.transposed;
    Request::run(&matrix.path, |request| {
        right.out.fill(N::default());
        let opened = Opened::new(request, matrix)?;
        if !left.via.is_real() {
            return Err(Error::ElementType(format!("no product of dtype '{}'", left.via)));
        }
        let sweep = Sweep {
            filter: Filter::new(secondary, matrix.secondary_extent())?,
            opened: &opened,
            secondary,
            gathers,
            via: left.via,
            stretches: opened.stretches(primary)?,
        };
        if u32::try_from(matrix.secondary_extent()).is_ok() {
            sweep.run::<N, u32>(right, control)
        } else {
            sweep.run::<N, u64>(right, control)
        }
    })
}

/// Indices as they are kept in a window.
trait Index: Copy + Ord + Default + Into<u64> + Send + Sync + bytemuck::Pod {
    const ELEMENT: ElementType;
}

impl Index for u32 {
    const ELEMENT: ElementType = ElementType::U32;
}

impl Index for u64 {
    const ELEMENT: ElementType = ElementType::U64;
}

/// Consecutive stored elements of one position of the primary axis' selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    position: usize,
    /// Where they begin in the window.
    begin: usize,
    len: usize,
}

impl Segment {
    fn range(&self) -> Range<usize> {
        self.begin..self.begin + self.len
    }
}

/// Consecutive stored elements of the selection.
#[derive(Debug, Default)]
struct Window<N, I> {
    segments: Vec<Segment>,
    indices: Vec<I>,
    values: Vec<N>,
    /// Before they are converted for the second time.
    via: Vec<u8>,
    /// Whether indices increase strictly within each segment.
    increasing: bool,
}

/// Cuts the stretches of a selection into windows.
struct Cutter<'a> {
    stretches: &'a [(u64, usize)],
    next: usize,
    done: usize,
}

impl Cutter<'_> {
    /// The next window's segments, and the stored elements that they are.
    fn next(&mut self, room: usize) -> (Vec<Segment>, Axis) {
        let (mut segments, mut runs) = (Vec::new(), Vec::<(u64, usize)>::new());
        let mut filled = 0;
        while let Some(&(start, len)) = self.stretches.get(self.next) {
            let taken = (len - self.done).min(room - filled);
            if taken > 0 {
                let start = start + self.done as u64;
                segments.push(Segment { position: self.next, begin: filled, len: taken });
                match runs.last_mut() {
                    Some(last) if last.0 + last.1 as u64 == start => last.1 += taken,
                    _ => runs.push((start, taken)),
                }
            }
            filled += taken;
            self.done += taken;
            if self.done < len {
                break;
            }
            (self.next, self.done) = (self.next + 1, 0);
        }
        let stored = match runs.as_slice() {
            &[(start, len)] => Axis::Range { start, len, step: 1 },
            _ => Axis::Runs(runs),
        };
        (segments, stored)
    }
}

/// What a worker keeps between chunks.
#[derive(Default)]
struct Worker {
    chunks: reader::Worker,
    indices: Vec<u64>,
}

struct Sweep<'a> {
    opened: &'a Opened<'a>,
    filter: Filter<'a>,
    secondary: &'a Axis,
    gathers: bool,
    via: ElementType,
    stretches: Vec<(u64, usize)>,
}

impl Sweep<'_> {
    fn run<N: Number, I: Index>(&self, right: &mut Right<'_, N>, control: &Control<'_>) -> Result<Outcome> {
        let elements: usize = self.stretches.iter().map(|stretch| stretch.1).sum();
        // Sums of these depend on the type that they are made in.
        let narrow = match self.via.kind() {
            Kind::Bool => true,
            Kind::Int | Kind::UInt => self.via.size() < 8 || N::ELEMENT == ElementType::F64,
            _ => false,
        };
        let mut cutter = Cutter { stretches: &self.stretches, next: 0, done: 0 };
        let (mut here, mut next) = (Window::<N, I>::default(), Window::<N, I>::default());
        control.work().expect(elements as u64);
        // Where the last window ended: the position, and its last index.
        let mut end: Option<(usize, I)> = None;
        loop {
            let (segments, stored) = cutter.next(ELEMENTS);
            if segments.is_empty() && here.segments.is_empty() {
                return Ok(Outcome::Done);
            }
            next.segments = segments;
            self.advance(&here, (&mut next, &stored), elements, right, control)?;
            if !here.segments.is_empty() {
                control.work().advance(here.indices.len() as u64);
            }
            next.increasing = next
                .segments
                .iter()
                .all(|segment| super::whole::is_increasing(&next.indices[segment.range()]));
            let goes_on = next.segments.first().zip(end).is_some_and(|(first, (position, last))| {
                first.position == position && next.indices.first().is_some_and(|&index| index <= last)
            });
            if narrow && (goes_on || !next.increasing) {
                return Ok(Outcome::HasDuplicates);
            }
            end = next.segments.last().map(|last| last.position).zip(next.indices.last().copied());
            std::mem::swap(&mut here, &mut next);
        }
    }

    /// Multiplies one window and reads another.
    fn advance<N: Number, I: Index>(
        &self,
        current: &Window<N, I>,
        (next, stored): (&mut Window<N, I>, &Axis),
        elements: usize,
        right: &mut Right<'_, N>,
        control: &Control<'_>,
    ) -> Result<()> {
        let few = stored.len().max(current.indices.len()).saturating_mul(right.width) <= FEW;
        let parts = Parts::new(current, &self.filter, self.secondary, self.gathers, right)?;
        let (indices, data) = (&self.opened.indices, &self.opened.data);
        let selection = std::slice::from_ref(stored);
        let index_plan = Plan::new(indices.grid().clone(), selection)?;
        let data_plan = Plan::new(data.grid().clone(), selection)?;
        let types = self.opened.types;
        let twice = !is_exact(types.data, self.via);
        let target = if twice { self.via.to_native() } else { N::ELEMENT };
        memory::resize(&mut next.indices, stored.len(), I::default())?;
        memory::resize(&mut next.values, stored.len(), N::default())?;
        let buffer: &mut [u8] = if twice {
            memory::resize(&mut next.via, stored.len() * target.size(), 0)?;
            &mut next.via
        } else {
            bytemuck::cast_slice_mut(&mut next.values)
        };
        let index_kernel = Kernel::new(types.indices, I::ELEMENT)?;
        let narrow_kernel = Kernel::new(ElementType::U32, I::ELEMENT)?;
        let data_kernel = Kernel::new(types.data, target)?;
        let index_buffer = bytemuck::cast_slice_mut(&mut next.indices);
        let index_output = Output::new(index_buffer, &index_plan, index_kernel)?;
        let data_output = Output::new(buffer, &data_plan, data_kernel)?;
        let (index_sweep, data_sweep) =
            (indices.next_sweep(&index_plan, elements), data.next_sweep(&data_plan, elements));
        let threads = if few { index_sweep.threads().max(data_sweep.threads()) } else { usize::MAX };
        let jobs = parts.len() + index_plan.jobs() + data_plan.jobs();
        pool::for_each_with(threads, control, jobs, |worker: &mut Worker, number| {
            let Some(number) = number.checked_sub(parts.len()) else {
                parts.multiply(number);
                return Ok(());
            };
            if let Some(number) = number.checked_sub(index_plan.jobs()) {
                return data_sweep.copy(number, &data_output, &mut worker.chunks);
            }
            let job = index_plan.job(number);
            let decoded = index_sweep.integers(number, &job, &mut worker.chunks)?;
            self.check(&job, &decoded, &mut worker.indices)?;
            match decoded.values() {
                Some(Values::Narrow(values)) => index_output.chunk_of(number, values, narrow_kernel),
                _ => index_sweep.write(&index_output, number, &decoded),
            }
        })?;
        index_output.finish()?;
        data_output.finish()?;
        if twice {
            let values = bytemuck::cast_slice_mut(&mut next.values);
            Kernel::new(target, N::ELEMENT)?.convert(&next.via, values);
        }
        Ok(())
    }

    /// Checks that the indices that a job wants of its chunk are inside of the matrix.
    fn check(&self, job: &Job<'_>, decoded: &Decoded<'_>, room: &mut Vec<u64>) -> Result<()> {
        let mut check = |source: usize, len: usize| {
            let check = Inside { opened: self.opened, first: job.offset[0] + source as u64 };
            self.opened.with_indices(decoded, source, len, room, check)
        };
        match job.pieces.first() {
            None => Ok(()),
            Some(&Piece::Strided { source, len, .. }) => check(source, len),
            Some(Piece::Runs(runs)) => {
                runs.iter().try_for_each(|&Run { source, len, .. }| check(source, len))
            }
            Some(Piece::Gather { .. }) => Err(Error::Internal("stretches are never gathered".into())),
        }
    }
}

/// Checks indices, the first of which belongs to the stored element `first`.
struct Inside<'a> {
    opened: &'a Opened<'a>,
    first: u64,
}

impl Indices<()> for Inside<'_> {
    fn run<I: Copy + Ord + Into<u64>>(self, indices: &[I]) -> Result<()> {
        let extent = self.opened.matrix.secondary_extent();
        // In blocks that are gone through without a branch for each.
        let largest = indices.chunks(64).filter_map(|block| block.iter().copied().max()).max();
        if largest.is_none_or(|largest| largest.into() < extent) {
            return Ok(());
        }
        let at = indices.iter().position(|&index| index.into() >= extent).unwrap_or(0);
        Err(self.opened.outside(indices[at].into(), self.first + at as u64))
    }
}

/// A window's product, cut into what one thread does at a time.
struct Parts<'a, N, I> {
    window: &'a Window<N, I>,
    filter: &'a Filter<'a>,
    right: &'a [N],
    width: usize,
    /// Where bands end among the secondary axis' indices, if there are several.
    bands: Vec<u64>,
    jobs: Vec<Mutex<Part<'a, N>>>,
}

/// Rows of the result, and what is added to them.
struct Part<'a, N> {
    /// Segments that are gone through.
    segments: Range<usize>,
    /// Indices that matter, where the rows are those of a band; else all do.
    band: Option<Range<u64>>,
    /// The row that `out` begins with.
    first: usize,
    out: &'a mut [N],
}

impl<'a, N: Number, I: Index> Parts<'a, N, I> {
    fn new(
        window: &'a Window<N, I>,
        filter: &'a Filter<'a>,
        secondary: &Axis,
        gathers: bool,
        right: &'a mut Right<'_, N>,
    ) -> Result<Self> {
        let width = right.width;
        let mut made =
            Self { window, filter, right: right.values, width, bands: Vec::new(), jobs: Vec::new() };
        if width == 0 || window.segments.is_empty() || secondary.is_empty() {
            return Ok(made);
        }
        let threads = pool::num_threads()?;
        let row_bytes = width * size_of::<N>();
        let enough = window.indices.len() / window.segments.len() / PER_BAND;
        let fitting = secondary.len().saturating_mul(row_bytes).div_ceil(BAND_BYTES);
        let least = if gathers { 1 } else { 2 * threads };
        // Indices in any order are all looked at for each band.
        let most = if window.increasing { enough.max(least) } else { least };
        let band_rows = secondary.len().div_ceil(fitting.max(least).min(most)).max(1);
        let edge = |position: usize| secondary.get(position).unwrap_or(u64::MAX);
        if gathers {
            let ends = (0..secondary.len()).step_by(band_rows).map(|at| edge(at + band_rows));
            made.bands = memory::collect(ends)?;
            made.jobs = by_segments(&window.segments, window.indices.len(), 2 * threads, width, right.out);
        } else {
            let bands = right.out.chunks_mut(band_rows * width).enumerate();
            made.jobs = memory::collect(bands.map(|(number, out)| {
                let first = number * band_rows;
                let begin = if first == 0 { 0 } else { edge(first) };
                let band = Some(begin..edge(first + band_rows));
                Mutex::new(Part { segments: 0..window.segments.len(), band, first, out })
            }))?;
        }
        Ok(made)
    }

    fn len(&self) -> usize {
        self.jobs.len()
    }

    fn multiply(&self, number: usize) {
        let mut part = self.jobs[number].lock().unwrap_or_else(PoisonError::into_inner);
        let Part { segments, band, first, out } = &mut *part;
        let segments = &self.window.segments[segments.clone()];
        match band {
            Some(band) => self.scatter(segments, band, *first, out),
            None => self.gather(segments, *first, out),
        }
    }

    /// Rows of the result follow from indices.
    fn scatter(&self, segments: &[Segment], band: &Range<u64>, first: usize, out: &mut [N]) {
        let Self { window, width, .. } = *self;
        for segment in segments {
            let row = &self.right[segment.position * width..][..width];
            let mut range = segment.range();
            if window.increasing {
                let indices = &window.indices[range.clone()];
                let end = indices.partition_point(|&index| index.into() < band.end);
                let begin = indices[..end].partition_point(|&index| index.into() < band.start);
                range = range.start + begin..range.start + end;
                self.for_each(range, |value, position| {
                    add_row(&mut out[(position - first) * width..][..width], value, row);
                });
            } else {
                let rows = out.len() / width;
                self.for_each(range, |value, position| {
                    let row_of_band = position.wrapping_sub(first);
                    if row_of_band < rows {
                        add_row(&mut out[row_of_band * width..][..width], value, row);
                    }
                });
            }
        }
    }

    /// Rows of the result are positions of the primary axis.
    fn gather(&self, segments: &[Segment], first: usize, out: &mut [N]) {
        let Self { window, width, right, .. } = *self;
        let add = |range: Range<usize>, sum: &mut [N]| {
            self.for_each(range, |value, position| add_row(sum, value, &right[position * width..][..width]));
        };
        if self.bands.len() < 2 || !window.increasing {
            for segment in segments {
                add(segment.range(), &mut out[(segment.position - first) * width..][..width]);
            }
            return;
        }
        // What is left of each.
        #[allow(clippy::disallowed_methods, reason = "no more than a window's elements")]
        let mut left: Vec<Range<usize>> = segments.iter().map(Segment::range).collect();
        for &end in &self.bands {
            for (segment, left) in segments.iter().zip(&mut left) {
                let len = window.indices[left.clone()].partition_point(|&index| index.into() < end);
                let sum = &mut out[(segment.position - first) * width..][..width];
                add(left.start..left.start + len, sum);
                left.start += len;
            }
        }
    }

    /// Calls `f` with the value of each of these elements that is selected, and its position in the selection of the
    /// secondary axis.
    #[inline(always)]
    fn for_each(&self, range: Range<usize>, mut f: impl FnMut(N, usize)) {
        let values = &self.window.values[range.clone()];
        // All indices are inside, as was checked.
        let _ = self.filter.apply(&self.window.indices[range], |number, position| {
            f(values[number], position as usize);
        });
    }
}

/// Cuts segments into parts of about as many elements, each with its own rows of the result.
fn by_segments<'a, N>(
    segments: &[Segment],
    elements: usize,
    parts: usize,
    width: usize,
    out: &'a mut [N],
) -> Vec<Mutex<Part<'a, N>>> {
    let per_part = elements.div_ceil(parts);
    let mut cut = Vec::new();
    let (mut rest, mut given) = (out, 0);
    let (mut begin, mut filled) = (0, 0);
    for (number, segment) in segments.iter().enumerate() {
        filled += segment.len;
        if filled >= per_part || number + 1 == segments.len() {
            let first = segments[begin].position;
            let (_, from_first) = std::mem::take(&mut rest).split_at_mut((first - given) * width);
            let (out, after) = from_first.split_at_mut((segment.position + 1 - first) * width);
            cut.push(Mutex::new(Part { segments: begin..number + 1, band: None, first, out }));
            (rest, given) = (after, segment.position + 1);
            (begin, filled) = (number + 1, 0);
        }
    }
    cut
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    /// A matrix as lists of stored elements, in the order of the file, and the extent of its secondary axis.
    fn matrix() -> impl Strategy<Value = (Vec<Vec<(u32, i64)>>, u32)> {
        (1u32..30, any::<bool>()).prop_flat_map(|(extent, canonical)| {
            let column = vec((0..extent, -9i64..10), 0..40).prop_map(move |mut column| {
                if canonical {
                    column.sort_by_key(|element| element.0);
                    column.dedup_by_key(|element| element.0);
                }
                column
            });
            (vec(column, 1..20), Just(extent))
        })
    }

    fn secondary(extent: u32) -> impl Strategy<Value = Axis> {
        prop_oneof![
            Just(Axis::all(u64::from(extent)).unwrap()),
            (0..extent).prop_map(move |start| Axis::Range {
                start: u64::from(start),
                len: (extent - start) as usize,
                step: 1
            }),
            btree_set(0..u64::from(extent), 1..=extent as usize)
                .prop_map(|set| Axis::from_indices(set.into_iter().collect()).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn windows_are_multiplied_as_by_hand(
            ((columns, extent), secondary) in matrix().prop_flat_map(|(columns, extent)| {
                (Just((columns, extent)), secondary(extent))
            }),
            gathers: bool,
            width in 0usize..5,
            room in 1usize..100,
        ) {
            let extent = u64::from(extent);
            let filter = Filter::new(&secondary, extent).unwrap();
            let (outer, inner) =
                if gathers { (columns.len(), secondary.len()) } else { (secondary.len(), columns.len()) };
            let right: Vec<i64> = (0..inner * width).map(|i| (i as i64 * 37) % 23 - 11).collect();
            let mut want = vec![0; outer * width];
            let mut stored = Vec::new();
            let mut stretches = Vec::new();
            for (column, elements) in columns.iter().enumerate() {
                stretches.push((stored.len() as u64, elements.len()));
                stored.extend_from_slice(elements);
                for &(index, value) in elements {
                    let Some(position) = secondary.position(u64::from(index)) else { continue };
                    let (to, from) = if gathers { (column, position) } else { (position, column) };
                    for j in 0..width {
                        want[to * width + j] += value * right[from * width + j];
                    }
                }
            }
            let mut got = vec![0; outer * width];
            let mut cutter = Cutter { stretches: &stretches, next: 0, done: 0 };
            let mut seen = 0;
            loop {
                let (segments, axis) = cutter.next(room);
                if segments.is_empty() {
                    break;
                }
                let elements: Vec<(u32, i64)> =
                    (0..axis.len()).map(|i| stored[axis.get(i).unwrap() as usize]).collect();
                seen += elements.len();
                let indices: Vec<u32> = elements.iter().map(|element| element.0).collect();
                let increasing =
                    segments.iter().all(|segment| super::super::whole::is_increasing(&indices[segment.range()]));
                let values = elements.iter().map(|element| element.1).collect();
                let window = Window { segments, indices, values, via: Vec::new(), increasing };
                let mut right = Right { values: &right, width, out: &mut got };
                let parts = Parts::new(&window, &filter, &secondary, gathers, &mut right).unwrap();
                // In any order.
                for number in (0..parts.len()).rev() {
                    parts.multiply(number);
                }
            }
            prop_assert_eq!(seen, stored.len());
            prop_assert_eq!(got, want);
        }
    }
}
