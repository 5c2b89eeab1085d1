//! Cells: what the values of a block go into, for each result of a sweep.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use super::fold::{Bounds, Extremes, Fold, Moments, Nonzero, OfPresent, Present, Spread, Stored, Sum};
use super::number::{Number, Total};
use super::{Statistics, Use, View, Wanted};
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{PerAxis, per_axis};

/// One axis of a block of values, and what a view does with it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level<'a> {
    /// Each of so many indices has its own cells, in a row.
    Keep(usize),
    /// So many indices go into the same cells.
    Reduce(usize),
    /// Each index goes to the cells of its group, of which there are so many.
    Group(&'a [u32], usize),
}

/// What a view makes of a part of its values.
pub(crate) struct Cells<T: Number> {
    /// How many there are along each axis.
    lens: PerAxis<usize>,
    /// There are zeros that the file does not have.
    has_zeros: bool,
    sum: Option<Vec<T::Total>>,
    spread: Option<Vec<Moments>>,
    extremes: Option<Vec<Bounds<T>>>,
    nonzero: Option<Vec<u64>>,
    present: Option<Vec<u64>>,
    stored: Option<Vec<u64>>,
}

/// Which counts a sweep cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Values that are not NaN, since those are left out.
    pub(crate) present: bool,
    /// Values that the file has, since there are others that it does not have.
    pub(crate) stored: bool,
}

/// Applies a macro to each kind of cells: its field, and what folds it, which may have to leave NaNs out.
macro_rules! for_each_kind {
    ($cells:expr, $apply:ident) => {
        if $cells.present.is_some() {
            $apply!(sum, OfPresent<Sum>);
            $apply!(spread, OfPresent<Spread>);
        } else {
            $apply!(sum, Sum);
            $apply!(spread, Spread);
        }
        $apply!(extremes, Extremes);
        $apply!(nonzero, Nonzero);
        $apply!(present, Present);
        $apply!(stored, Stored);
    };
}

impl<T: Number> Cells<T> {
    /// Cells into which nothing went yet.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn new(lens: &[usize], wanted: Wanted, counts: Counts) -> Result<Self> {
        let count = product(lens)?;
        Ok(Self {
            lens: PerAxis::from_slice(lens),
            has_zeros: counts.stored,
            sum: filled(wanted.sum, <Sum as Fold<T>>::EMPTY, count)?,
            spread: filled(wanted.moments, <Spread as Fold<T>>::EMPTY, count)?,
            extremes: filled(wanted.extremes, <Extremes as Fold<T>>::EMPTY, count)?,
            nonzero: filled(wanted.nonzero, 0, count)?,
            present: filled(counts.present, 0, count)?,
            // What the moments count need not be counted again.
            stored: filled(counts.stored && (counts.present || !wanted.moments), 0, count)?,
        })
    }

    /// Bytes of each cell of a result.
    pub(crate) fn bytes(wanted: Wanted, counts: Counts) -> usize {
        usize::from(wanted.sum) * size_of::<T::Total>()
            + usize::from(wanted.moments) * size_of::<Moments>()
            + usize::from(wanted.extremes) * size_of::<Bounds<T>>()
            + (usize::from(wanted.nonzero) + usize::from(counts.present) + usize::from(counts.stored)) * 8
    }

    /// Of two axes, how far apart neighbours are: along this one, and along the other.
    pub(crate) fn strides(&self, axis: usize) -> (usize, usize) {
        let columns = self.lens.last().copied().unwrap_or(1);
        if axis == 0 { (columns, 1) } else { (1, columns) }
    }

    /// The place of the cell with these indices.
    pub(crate) fn place(&self, indices: &[usize]) -> usize {
        self.lens.iter().zip(indices).fold(0, |place, (&len, &index)| place * len + index)
    }

    /// Takes the values of a block in C order, from the cell `first` on.
    pub(crate) fn take(&mut self, levels: &[Level<'_>], first: usize, values: &[T]) {
        macro_rules! take {
            ($field:ident, $fold:ty) => {
                if let Some(cells) = &mut self.$field {
                    walk::<T, $fold>(levels, &mut cells[first..], values);
                }
            };
        }
        for_each_kind!(self, take);
    }

    /// Takes a block whose values are all the same, from the cell `first` on.
    pub(crate) fn take_same(&mut self, levels: &[Level<'_>], first: usize, value: T) {
        macro_rules! take {
            ($field:ident, $fold:ty) => {
                if let Some(cells) = &mut self.$field {
                    walk_same(levels, &mut cells[first..], 1, &|cell, times| {
                        <$fold as Fold<T>>::same(cell, value, times);
                    });
                }
            };
        }
        for_each_kind!(self, take);
    }

    /// Takes the values of elements of a compressed matrix: `positions` are those of their cells, from `first` on.
    pub(crate) fn scatter(
        &mut self,
        first: usize,
        positions: &(impl Iterator<Item = usize> + Clone),
        values: &[T],
    ) {
        macro_rules! take {
            ($field:ident, $fold:ty) => {
                if let Some(cells) = &mut self.$field {
                    let cells = &mut cells[first..];
                    for (position, &value) in positions.clone().zip(values) {
                        <$fold as Fold<T>>::one(&mut cells[position], value);
                    }
                }
            };
        }
        for_each_kind!(self, take);
    }

    /// Takes all that went into other cells, which begin at `origin` of these.
    pub(crate) fn merge(&mut self, origin: &[usize], other: &Self) {
        macro_rules! merge {
            ($field:ident, $fold:ty) => {
                if let (Some(cells), Some(others)) = (&mut self.$field, &other.$field) {
                    for_each_row(&other.lens, &self.lens, origin, |from, to, len| {
                        for (cell, &other) in cells[to..to + len].iter_mut().zip(&others[from..from + len]) {
                            <$fold as Fold<T>>::merge(cell, other);
                        }
                    });
                }
            };
        }
        for_each_kind!(self, merge);
    }

    /// Adds to each cell the zeros that a sparse matrix does not store, and writes what came of it to `statistics`, in
    /// which these cells begin at `origin`. `sizes` says how many values belong to a cell, stored or not, as the product
    /// of a number for each axis.
    pub(crate) fn finish(
        mut self,
        sizes: &[PerCell],
        skips_nan: bool,
        origin: &[usize],
        statistics: &mut Statistics,
    ) {
        let lens = self.lens.clone();
        let shape: PerAxis<usize> = PerAxis::from_slice(&statistics.shape);
        let zero = T::zeroed();
        for_each_row(&lens, &shape, origin, |from, to, len| {
            // All axes but the last are the same for the row.
            let mut left = from / len.max(1);
            let mut before = 1u128;
            for (axis, &extent) in lens.iter().enumerate().rev().skip(1) {
                before = before.saturating_mul(sizes[axis].get(left % extent).into());
                left /= extent;
            }
            for number in 0..len {
                let (cell, place) = (from + number, to + number);
                let last = sizes.last().map_or(1, |last| last.get(number));
                let size = before.saturating_mul(last.into());
                let stored = match (&self.stored, &self.spread) {
                    (Some(stored), _) => stored[cell].into(),
                    (None, Some(spread)) if self.has_zeros => spread[cell].count as u128,
                    _ => size,
                };
                let zeros = size.saturating_sub(stored);
                let present = self.present.as_ref().map_or(stored, |present| present[cell].into());
                statistics.count[place] = if skips_nan { present + zeros } else { size } as f64;
                if let (Some(moments), Some([mean, lost, m2])) = (&mut self.spread, &mut statistics.moments) {
                    let moments = &mut moments[cell];
                    moments.merge(Moments { count: zeros as f64, ..Moments::default() });
                    (mean[place], lost[place], m2[place]) = (moments.mean, moments.low, moments.m2);
                }
                if let (Some(bounds), Some((min, max))) = (&mut self.extremes, &mut statistics.extremes) {
                    let bounds = &mut bounds[cell];
                    if zeros > 0 {
                        <Extremes as Fold<T>>::one(bounds, zero);
                    }
                    let is_nan = bounds.has_nan && !skips_nan;
                    let bytes = place * size_of::<T>()..(place + 1) * size_of::<T>();
                    let min_max = if is_nan { (T::NAN, T::NAN) } else { (bounds.min, bounds.max) };
                    min[bytes.clone()].copy_from_slice(bytemuck::bytes_of(&min_max.0));
                    max[bytes].copy_from_slice(bytemuck::bytes_of(&min_max.1));
                }
                if let Some(sums) = &self.sum {
                    let total = sums[cell];
                    if let Some(wrapped) = &mut statistics.sum {
                        wrapped[place] = total.wrapped();
                    }
                    if let Some((high, low)) = &mut statistics.total {
                        (high[place], low[place]) = total.in_two();
                    }
                }
                if let (Some(nonzero), Some(result)) = (&self.nonzero, &mut statistics.nonzero) {
                    result[place] = nonzero[cell];
                }
            }
        });
    }
}

/// How many values an index of an axis stands for.
#[derive(Debug)]
pub(crate) enum PerCell {
    /// As many for each.
    Same(u64),
    /// By group.
    Each(Vec<u64>),
}

impl PerCell {
    /// Of each axis of a view, of which so many indices are selected.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn of_view(view: &View, selected: &[usize]) -> Result<PerAxis<Self>> {
        let mut sizes = PerAxis::new();
        for (usage, &len) in view.axes.iter().zip(selected) {
            sizes.push(Self::new(usage, len)?);
        }
        Ok(sizes)
    }

    fn new(usage: &Use, len: usize) -> Result<Self> {
        Ok(match usage {
            Use::Keep => Self::Same(1),
            Use::Reduce => Self::Same(len as u64),
            Use::Group { labels, groups } => {
                let mut sizes = memory::zeros(*groups)?;
                for &label in labels {
                    sizes[label as usize] += 1;
                }
                Self::Each(sizes)
            }
        })
    }

    fn get(&self, index: usize) -> u64 {
        match self {
            Self::Same(size) => *size,
            Self::Each(sizes) => sizes[index],
        }
    }
}

impl Statistics {
    /// Results of this shape, to be written to.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn new<T: Number>(shape: &[usize], wanted: Wanted) -> Result<Self> {
        let count = product(shape)?;
        let integers = wanted.sum && <T::Total as Total>::IS_INTEGER;
        let bytes = count.checked_mul(size_of::<T>()).ok_or_else(|| too_many(count))?;
        Ok(Self {
            count: filled(true, 0.0, count)?.unwrap_or_default(),
            sum: filled(integers, 0, count)?,
            total: zeros(wanted.sum, count)?,
            moments: zeros(wanted.moments, count)?
                .zip(filled(wanted.moments, 0.0, count)?)
                .map(|((mean, lost), m2)| [mean, lost, m2]),
            extremes: zeros(wanted.extremes, bytes)?,
            nonzero: filled(wanted.nonzero, 0, count)?,
            shape: memory::copy(shape)?,
        })
    }
}

/// The cells of a part of a selection, for each view with the place of the first.
pub(crate) type Part<T> = Vec<(PerAxis<usize>, Cells<T>)>;

/// Takes all that went into the cells of a part, view by view.
pub(crate) fn merge_part<T: Number>(totals: &mut [Cells<T>], part: &Part<T>) {
    for (total, (origin, cells)) in totals.iter_mut().zip(part) {
        total.merge(origin, cells);
    }
}

impl View {
    /// How many cells each axis has, of which so many indices are selected.
    pub(crate) fn lens(&self, selected: &[usize]) -> PerAxis<usize> {
        let len = |(usage, &len): (&Use, &usize)| match usage {
            Use::Keep => len,
            Use::Reduce => 1,
            Use::Group { groups, .. } => *groups,
        };
        per_axis(self.axes.iter().zip(selected).map(len))
    }

    /// What is done with the axes of a block of so many indices, from those at `origin` on; neighbours of which the same
    /// is done are one.
    pub(crate) fn levels(&self, origin: &[usize], lens: &[usize]) -> PerAxis<Level<'_>> {
        let mut levels: PerAxis<Level<'_>> = PerAxis::new();
        for (usage, (&start, &len)) in self.axes.iter().zip(origin.iter().zip(lens)) {
            match (usage, levels.last_mut()) {
                (Use::Keep, Some(Level::Keep(before))) | (Use::Reduce, Some(Level::Reduce(before))) => {
                    *before *= len;
                }
                (Use::Keep, _) => levels.push(Level::Keep(len)),
                (Use::Reduce, _) => levels.push(Level::Reduce(len)),
                (Use::Group { labels, groups }, _) => {
                    levels.push(Level::Group(&labels[start..start + len], *groups));
                }
            }
        }
        levels
    }
}

/// So many of one thing, if they are wanted.
fn filled<C: Copy>(wanted: bool, one: C, count: usize) -> Result<Option<Vec<C>>> {
    Ok(if wanted { Some(memory::vec(one, count)?) } else { None })
}

/// Two of them.
fn zeros<C: Copy + bytemuck::Zeroable>(wanted: bool, count: usize) -> Result<Option<(Vec<C>, Vec<C>)>> {
    Ok(filled(wanted, C::zeroed(), count)?.zip(filled(wanted, C::zeroed(), count)?))
}

/// How many elements an array of this shape has.
fn product(lens: &[usize]) -> Result<usize> {
    let count = lens.iter().try_fold(1usize, |product, &len| product.checked_mul(len));
    count.ok_or_else(|| too_many(usize::MAX))
}

fn too_many(count: usize) -> Error {
    Error::OutOfMemory(format!("no memory for {count} statistics"))
}

/// Takes a block of values in C order into cells in C order.
fn walk<T: Number, F: Fold<T>>(levels: &[Level<'_>], cells: &mut [F::Cell], values: &[T]) {
    let inner = |count: usize| values.len().checked_div(count).unwrap_or(0).max(1);
    match *levels {
        [] => values.iter().for_each(|&value| F::one(&mut cells[0], value)),
        [Level::Reduce(_)] => F::run(&mut cells[0], values),
        [Level::Keep(len)] | [Level::Reduce(_), Level::Keep(len)] => F::rows(&mut cells[..len], values),
        [Level::Group(labels, _)] => {
            for (&label, &value) in labels.iter().zip(values) {
                F::one(&mut cells[label as usize], value);
            }
        }
        [Level::Reduce(count), ref rest @ ..] => {
            values.chunks(inner(count)).for_each(|part| walk::<T, F>(rest, cells, part));
        }
        [Level::Keep(count), ref rest @ ..] => {
            let width = width(rest);
            for (part, cells) in values.chunks(inner(count)).zip(cells.chunks_mut(width)) {
                walk::<T, F>(rest, cells, part);
            }
        }
        [Level::Group(labels, _), ref rest @ ..] => {
            let width = width(rest);
            for (part, &label) in values.chunks(inner(labels.len())).zip(labels) {
                walk::<T, F>(rest, &mut cells[label as usize * width..], part);
            }
        }
    }
}

/// Calls `take` with each cell that a block goes to, and how many of the block's values do; a cell may come more than once.
fn walk_same<C>(levels: &[Level<'_>], cells: &mut [C], times: u64, take: &impl Fn(&mut C, u64)) {
    match *levels {
        [] => take(&mut cells[0], times),
        [Level::Reduce(0) | Level::Keep(0), ..] => {}
        [Level::Reduce(count), ref rest @ ..] => walk_same(rest, cells, times * count as u64, take),
        [Level::Keep(count), ref rest @ ..] => {
            for cells in cells.chunks_mut(width(rest)).take(count) {
                walk_same(rest, cells, times, take);
            }
        }
        [Level::Group(labels, _), ref rest @ ..] => {
            let width = width(rest);
            for &label in labels {
                walk_same(rest, &mut cells[label as usize * width..], times, take);
            }
        }
    }
}

/// How many cells there are for one index of the axis before these.
fn width(levels: &[Level<'_>]) -> usize {
    let cells = |level: &Level<'_>| match *level {
        Level::Keep(len) => len,
        Level::Reduce(_) => 1,
        Level::Group(_, groups) => groups,
    };
    levels.iter().map(cells).product::<usize>().max(1)
}

/// Calls `f` with where each row of a box begins, in the box and in what it is a part of from `origin` on, and with its
/// length.
fn for_each_row(lens: &[usize], all: &[usize], origin: &[usize], mut f: impl FnMut(usize, usize, usize)) {
    let Some((&len, outer)) = lens.split_last() else { return f(0, 0, 1) };
    let rows: usize = outer.iter().product();
    for row in 0..if len == 0 { 0 } else { rows } {
        let (mut left, mut place, mut stride) = (row, origin[outer.len()], all[outer.len()]);
        for axis in (0..outer.len()).rev() {
            place += (left % outer[axis] + origin[axis]) * stride;
            left /= outer[axis];
            stride *= all[axis];
        }
        f(row * len, place, len);
    }
}
