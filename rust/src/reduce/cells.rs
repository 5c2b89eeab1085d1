//! Cells: what the values of a block go into, for each result of a sweep.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use super::fold::{Bounds, Extremes, Fold, Moments, Nonzero, OfPresent, Present, Spread, Stored, Sum};
use super::number::{Number, Total};
use super::running::{All, Running, Scattered};
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
    /// NaNs are left out.
    skips_nan: bool,
    sum: Option<Vec<T::Total>>,
    spread: Option<Vec<Moments>>,
    extremes: Option<Vec<Bounds<T>>>,
    nonzero: Option<Vec<u64>>,
    present: Option<Vec<u64>>,
    stored: Option<Vec<u64>>,
}

/// Which values count, and which counts a sweep cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// NaNs are left out.
    pub(crate) skips_nan: bool,
    /// Values that are not left out have to be counted, since some may be.
    pub(crate) present: bool,
    /// Values that the file has, since there are others that it does not have.
    pub(crate) stored: bool,
}

/// Applies a macro to each kind of cells: its field, and what folds it, which may have to leave NaNs out.
macro_rules! for_each_kind {
    ($cells:expr, $apply:ident) => {
        if $cells.skips_nan {
            $apply!(sum, OfPresent<Sum>);
            $apply!(spread, OfPresent<Spread>);
            $apply!(present, Present);
        } else {
            $apply!(sum, Sum);
            $apply!(spread, Spread);
            $apply!(present, Stored);
        }
        $apply!(extremes, Extremes);
        $apply!(nonzero, Nonzero);
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
            skips_nan: counts.skips_nan,
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

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lens.iter().product()
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

    /// The same of a block of which some values are missing: these are left out.
    pub(crate) fn take_present(
        &mut self,
        levels: &[Level<'_>],
        first: usize,
        values: &[T],
        missing: &[bool],
    ) {
        macro_rules! take {
            ($field:ident, $fold:ty) => {
                if let Some(cells) = &mut self.$field {
                    walk_present::<T, $fold>(levels, &mut cells[first..], values, missing);
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

    /// Makes what is kept of each cell while elements are scattered, for [`Self::scatter`]; what was settled before is used
    /// again.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn scattered(&self, before: Scattered<T>) -> Result<Scattered<T>> {
        let Some(spread) = &self.spread else { return Ok(Scattered::Nothing) };
        let only = self.sum.is_none() && self.extremes.is_none() && self.nonzero.is_none();
        if only && !self.skips_nan {
            let mut cells = if let Scattered::Moments(cells) = before { cells } else { Vec::new() };
            memory::resize(&mut cells, spread.len(), T::Moments::EMPTY)?;
            return Ok(Scattered::Moments(cells));
        }
        let mut cells = if let Scattered::All(cells) = before { cells } else { Vec::new() };
        memory::resize(&mut cells, spread.len(), All::EMPTY)?;
        Ok(Scattered::All(cells))
    }

    /// Takes the values of elements of a compressed matrix: `positions` are those of their cells, from `first` on. What goes
    /// to `scattered` is part of the cells when it is settled.
    pub(crate) fn scatter(
        &mut self,
        scattered: &mut Scattered<T>,
        first: usize,
        positions: &(impl Iterator<Item = usize> + Clone),
        values: &[T],
    ) {
        let skips_nan = self.skips_nan;
        match scattered {
            Scattered::Nothing => self.scatter_by_kind(first, positions, values),
            Scattered::Moments(cells) => {
                for (position, &value) in positions.clone().zip(values) {
                    let cell = &mut cells[first + position];
                    cell.add(value);
                    if cell.count() >= T::Moments::MOST {
                        self.settle_moments(first + position, cell);
                    }
                }
            }
            Scattered::All(cells) => {
                for (position, &value) in positions.clone().zip(values) {
                    let cell = &mut cells[first + position];
                    cell.add(value, skips_nan);
                    if cell.is_full() {
                        self.settle_all(first + position, cell);
                    }
                }
            }
        }
    }

    /// Makes what was scattered part of these cells, and empties it.
    pub(crate) fn settle(&mut self, scattered: &mut Scattered<T>) {
        match scattered {
            Scattered::Nothing => {}
            Scattered::Moments(cells) => {
                for (place, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| cell.count() > 0) {
                    self.settle_moments(place, cell);
                }
            }
            Scattered::All(cells) => {
                for (place, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| !cell.is_empty()) {
                    self.settle_all(place, cell);
                }
            }
        }
    }

    fn settle_moments(&mut self, place: usize, cell: &mut T::Moments) {
        let cell = std::mem::replace(cell, T::Moments::EMPTY);
        if let Some(spread) = &mut self.spread {
            spread[place].merge(cell.moments());
        }
        if let Some(stored) = &mut self.stored {
            stored[place] += u64::from(cell.count());
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_all(&mut self, place: usize, cell: &mut All<T>) {
        let All { running, min, max, nonzero, nans } = std::mem::replace(cell, All::EMPTY);
        let count = u64::from(running.count());
        if let Some(sum) = &mut self.sum {
            sum[place].merge(running.total());
        }
        if let Some(spread) = &mut self.spread
            && count > 0
        {
            spread[place].merge(running.moments());
        }
        if let Some(extremes) = &mut self.extremes {
            <Extremes as Fold<T>>::merge(&mut extremes[place], Bounds { min, max, has_nan: nans > 0 });
        }
        if let Some(all) = &mut self.nonzero {
            all[place] += u64::from(nonzero);
        }
        // NaNs are among the others where they are not left out.
        let left_out = if self.skips_nan { u64::from(nans) } else { 0 };
        if let Some(present) = &mut self.present {
            present[place] += count;
        }
        if let Some(stored) = &mut self.stored {
            stored[place] += count + left_out;
        }
    }

    /// Takes the values of elements of a compressed matrix, once for each kind.
    fn scatter_by_kind(
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
    pub(crate) fn finish(mut self, sizes: &[PerCell], origin: &[usize], statistics: &mut Statistics) {
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
                statistics.count[place] = if self.present.is_some() { present + zeros } else { size } as f64;
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
                    let is_nan = bounds.has_nan && !self.skips_nan;
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

impl<T: Number> Cells<T> {
    /// Takes all values of which these are the statistics, which begin at `origin` of these cells.
    ///
    /// # Errors
    /// [`Error::Structure`] when they do not fit, [`Error::OutOfMemory`].
    pub(crate) fn take_statistics(&mut self, origin: &[usize], statistics: &Statistics) -> Result<()> {
        let Statistics { shape, count, sum, total, moments, extremes, nonzero } = statistics;
        let fits = shape.len() == self.lens.len()
            && shape.iter().zip(origin).zip(&self.lens).all(|((len, start), all)| start + len <= *all);
        let has = [
            self.sum.is_some() == total.is_some() && total.is_some() >= sum.is_some(),
            self.spread.is_some() == moments.is_some(),
            self.extremes.is_some() == extremes.is_some(),
            self.nonzero.is_some() == nonzero.is_some(),
        ];
        if !fits || has.contains(&false) {
            return Err(Error::Structure("these statistics are not a part of those".into()));
        }
        let cells = count.len();
        let number = |bytes: &[u8], cell: usize| {
            let bytes = bytes.get(cell * size_of::<T>()..(cell + 1) * size_of::<T>());
            bytes.map_or(T::zeroed(), bytemuck::pod_read_unaligned)
        };
        let mut found = Self {
            lens: PerAxis::from_slice(shape),
            has_zeros: self.has_zeros,
            skips_nan: self.skips_nan,
            sum: None,
            spread: None,
            extremes: None,
            nonzero: nonzero.as_deref().map(memory::copy).transpose()?,
            present: None,
            stored: None,
        };
        if let Some((high, low)) = total {
            let sums = high.iter().zip(low).map(|(&high, &low)| T::Total::from_two(high, low));
            found.sum = Some(memory::collect(sums)?);
        }
        if let Some([mean, low, m2]) = moments {
            let moments = (0..cells).map(|cell| Moments {
                count: count[cell],
                mean: mean[cell],
                low: low[cell],
                m2: m2[cell],
            });
            found.spread = Some(memory::collect(moments)?);
        }
        if let Some((min, max)) = extremes {
            let bounds =
                (0..cells).map(|cell| match (count[cell] > 0.0, number(min, cell), number(max, cell)) {
                    (false, ..) => <Extremes as Fold<T>>::EMPTY,
                    (true, min, _) if min.is_nan() => {
                        Bounds { has_nan: true, ..<Extremes as Fold<T>>::EMPTY }
                    }
                    (true, min, max) => Bounds { min, max, has_nan: false },
                });
            found.extremes = Some(memory::collect(bounds)?);
        }
        let counts = |wanted: bool| {
            let counts = count.iter().map(|&count| count as u64);
            if wanted { memory::collect(counts).map(Some) } else { Ok(None) }
        };
        found.present = counts(self.present.is_some())?;
        self.merge(origin, &found);
        Ok(())
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

    /// Indices along the axes of a selection as those of its cells.
    pub(crate) fn kept(&self, indices: impl Iterator<Item = usize>) -> PerAxis<usize> {
        let axes = self.axes.iter().zip(indices);
        per_axis(axes.map(|(usage, index)| if *usage == Use::Keep { index } else { 0 }))
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

/// The same of values of which some are missing.
fn walk_present<T: Number, F: Fold<T>>(
    levels: &[Level<'_>],
    cells: &mut [F::Cell],
    values: &[T],
    missing: &[bool],
) {
    let inner = |count: usize| values.len().checked_div(count).unwrap_or(0).max(1);
    let parts = |count: usize| values.chunks(inner(count)).zip(missing.chunks(inner(count)));
    match *levels {
        [] | [Level::Reduce(_)] => {
            let mut rest = values;
            for run in missing.chunk_by(|a, b| a == b) {
                let (part, after) = rest.split_at(run.len());
                if !run[0] {
                    F::run(&mut cells[0], part);
                }
                rest = after;
            }
        }
        [Level::Keep(len)] | [Level::Reduce(_), Level::Keep(len)] => {
            for (row, missing) in values.chunks(len.max(1)).zip(missing.chunks(len.max(1))) {
                for ((cell, &value), &missing) in cells.iter_mut().zip(row).zip(missing) {
                    if !missing {
                        F::one(cell, value);
                    }
                }
            }
        }
        [Level::Reduce(count), ref rest @ ..] => {
            parts(count).for_each(|(part, missing)| walk_present::<T, F>(rest, cells, part, missing));
        }
        [Level::Keep(count), ref rest @ ..] => {
            for ((part, missing), cells) in parts(count).zip(cells.chunks_mut(width(rest))) {
                walk_present::<T, F>(rest, cells, part, missing);
            }
        }
        [Level::Group(labels, _), ref rest @ ..] => {
            let width = width(rest);
            for ((part, missing), &label) in parts(labels.len()).zip(labels) {
                walk_present::<T, F>(rest, &mut cells[label as usize * width..], part, missing);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ALL: Wanted = Wanted { sum: true, moments: true, extremes: true, nonzero: true };

    /// What a view makes of an axis of so many indices.
    fn usage(len: usize) -> impl Strategy<Value = Use> {
        prop_oneof![
            Just(Use::Keep),
            Just(Use::Reduce),
            (1u32..4).prop_flat_map(move |groups| {
                vec(0..groups, len).prop_map(move |labels| Use::Group { labels, groups: groups as usize })
            }),
        ]
    }

    /// Lengths of axes, a view of them, and values.
    fn block() -> impl Strategy<Value = (Vec<usize>, View, Vec<f64>)> {
        vec(1usize..6, 1..4).prop_flat_map(|lens| {
            let axes: Vec<_> = lens.iter().map(|&len| usage(len)).collect();
            let value = prop_oneof![8 => (-5i8..6).prop_map(f64::from), 1 => Just(f64::NAN)];
            let count = lens.iter().product::<usize>();
            (Just(lens), axes.prop_map(|axes| View { axes, wanted: ALL }), vec(value, count))
        })
    }

    fn indices(lens: &[usize], mut place: usize) -> Vec<usize> {
        let mut indices = vec![0; lens.len()];
        for axis in (0..lens.len()).rev() {
            indices[axis] = place % lens[axis];
            place /= lens[axis];
        }
        indices
    }

    /// The cell of a view that the value with these indices goes to.
    fn cell_of(view: &View, cells: &[usize], indices: &[usize]) -> usize {
        let at = view.axes.iter().zip(indices).map(|(usage, &index)| match usage {
            Use::Keep => index,
            Use::Reduce => 0,
            Use::Group { labels, .. } => labels[index] as usize,
        });
        at.zip(cells).fold(0, |place, (at, &len)| place * len + at)
    }

    /// The obvious twin: the values of each cell, and the statistics of these by their definitions.
    fn check(
        found: &Statistics,
        cells: &[Vec<f64>],
        skips_nan: bool,
    ) -> std::result::Result<(), TestCaseError> {
        let moments = found.moments.as_ref().unwrap();
        let (high, low) = found.total.as_ref().unwrap();
        let (min, max) = found.extremes.as_ref().unwrap();
        let double =
            |bytes: &[u8], at: usize| f64::from_ne_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap());
        let same = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1.0) || a.is_nan() && b.is_nan();
        for (at, all) in cells.iter().enumerate() {
            let values: Vec<f64> =
                all.iter().copied().filter(|value| !(skips_nan && value.is_nan())).collect();
            let count = values.len() as f64;
            prop_assert_eq!(found.count[at], count);
            prop_assert_eq!(
                found.nonzero.as_ref().unwrap()[at],
                all.iter().filter(|&&value| value != 0.0).count() as u64
            );
            let sum: f64 = values.iter().sum();
            prop_assert!(same(high[at] + low[at], sum), "sum {} of {values:?}", high[at]);
            if values.is_empty() {
                continue;
            }
            let mean = sum / count;
            let m2: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
            prop_assert!(
                same(moments[0][at] + moments[1][at], mean),
                "mean {} of {values:?}",
                moments[0][at]
            );
            prop_assert!(same(moments[2][at], m2), "m2 {} of {values:?}, {m2}", moments[2][at]);
            let nan = values.iter().any(|value| value.is_nan());
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (least, greatest) = if nan { (f64::NAN, f64::NAN) } else { (least, greatest) };
            prop_assert!(same(double(min, at), least));
            prop_assert!(same(double(max, at), greatest));
        }
        Ok(())
    }

    fn finished(cells: Cells<f64>, view: &View, lens: &[usize]) -> Statistics {
        let mut found = Statistics::new::<f64>(&view.lens(lens), view.wanted).unwrap();
        let origin = vec![0; lens.len()];
        cells.finish(&PerCell::of_view(view, lens).unwrap(), &origin, &mut found);
        found
    }

    proptest! {
        /// Blocks that are folded each into cells of its own and merged are what the definitions say.
        #[test]
        fn blocks_are_folded_as_by_hand(
            (lens, view, values) in block(),
            cut in any::<prop::sample::Index>(),
            along in any::<prop::sample::Index>(),
            skips_nan: bool,
        ) {
            let axis = along.index(lens.len());
            let at = cut.index(lens[axis] + 1);
            let counts = Counts { skips_nan, present: skips_nan, stored: false };
            let mut totals = Cells::<f64>::new(&view.lens(&lens), ALL, counts).unwrap();
            for range in [0..at, at..lens[axis]].into_iter().filter(|range| !range.is_empty()) {
                let (mut block_lens, mut origin) = (lens.clone(), vec![0; lens.len()]);
                (block_lens[axis], origin[axis]) = (range.len(), range.start);
                let block: Vec<f64> = (0..values.len())
                    .filter(|&place| range.contains(&indices(&lens, place)[axis]))
                    .map(|place| values[place])
                    .collect();
                let mut part = Cells::<f64>::new(&view.lens(&block_lens), ALL, counts).unwrap();
                part.take(&view.levels(&origin, &block_lens), 0, &block);
                let kept: Vec<usize> = view.axes.iter().zip(&origin)
                    .map(|(usage, &at)| if *usage == Use::Keep { at } else { 0 }).collect();
                totals.merge(&kept, &part);
            }
            let shape = view.lens(&lens);
            let mut cells = vec![Vec::new(); shape.iter().product()];
            for (place, &value) in values.iter().enumerate() {
                cells[cell_of(&view, &shape, &indices(&lens, place))].push(value);
            }
            check(&finished(totals, &view, &lens), &cells, skips_nan)?;
        }

        /// What is all the same is folded at once.
        #[test]
        fn equal_values_are_folded_at_once((lens, view, values) in block(), skips_nan: bool) {
            let (value, counts) = (values[0], Counts { skips_nan, present: skips_nan, stored: false });
            let mut totals = Cells::<f64>::new(&view.lens(&lens), ALL, counts).unwrap();
            totals.take_same(&view.levels(&vec![0; lens.len()], &lens), 0, value);
            let shape = view.lens(&lens);
            let mut cells = vec![Vec::new(); shape.iter().product()];
            for place in 0..values.len() {
                cells[cell_of(&view, &shape, &indices(&lens, place))].push(value);
            }
            check(&finished(totals, &view, &lens), &cells, skips_nan)?;
        }

        /// Elements of a matrix of three columns, in any order of cells, and the zeros between them.
        #[test]
        fn elements_are_scattered_as_by_hand(
            elements in vec((0usize..3, prop_oneof![9 => (-5i8..6).prop_map(f64::from), 1 => Just(f64::NAN)]), 0..400),
            more in 0usize..5,
            skips_nan: bool,
            by_kind: bool,
        ) {
            let rows = elements.len() + more;
            let view = View { axes: vec![Use::Reduce, Use::Keep], wanted: ALL };
            let mut totals = Cells::<f64>::new(&[1, 3], ALL, Counts { skips_nan, present: skips_nan, stored: true }).unwrap();
            let mut scattered = Scattered::Nothing;
            if !by_kind {
                scattered = totals.scattered(scattered).unwrap();
                prop_assert!(matches!(scattered, Scattered::All(_)));
            }
            let positions: Vec<usize> = elements.iter().map(|element| element.0).collect();
            let values: Vec<f64> = elements.iter().map(|element| element.1).collect();
            totals.scatter(&mut scattered, 0, &positions.iter().copied(), &values);
            totals.settle(&mut scattered);
            let mut cells = vec![Vec::new(); 3];
            for &(position, value) in &elements {
                cells[position].push(value);
            }
            for cell in &mut cells {
                cell.resize(rows, 0.0);
            }
            check(&finished(totals, &view, &[rows, 3]), &cells, skips_nan)?;
        }

        /// Integers are exact, and each way of scattering them gives the same.
        #[test]
        fn scattered_integers_are_exact(
            elements in vec((0usize..4, prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX), -9..9]), 1..300),
        ) {
            let counts = Counts { skips_nan: false, present: false, stored: true };
            for wanted in [ALL, Wanted { moments: true, ..Wanted::default() }] {
                let mut totals = Cells::<i32>::new(&[4], wanted, counts).unwrap();
                let mut scattered = totals.scattered(Scattered::Nothing).unwrap();
                let positions: Vec<usize> = elements.iter().map(|element| element.0).collect();
                let values: Vec<i32> = elements.iter().map(|element| element.1).collect();
                totals.scatter(&mut scattered, 0, &positions.iter().copied(), &values);
                totals.settle(&mut scattered);
                for cell in 0..4 {
                    let mine = || elements.iter().filter(|element| element.0 == cell).map(|element| i128::from(element.1));
                    let (count, sum) = (mine().count() as i128, mine().sum::<i128>());
                    if let Some(sums) = &totals.sum {
                        prop_assert_eq!(sums[cell], sum);
                    }
                    let moments = totals.spread.as_ref().unwrap()[cell];
                    prop_assert_eq!(moments.count, count as f64);
                    if count > 0 {
                        let squares: i128 = mine().map(|value| value * value).sum();
                        // The sum of the squared deviations is a whole number divided by the count.
                        let m2 = (count * squares - sum * sum) as f64 / count as f64;
                        prop_assert!((moments.m2 - m2).abs() <= 4.0 * f64::EPSILON * m2);
                        let mean = sum as f64 / count as f64;
                        prop_assert!((moments.mean + moments.low - mean).abs() <= f64::EPSILON * mean.abs());
                    }
                }
            }
        }

        /// What is far from zero and close to each other, in any order of cells.
        #[test]
        fn scattered_floats_are_stable(
            elements in vec((0usize..3, -1.0..1.0), 1..1000),
            offset in prop::sample::select(vec![0.0, 1.0, 1e6]),
        ) {
            let wanted = Wanted { moments: true, ..Wanted::default() };
            let mut totals = Cells::<f64>::new(&[3], wanted, Counts { skips_nan: false, present: false, stored: true }).unwrap();
            let mut scattered = totals.scattered(Scattered::Nothing).unwrap();
            let positions: Vec<usize> = elements.iter().map(|element| element.0).collect();
            let values: Vec<f64> = elements.iter().map(|element| element.1 + offset).collect();
            totals.scatter(&mut scattered, 0, &positions.iter().copied(), &values);
            totals.settle(&mut scattered);
            for cell in 0..3 {
                // In exact arithmetic as far as it matters: distances from the offset are small.
                let near: Vec<f64> = positions.iter().zip(&values).filter(|(at, _)| **at == cell).map(|(_, value)| value - offset).collect();
                let mean = near.iter().sum::<f64>() / near.len() as f64;
                let m2: f64 = near.iter().map(|value| (value - mean) * (value - mean)).sum();
                let moments = totals.spread.as_ref().unwrap()[cell];
                prop_assert_eq!(moments.count, near.len() as f64);
                if !near.is_empty() {
                    prop_assert!((moments.mean - offset - mean).abs() <= 1e-15 * (1.0 + offset) * 4.0);
                    prop_assert!((moments.m2 - m2).abs() <= 1e-12 * m2 + 1e-18 * offset * offset * near.len() as f64);
                }
            }
        }
    }

    #[test]
    fn an_infinity_has_no_variance() {
        for values in [&[f64::INFINITY][..], &[1.0, f64::INFINITY], &[f64::INFINITY, f64::INFINITY]] {
            let wanted = Wanted { moments: true, ..Wanted::default() };
            let mut totals =
                Cells::<f64>::new(&[1], wanted, Counts { skips_nan: false, present: false, stored: true })
                    .unwrap();
            let mut scattered = totals.scattered(Scattered::Nothing).unwrap();
            totals.scatter(&mut scattered, 0, &values.iter().map(|_| 0), values);
            totals.settle(&mut scattered);
            assert!(totals.spread.unwrap()[0].m2.is_nan(), "{values:?}");
        }
    }
}
