//! Plans: which chunks a selection touches, and for each which of its elements go where.
//!
//! Pure arithmetic over plain data; no file is needed to plan, nor to test the plan. The output is a
//! C-contiguous array of the selection's shape. What the plan promises, and its tests check against an
//! obvious twin: the jobs together write each element of the output exactly once.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;

use smallvec::SmallVec;

use crate::chunks::Grid;
use crate::error::{Error, Result};
use crate::memory::{self, NoMemory};
use crate::selection::Axis;

/// Room for the rank of nearly every dataset without an allocation.
pub type PerAxis<T> = SmallVec<[T; 4]>;

/// Collects what there is one of for each axis.
#[allow(clippy::disallowed_methods, reason = "32 axes at most")]
pub(crate) fn per_axis<T>(values: impl Iterator<Item = T>) -> PerAxis<T> {
    values.collect()
}

/// Consecutive elements of a chunk that go to consecutive places of the output, along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First index within the chunk.
    pub source: usize,
    /// First index within the output.
    pub target: usize,
    /// How many.
    pub len: usize,
}

/// Along one axis, the elements of a chunk that are wanted and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// `len` elements, `step` apart in the chunk, to consecutive places.
    Strided {
        /// First index within the chunk.
        source: usize,
        /// Distance between neighbours in the chunk.
        step: usize,
        /// First index within the output.
        target: usize,
        /// How many.
        len: usize,
    },
    /// The elements at these indices of the dataset (less `base`, of the chunk), to consecutive places.
    Gather {
        /// Indices along the dataset's axis, increasing.
        indices: &'a [u64],
        /// Where the chunk starts along that axis.
        base: u64,
        /// First index within the output.
        target: usize,
    },
    /// Several runs.
    Runs(&'a [Run]),
}

impl Piece<'_> {
    /// Calls `f` with the index within the chunk and the index within the output of each element.
    pub fn for_each(&self, mut f: impl FnMut(usize, usize)) {
        match *self {
            Self::Strided { source, step, target, len } => {
                for i in 0..len {
                    f(source + i * step, target + i);
                }
            }
            Self::Gather { indices, base, target } => {
                for (i, &index) in indices.iter().enumerate() {
                    f((index - base) as usize, target + i);
                }
            }
            Self::Runs(runs) => {
                for run in runs {
                    for i in 0..run.len {
                        f(run.source + i, run.target + i);
                    }
                }
            }
        }
    }

    /// How many elements are wanted along this axis.
    pub fn count(&self) -> usize {
        match *self {
            Self::Strided { len, .. } => len,
            Self::Gather { indices, .. } => indices.len(),
            Self::Runs(runs) => runs.iter().map(|run| run.len).sum(),
        }
    }

    /// One of `of` parts that are about as long; `None` when nothing is left for it.
    pub fn part(&self, number: usize, of: usize) -> Option<Self> {
        let cut = |len: usize| {
            let at = |number: usize| (len as u128 * number as u128 / of as u128) as usize;
            Some(at(number)..at(number + 1)).filter(|range| !range.is_empty())
        };
        Some(match *self {
            Self::Strided { source, step, target, len } => {
                let range = cut(len)?;
                let (source, target) = (source + range.start * step, target + range.start);
                Self::Strided { source, step, target, len: range.len() }
            }
            Self::Gather { indices, base, target } => {
                let range = cut(indices.len())?;
                let target = target + range.start;
                Self::Gather { indices: &indices[range], base, target }
            }
            Self::Runs(runs) => Self::Runs(&runs[cut(runs.len())?]),
        })
    }

    /// Smallest and largest index within the chunk.
    pub fn source_bounds(&self) -> (usize, usize) {
        match *self {
            Self::Strided { source, step, len, .. } => (source, source + (len - 1) * step),
            Self::Gather { indices, base, .. } => {
                ((indices[0] - base) as usize, (indices[indices.len() - 1] - base) as usize)
            }
            Self::Runs(runs) => {
                let last = runs[runs.len() - 1];
                (runs[0].source, last.source + last.len - 1)
            }
        }
    }

    /// Largest index within the output.
    pub fn target_last(&self) -> usize {
        match *self {
            Self::Strided { target, len, .. } => target + len - 1,
            Self::Gather { indices, target, .. } => target + indices.len() - 1,
            Self::Runs(runs) => {
                let last = runs[runs.len() - 1];
                last.target + last.len - 1
            }
        }
    }
}

/// How one axis of a selection falls into chunks.
#[derive(Debug, Clone)]
enum AxisPlan {
    /// Chunk coordinates follow from arithmetic: steps no longer than a chunk leave none out.
    Range { start: u64, len: usize, step: u64, chunk: u64, first: u64, touched: u64 },
    /// And of longer steps, each leads to a chunk of its own.
    Steps { start: u64, len: usize, step: u64, chunk: u64 },
    /// `(coordinate, first, past the last)` of the indices that fall into each touched chunk.
    Indices { indices: Vec<u64>, chunk: u64, touched: Vec<(u64, usize, usize)> },
    /// The same for runs, already cut at the chunks' edges.
    Runs { runs: Vec<Run>, touched: Vec<(u64, usize, usize)> },
}

impl AxisPlan {
    fn new(axis: &Axis, chunk: u64) -> std::result::Result<Self, NoMemory> {
        match axis {
            &Axis::Range { start, len, step } if step <= chunk => {
                let first = start / chunk;
                let touched =
                    if len == 0 { 0 } else { (start + step * (len as u64 - 1)) / chunk - first + 1 };
                Ok(Self::Range { start, len, step, chunk, first, touched })
            }
            &Axis::Range { start, len, step } => Ok(Self::Steps { start, len, step, chunk }),
            Axis::Indices(indices) => Self::from_indices(memory::copy(indices)?, chunk),
            Axis::Runs(runs) => Self::from_runs(runs, chunk),
        }
    }

    fn from_indices(indices: Vec<u64>, chunk: u64) -> std::result::Result<Self, NoMemory> {
        let mut touched = Vec::new();
        let mut begin = 0;
        for group in indices.chunk_by(|a, b| a / chunk == b / chunk) {
            memory::push(&mut touched, (group[0] / chunk, begin, begin + group.len()))?;
            begin += group.len();
        }
        Ok(Self::Indices { indices, chunk, touched })
    }

    fn from_runs(whole: &[(u64, usize)], chunk: u64) -> std::result::Result<Self, NoMemory> {
        // Each run is cut at the chunks' edges: as many as there will be, before the first is made.
        let cut = |&(start, len): &(u64, usize)| ((start % chunk + len as u64).div_ceil(chunk)) as usize;
        let count = whole.iter().map(cut).fold(0, usize::saturating_add);
        let mut runs: Vec<Run> = memory::with_capacity(count)?;
        let mut touched: Vec<(u64, usize, usize)> = Vec::new();
        let mut target = 0;
        for &(mut start, mut left) in whole {
            while left > 0 {
                let coordinate = start / chunk;
                let source = start % chunk;
                let len = left.min((chunk - source) as usize);
                match touched.last_mut() {
                    Some(last) if last.0 == coordinate => last.2 += 1,
                    _ => memory::push(&mut touched, (coordinate, runs.len(), runs.len() + 1))?,
                }
                runs.push(Run { source: source as usize, target, len });
                start += len as u64;
                target += len;
                left -= len;
            }
        }
        Ok(Self::Runs { runs, touched })
    }

    /// Number of chunk coordinates that are touched.
    fn touched(&self) -> u64 {
        match self {
            Self::Range { touched, .. } => *touched,
            Self::Steps { len, .. } => *len as u64,
            Self::Indices { touched, .. } | Self::Runs { touched, .. } => touched.len() as u64,
        }
    }

    /// The `position`-th touched coordinate.
    fn coordinate(&self, position: u64) -> u64 {
        match self {
            Self::Range { first, .. } => first + position,
            Self::Steps { start, step, chunk, .. } => (start + step * position) / chunk,
            Self::Indices { touched, .. } | Self::Runs { touched, .. } => touched[position as usize].0,
        }
    }

    /// What is wanted of the chunks at the `position`-th touched coordinate.
    fn piece(&self, position: u64) -> Piece<'_> {
        match self {
            &Self::Range { start, len, step, chunk, first, .. } => {
                let base = (first + position) * chunk;
                // The elements before the chunk come first in the output.
                let target = base.saturating_sub(start).div_ceil(step);
                let source = start + target * step - base;
                let fitting = (chunk - source).div_ceil(step);
                Piece::Strided {
                    source: source as usize,
                    step: step as usize,
                    target: target as usize,
                    len: fitting.min(len as u64 - target) as usize,
                }
            }
            &Self::Steps { start, step, chunk, .. } => {
                let source = ((start + step * position) % chunk) as usize;
                Piece::Strided { source, step: 1, target: position as usize, len: 1 }
            }
            Self::Indices { indices, chunk, touched } => {
                let (coordinate, begin, end) = touched[position as usize];
                Piece::Gather { indices: &indices[begin..end], base: coordinate * chunk, target: begin }
            }
            Self::Runs { runs, touched } => {
                let (_, begin, end) = touched[position as usize];
                Piece::Runs(&runs[begin..end])
            }
        }
    }
}

/// What to do with one chunk.
#[derive(Debug)]
pub struct Job<'a> {
    plan: &'a Plan,
    number: usize,
    /// Number of the chunk in the grid.
    pub linear: u64,
    /// Indices of the chunk's first element.
    pub offset: PerAxis<u64>,
    /// For each axis, what goes where.
    pub pieces: PerAxis<Piece<'a>>,
}

impl Job<'_> {
    /// How many jobs its plan has.
    pub fn of(&self) -> usize {
        self.plan.jobs
    }

    /// The numbers of the chunks of the jobs that come after this one, in order.
    pub fn following(&self) -> impl Iterator<Item = u64> {
        (self.number + 1..self.plan.jobs).map(|number| self.plan.linear(number))
    }

    /// The smallest box of the dataset that holds all wanted elements: first indices, and numbers of them.
    pub fn bounds(&self) -> (Vec<u64>, Vec<u64>) {
        self.pieces
            .iter()
            .map(Piece::source_bounds)
            .zip(&self.offset)
            .map(|((low, high), &at)| (at + low as u64, (high - low) as u64 + 1))
            .unzip()
    }

    /// Calls `f` for each wanted element with its place in the box of [`Self::bounds`] and its place in an
    /// output of shape `lens`, both counted in C order.
    pub fn for_each(&self, lens: &[usize], mut f: impl FnMut(usize, usize)) {
        self.for_each_of_axis(0, 0, 0, lens, &mut f);
    }

    fn for_each_of_axis(
        &self,
        axis: usize,
        source: usize,
        target: usize,
        lens: &[usize],
        f: &mut impl FnMut(usize, usize),
    ) {
        let Some(piece) = self.pieces.get(axis) else { return f(source, target) };
        let (low, high) = piece.source_bounds();
        piece.for_each(|from, to| {
            let source = source * (high - low + 1) + from - low;
            self.for_each_of_axis(axis + 1, source, target * lens[axis] + to, lens, f);
        });
    }

    /// Calls `read` with the first byte and the byte past the last of each stretch of the chunk that is
    /// wanted, in order. Stretches that are at most `gap` bytes apart are one.
    ///
    /// # Errors
    /// The first of `read`'s.
    pub fn spans(
        &self,
        chunk: &[u64],
        element: usize,
        gap: usize,
        mut read: impl FnMut(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let mut pending: Option<(usize, usize)> = None;
        let mut result = Ok(());
        let mut span = |from: usize, to: usize| match &mut pending {
            Some((_, end)) if from <= *end + gap => *end = to,
            _ => {
                if let (Some((from, to)), Ok(())) = (pending.replace((from, to)), &result) {
                    result = read(from, to);
                }
            }
        };
        self.spans_of_axis(0, 0, chunk, element, gap, &mut span);
        result?;
        pending.map_or(Ok(()), |(from, to)| read(from, to))
    }

    /// The spans of the axes from `axis` on, of the elements whose indices before it lead to `at`.
    fn spans_of_axis(
        &self,
        axis: usize,
        at: usize,
        chunk: &[u64],
        element: usize,
        gap: usize,
        span: &mut impl FnMut(usize, usize),
    ) {
        let Some(piece) = self.pieces.get(axis) else {
            return span(at * element, (at + 1) * element);
        };
        let row = at * chunk[axis] as usize;
        if axis + 1 < self.pieces.len() {
            return piece.for_each(|source, _| {
                self.spans_of_axis(axis + 1, row + source, chunk, element, gap, span);
            });
        }
        match *piece {
            Piece::Strided { source, step, len, .. } if step * element <= gap => {
                span((row + source) * element, (row + source + (len - 1) * step + 1) * element);
            }
            Piece::Runs(runs) => {
                for run in runs {
                    span((row + run.source) * element, (row + run.source + run.len) * element);
                }
            }
            _ => piece.for_each(|source, _| span((row + source) * element, (row + source + 1) * element)),
        }
    }
}

/// The jobs of a selection over a grid: one for each chunk that is touched.
#[derive(Debug, Clone)]
pub struct Plan {
    grid: Grid,
    axes: Vec<AxisPlan>,
    lens: Vec<usize>,
    jobs: usize,
}

impl Plan {
    /// # Errors
    /// [`Error::Index`] for an index outside of the dataset, [`Error::Structure`] when the number of axes
    /// differs, [`Error::OutOfMemory`] when the output is too large to address.
    pub fn new(grid: Grid, selection: &[Axis]) -> Result<Self> {
        let rank = grid.shape().len();
        if selection.len() != rank {
            return Err(Error::Structure(format!(
                "a subset of {} axes for a dataset of {rank} dimensions",
                selection.len()
            )));
        }
        for (number, (axis, &extent)) in selection.iter().zip(grid.shape()).enumerate() {
            axis.check(number, extent)?;
        }
        let too_large = || Error::OutOfMemory("the result is more than memory can hold".into());
        let lens = memory::collect(selection.iter().map(Axis::len))?;
        lens.iter().try_fold(1usize, |product, &len| product.checked_mul(len)).ok_or_else(too_large)?;
        let mut axes = memory::with_capacity(rank)?;
        for (axis, &chunk) in selection.iter().zip(grid.chunk()) {
            axes.push(AxisPlan::new(axis, chunk)?);
        }
        let jobs = axes
            .iter()
            .try_fold(1u64, |product, axis| product.checked_mul(axis.touched()))
            .and_then(|jobs| usize::try_from(jobs).ok())
            .ok_or_else(too_large)?;
        Ok(Self { grid, axes, lens, jobs })
    }

    /// The grid of chunks.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Number of chunks that are touched.
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    /// Number of chunks along an axis that are touched.
    pub fn touched(&self, axis: usize) -> u64 {
        self.axes[axis].touched()
    }

    /// Which places of the output along an axis the chunks at its `position`-th touched coordinate fill.
    pub fn targets(&self, axis: usize, position: u64) -> Range<usize> {
        let piece = self.axes[axis].piece(position);
        let end = piece.target_last() + 1;
        end - piece.count()..end
    }

    /// Shape of the output.
    pub fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// Number of elements of the output.
    pub fn count(&self) -> usize {
        self.lens.iter().product()
    }

    /// Whether a job wants all elements of its chunk that are inside of the dataset.
    pub fn wants_whole_chunk(&self, job: &Job<'_>) -> bool {
        let axes = job.offset.iter().zip(self.grid.shape().iter().zip(self.grid.chunk()));
        job.pieces
            .iter()
            .zip(axes)
            .all(|(piece, (&at, (&extent, &len)))| piece.count() as u64 == len.min(extent - at))
    }

    /// What a job wants, if that is one stretch of its chunk which goes to one stretch of the output: where these
    /// begin and how long they are, in elements.
    pub fn single_run(&self, job: &Job<'_>) -> Option<Run> {
        let mut run = Run { source: 0, target: 0, len: 1 };
        // Elements of the chunk and of the output for each index of the axis at hand.
        let (mut source_stride, mut target_stride) = (1, 1);
        for (piece, (&chunk, &len)) in job.pieces.iter().zip(self.grid.chunk().iter().zip(&self.lens)).rev() {
            let &Piece::Strided { source, step, target, len: count } = piece else { return None };
            // Rows follow each other only if each is whole, in both.
            if count > 1 && (step != 1 || run.len != source_stride || run.len != target_stride) {
                return None;
            }
            run.source += source * source_stride;
            run.target += target * target_stride;
            run.len *= count;
            source_stride *= chunk as usize;
            target_stride *= len;
        }
        Some(run)
    }

    /// The number in the grid of the chunk of the `number`-th job.
    fn linear(&self, number: usize) -> u64 {
        let (mut left, mut linear, mut stride) = (number as u64, 0, 1);
        for (axis, &count) in self.axes.iter().zip(self.grid.counts()).rev() {
            linear += axis.coordinate(left % axis.touched()) * stride;
            left /= axis.touched();
            stride *= count;
        }
        linear
    }

    /// The `number`-th job, in the chunks' C order.
    pub fn job(&self, number: usize) -> Job<'_> {
        let mut left = number as u64;
        let mut positions: PerAxis<u64> = PerAxis::from_elem(0, self.axes.len());
        for (axis, position) in self.axes.iter().zip(&mut positions).rev() {
            *position = left % axis.touched();
            left /= axis.touched();
        }
        let positioned = || self.axes.iter().zip(&positions);
        let coordinates = per_axis(positioned().map(|(axis, &position)| axis.coordinate(position)));
        Job {
            plan: self,
            number,
            linear: self.grid.linear(coordinates.iter().copied()),
            offset: per_axis(coordinates.iter().zip(self.grid.chunk()).map(|(&at, &len)| at * len)),
            pieces: per_axis(positioned().map(|(axis, &position)| axis.piece(position))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_the_whole() {
        let runs = [(3, 2), (9, 1), (20, 7)].map(|(source, len)| Run { source, target: source / 2, len });
        let indices = [40, 41, 45, 49, 50];
        for whole in [
            Piece::Strided { source: 3, step: 2, target: 5, len: 11 },
            Piece::Gather { indices: &indices, base: 40, target: 7 },
            Piece::Runs(&runs),
        ] {
            let pairs = |piece: Piece<'_>| {
                let mut pairs = Vec::new();
                piece.for_each(|source, target| pairs.push((source, target)));
                assert_eq!(pairs.len(), piece.count());
                pairs
            };
            for of in 1..15 {
                let parts: Vec<_> =
                    (0..of).filter_map(|number| whole.part(number, of)).flat_map(pairs).collect();
                assert_eq!(parts, pairs(whole), "{of} parts of {whole:?}");
            }
        }
    }

    /// One axis: extent, chunk length, and indices of it.
    fn axis() -> impl Strategy<Value = (u64, u64, Axis)> {
        (1u64..40, 1u64..12).prop_flat_map(|(extent, chunk)| {
            let range = (0..extent, 1u64..8).prop_flat_map(move |(start, step)| {
                (0..=(extent - start).div_ceil(step) as usize).prop_map(move |len| Axis::Range {
                    start,
                    len,
                    step,
                })
            });
            let indices = btree_set(0..extent, 0..=extent as usize);
            let list = indices.clone().prop_map(|set| Axis::Indices(set.into_iter().collect()));
            let runs = indices.prop_map(|set| {
                let sorted: Vec<u64> = set.into_iter().collect();
                Axis::Runs(sorted.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len())).collect())
            });
            (Just(extent), Just(chunk), prop_oneof![range, list, runs])
        })
    }

    proptest! {
        /// A single run says of a job what its elements, one by one, say.
        #[test]
        fn a_single_run_is_all_of_a_job(
            axes in vec((1u64..7, 1u64..5, 0u64..7, 1u64..7), 0..4),
        ) {
            let shape: Vec<u64> = axes.iter().map(|axis| axis.0).collect();
            let chunk: Vec<u64> = axes.iter().map(|axis| axis.1).collect();
            let selection: Vec<Axis> = axes
                .iter()
                .map(|&(extent, _, start, len)| {
                    let start = start.min(extent - 1);
                    Axis::Range { start, len: len.min(extent - start) as usize, step: 1 }
                })
                .collect();
            let plan = Plan::new(Grid::new(&shape, &chunk).unwrap(), &selection).unwrap();
            for number in 0..plan.jobs() {
                let job = plan.job(number);
                let mut elements = Vec::new();
                let (start, count) = job.bounds();
                job.for_each(plan.lens(), |place, target| {
                    let (mut left, mut position, mut stride) = (place as u64, 0, 1);
                    for axis in (0..count.len()).rev() {
                        position += (left % count[axis] + start[axis] - job.offset[axis]) * stride;
                        left /= count[axis];
                        stride *= chunk[axis];
                    }
                    elements.push((position as usize, target));
                });
                elements.sort_unstable();
                let (source, target) = elements[0];
                let is_run = elements.iter().zip(0..).all(|(&element, i)| element == (source + i, target + i));
                let expected = is_run.then_some(Run { source, target, len: elements.len() });
                prop_assert_eq!(plan.single_run(&job), expected);
            }
        }

        /// The obvious twin: walk all elements of the output and ask which chunk each lies in.
        #[test]
        fn every_element_comes_once_from_the_right_chunk(axes in vec(axis(), 0..4)) {
            let shape: Vec<u64> = axes.iter().map(|a| a.0).collect();
            let chunk: Vec<u64> = axes.iter().map(|a| a.1).collect();
            let selection: Vec<Axis> = axes.iter().map(|a| a.2.clone()).collect();
            let plan = Plan::new(Grid::new(&shape, &chunk).unwrap(), &selection).unwrap();
            let mut seen = vec![false; plan.count()];
            let mut chunks = std::collections::HashSet::new();
            for number in 0..plan.jobs() {
                let job = plan.job(number);
                prop_assert!(chunks.insert(job.linear), "a chunk is read twice");
                let mut pairs = vec![Vec::new(); axes.len()];
                for (piece, pairs) in job.pieces.iter().zip(&mut pairs) {
                    piece.for_each(|source, target| pairs.push((source, target)));
                    let (low, high) = piece.source_bounds();
                    prop_assert_eq!(low, pairs.iter().map(|p| p.0).min().unwrap());
                    prop_assert_eq!(high, pairs.iter().map(|p| p.0).max().unwrap());
                    prop_assert_eq!(piece.target_last(), pairs.iter().map(|p| p.1).max().unwrap());
                }
                let mut covered = std::collections::BTreeSet::new();
                let mut last_end = None;
                job.spans(&chunk, 2, 6, |from, to| {
                    assert!(last_end.is_none_or(|end| from > end + 6), "stretches that should be one");
                    last_end = Some(to);
                    covered.extend(from..to);
                    Ok(())
                })
                .unwrap();
                let mut cells = vec![0];
                for (pairs, &len) in pairs.iter().zip(&chunk) {
                    cells = cells
                        .iter()
                        .flat_map(|&cell| pairs.iter().map(move |&(source, _)| cell * len as usize + source))
                        .collect();
                }
                prop_assert!(cells.iter().all(|cell| covered.contains(&(cell * 2)) && covered.contains(&(cell * 2 + 1))));
                let (start, count) = job.bounds();
                job.for_each(plan.lens(), |source, target| {
                    let (mut source, mut target) = (source as u64, target);
                    for axis in (0..axes.len()).rev() {
                        let index = start[axis] + source % count[axis];
                        let position = target % plan.lens()[axis];
                        assert_eq!(selection[axis].get(position), Some(index));
                        (source, target) = (source / count[axis], target / plan.lens()[axis]);
                    }
                });
                let mut stack = vec![(0usize, 0usize)];
                while let Some((axis, position)) = stack.pop() {
                    if axis == axes.len() {
                        prop_assert!(!std::mem::replace(&mut seen[position], true));
                        continue;
                    }
                    for &(source, target) in &pairs[axis] {
                        prop_assert!((source as u64) < chunk[axis]);
                        prop_assert_eq!(
                            job.offset[axis] + source as u64,
                            selection[axis].get(target).unwrap()
                        );
                        stack.push((axis + 1, position * plan.lens()[axis] + target));
                    }
                }
            }
            prop_assert!(seen.iter().all(|&done| done));
        }
    }

    #[test]
    fn bounds_and_rank_are_checked() {
        let grid = || Grid::new(&[10], &[4]).unwrap();
        assert!(matches!(Plan::new(grid(), &[]), Err(Error::Structure(_))));
        assert!(matches!(Plan::new(grid(), &[Axis::Indices(vec![10])]), Err(Error::Index(_))));
    }

    #[test]
    fn a_scalar_is_one_job() {
        let plan = Plan::new(Grid::new(&[], &[]).unwrap(), &[]).unwrap();
        assert_eq!((plan.jobs(), plan.count(), plan.job(0).linear), (1, 1, 0));
    }
}
