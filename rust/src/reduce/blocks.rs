//! Statistics of blocks: what a sweep of a dataset does with its own, and with those that a caller makes of it.
//!
//! [`Blocks`] cuts a selection as [`crate::dense::reduce`] does, and folds the values that somebody else makes of each unit
//! by the same functions in the same order: of the same values come the same bits.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::any::Any;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cells::{Cells, Counts, Part, PerCell, merge_part};
use super::compressed::{self, Stored};
use super::number::Number;
use super::running::Scattered;
use super::{Statistics, Use, View, check_element, with_number};
use crate::chunks::Grid;
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{PerAxis, Plan, per_axis};
use crate::selection::Axis;
use crate::units::{self, Band, Block, Region, Units};

/// Bytes of converted elements that a unit has, unless a single chunk has more: what fits into a processor's own cache.
const UNIT_BYTES: usize = if crate::SMALL { 256 } else { 1 << 20 };

/// Maximum number of elements that are folded at once.
pub(crate) const BLOCK_ELEMENTS: usize = if crate::SMALL { 16 } else { 1 << 18 };

/// A chunk with up to this many times the elements of a block is asked for whole; a larger one block by block.
const WHOLE: usize = 8;

/// Cells of a part of a compressed matrix are its own if it has this many stored elements for each.
const ELEMENTS_PER_CELL: usize = 8;

/// Cuts a selection into units; `bytes` is how much a unit should have, if it is not what is best.
pub(crate) fn units(plan: &Plan, target: ElementType, views: &[View], bytes: Option<usize>) -> Units {
    // First those axes that are not kept by the first view, so that neighbours are merged into the same cells.
    let is_kept = |axis: &usize| views.first().is_some_and(|view| view.axes[*axis] == Use::Keep);
    let (kept, reduced): (PerAxis<usize>, PerAxis<usize>) = (0..plan.lens().len()).rev().partition(is_kept);
    let order = per_axis(reduced.into_iter().chain(kept));
    Units::new(plan, bytes.unwrap_or(UNIT_BYTES) / target.size().max(1), order)
}

/// Cells for a unit, the first of which are at the unit's place in `band`.
pub(crate) fn part<T: Number>(
    views: &[View],
    unit: &Region,
    band: &Region,
    counts: Counts,
) -> Result<Part<T>> {
    let lens = per_axis(unit.iter().map(Range::len));
    let mut part: Part<T> = memory::with_capacity(views.len())?;
    for view in views {
        let origin = view.kept(unit.iter().zip(band).map(|(unit, band)| unit.start - band.start));
        part.push((origin, Cells::new(&view.lens(&lens), view.wanted, counts)?));
    }
    Ok(part)
}

/// Folds a block of a unit: one of its slabs.
pub(crate) fn take<T: Number>(
    views: &[View],
    part: &mut Part<T>,
    (unit, block): (&Region, &Region),
    elements: Block<'_>,
    missing: &[bool],
) {
    let lens = per_axis(block.iter().map(Range::len));
    let origin = per_axis(block.iter().map(|range| range.start));
    let is_missing = missing.contains(&true);
    for (view, (_, cells)) in views.iter().zip(part) {
        let first =
            cells.place(&view.kept(unit.iter().zip(block).map(|(unit, block)| block.start - unit.start)));
        let levels = view.levels(&origin, &lens);
        match elements {
            Block::Values(bytes) if is_missing => {
                cells.take_present(&levels, first, bytemuck::cast_slice(bytes), missing);
            }
            // What is all the same is so whether the file has it or not.
            Block::Values(bytes) if is_same(bytes, size_of::<T>()) => {
                cells.take_same(&levels, first, bytemuck::pod_read_unaligned(&bytes[..size_of::<T>()]));
            }
            Block::Values(bytes) => cells.take(&levels, first, bytemuck::cast_slice(bytes)),
            Block::Same(bytes) => cells.take_same(&levels, first, bytemuck::pod_read_unaligned(bytes)),
        }
    }
}

/// Whether there are elements, which have all the same bytes.
fn is_same(bytes: &[u8], size: usize) -> bool {
    bytes.len() >= size && bytes[size..] == bytes[..bytes.len() - size]
}

/// What came of a block, to be merged.
pub struct Folded(Box<dyn Any + Send>);

/// A block of a compressed matrix.
#[derive(Debug, Clone, Copy)]
pub struct Compressed<'a> {
    /// The first row and the first column.
    pub origin: [usize; 2],
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Whether it is compressed by column.
    pub by_column: bool,
    /// Where the elements of each column (or row) begin, and where the last one's end.
    pub pointers: &'a [u64],
    /// The row (or column) of each element within the block.
    pub indices: Indices<'a>,
    /// The elements, native.
    pub values: &'a [u8],
}

/// Indices of stored elements.
#[derive(Debug, Clone, Copy)]
pub enum Indices<'a> {
    /// Of 32 bits.
    Narrow(&'a [i32]),
    /// Of 64 bits.
    Wide(&'a [i64]),
}

/// Statistics of an array whose values the caller makes block by block.
///
/// Blocks may be folded by any thread in any order; what comes of them must be merged in the order of their numbers.
pub struct Blocks {
    /// How many positions there are along each axis.
    lens: PerAxis<usize>,
    /// How they are cut; nothing where blocks lie anywhere.
    cut: Option<Cut>,
    target: ElementType,
    views: Vec<View>,
    counts: Counts,
    /// A vector of cells of the target's number.
    totals: Mutex<Box<dyn Any + Send>>,
}

/// A selection that is cut into units.
struct Cut {
    plan: Plan,
    units: Units,
    band: Band,
}

/// What is added up of compressed blocks before it is merged.
struct Totals<T: Number> {
    cells: Vec<Cells<T>>,
    open: Option<Open<T>>,
}

struct Open<T: Number> {
    part: Part<T>,
    scattered: Vec<Scattered<T>>,
    elements: usize,
}

/// Calls a method for the number of the target.
macro_rules! typed {
    ($blocks:expr, $method:ident ( $($argument:expr),* )) => {{
        macro_rules! run {
            ($t:ty) => {
                $blocks.$method::<$t>($($argument),*)
            };
        }
        with_number!($blocks.target, run)
    }};
}

impl Blocks {
    /// Prepares a sweep of a selection of an array with chunks.
    ///
    /// `skips_nan` leaves NaNs out; `masks` says that values may be missing. `bytes` is about how much a unit has, if it is not
    /// what is best.
    ///
    /// # Errors
    /// [`Error::Structure`] when shape, chunk, selection and views do not fit each other, [`Error::Index`] when an index is
    /// outside, [`Error::ElementType`] when `target` is no native type of numbers or booleans, [`Error::OutOfMemory`].
    pub fn new(
        grid: Grid,
        selection: &[Axis],
        target: ElementType,
        views: Vec<View>,
        [skips_nan, masks]: [bool; 2],
        bytes: Option<usize>,
    ) -> Result<Self> {
        let plan = Plan::new(grid, selection)?;
        let lens = PerAxis::from_slice(plan.lens());
        let counts = Counts { skips_nan, present: skips_nan || masks, stored: false };
        let mut blocks = Self::with(lens, target, views, counts)?;
        let units = units(&plan, target, &blocks.views, bytes);
        let band = units.band(None);
        blocks.cut = Some(Cut { plan, units, band });
        Ok(blocks)
    }

    /// Prepares a sweep of an array of this shape whose parts lie anywhere. If it is `sparse`, these are blocks of stored
    /// elements, and all others are zero.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_parts(
        shape: &[usize],
        target: ElementType,
        views: Vec<View>,
        skips_nan: bool,
        sparse: bool,
    ) -> Result<Self> {
        let needs_zeros = views.iter().any(|view| view.wanted.moments || view.wanted.extremes);
        let counts = Counts { skips_nan, present: skips_nan, stored: sparse && (needs_zeros || skips_nan) };
        Self::with(PerAxis::from_slice(shape), target, views, counts)
    }

    fn with(lens: PerAxis<usize>, target: ElementType, views: Vec<View>, counts: Counts) -> Result<Self> {
        check_element(target)?;
        for view in &views {
            view.check(&lens)?;
        }
        let mut blocks = Self { lens, cut: None, target, views, counts, totals: Mutex::new(Box::new(())) };
        blocks.totals = Mutex::new(typed!(blocks, make_totals())?);
        Ok(blocks)
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Any + Send>> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_totals<T: Number>(&self) -> Result<Box<dyn Any + Send>> {
        let mut cells: Vec<Cells<T>> = memory::with_capacity(self.views.len())?;
        for view in &self.views {
            cells.push(Cells::new(&view.lens(&self.lens), view.wanted, self.counts)?);
        }
        Ok(Box::new(Totals { cells, open: None }))
    }

    /// Number of units.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.cut.as_ref().map_or(0, |cut| if cut.plan.count() == 0 { 0 } else { cut.band.len() })
    }

    fn whole_unit(&self, number: usize) -> Result<Region> {
        match &self.cut {
            Some(Cut { plan, units, band }) if number < self.len() => Ok(units.unit(plan, band, number)),
            _ => Err(Error::Index(format!("there is no unit {number} of {}", self.len()))),
        }
    }

    /// The box of all there is.
    fn whole(&self) -> Region {
        per_axis(self.lens.iter().map(|&len| 0..len))
    }

    /// The boxes of a unit, along each axis positions of the selection: one, or the parts of a chunk that is too large to be
    /// made at once.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn unit(&self, number: usize) -> Result<Vec<Region>> {
        let unit = self.whole_unit(number)?;
        let elements = unit.iter().map(Range::len).fold(1, usize::saturating_mul);
        let most = if elements <= WHOLE * BLOCK_ELEMENTS { elements.max(1) } else { BLOCK_ELEMENTS };
        Ok(memory::collect(units::slabs(&unit, most))?)
    }

    /// Folds a box of a unit, in C order, after those before it, which `before` has. If there is a mask, `missing` says of each
    /// value whether it is left out.
    ///
    /// # Errors
    /// [`Error::Structure`] when there are not as many values as the box has, [`Error::OutOfMemory`].
    pub fn fold(
        &self,
        number: usize,
        region: &Region,
        values: &[u8],
        missing: Option<&[bool]>,
        before: Option<Folded>,
    ) -> Result<Folded> {
        typed!(self, fold_as(number, region, values, missing, before))
    }

    fn fold_as<T: Number>(
        &self,
        number: usize,
        region: &Region,
        values: &[u8],
        missing: Option<&[bool]>,
        before: Option<Folded>,
    ) -> Result<Folded> {
        let elements = region.iter().map(Range::len).fold(1, usize::saturating_mul);
        let fits = elements.checked_mul(size_of::<T>()) == Some(values.len())
            && missing.is_none_or(|missing| self.counts.present && missing.len() == elements);
        let aligned = values.as_ptr().cast::<T>().is_aligned();
        let unit = self.whole_unit(number)?;
        let inside = unit.len() == region.len()
            && unit
                .iter()
                .zip(region)
                .all(|(unit, range)| unit.start <= range.start && range.end <= unit.end);
        if !(fits && aligned && inside) {
            return Err(Error::Structure(format!("this is no block of unit {number}")));
        }
        let mut found: Part<T> = match before {
            Some(before) => *before.0.downcast().map_err(|_| other_type())?,
            None => part(&self.views, &unit, &self.whole(), self.counts)?,
        };
        for (block, range) in units::cut(region, BLOCK_ELEMENTS) {
            let bytes = &values[range.start * size_of::<T>()..range.end * size_of::<T>()];
            let missing = missing.map_or(&[][..], |missing| &missing[range]);
            take(&self.views, &mut found, (&unit, &block), Block::Values(bytes), missing);
        }
        Ok(Folded(Box::new(found)))
    }

    /// Folds the stored elements of a block; `None` if it has so few for all the cells that they should be taken by
    /// [`Self::take_compressed`] when their turn comes.
    ///
    /// # Errors
    /// [`Error::Structure`] when the block is not what it should be, [`Error::OutOfMemory`].
    pub fn fold_compressed(&self, block: &Compressed<'_>) -> Result<Option<Folded>> {
        typed!(self, fold_compressed_as(block))
    }

    fn fold_compressed_as<T: Number>(&self, block: &Compressed<'_>) -> Result<Option<Folded>> {
        let stored = self.stored::<T>(block)?;
        let count = |lens: &[usize]| {
            let cells = |view: &View| view.lens(lens).iter().copied().fold(1, usize::saturating_mul);
            self.views.iter().map(cells).fold(0, usize::saturating_add)
        };
        let (own, all) = (count(&block.shape), count(&self.lens));
        if own > stored.values.len() / ELEMENTS_PER_CELL && own > all / 2 {
            return Ok(None);
        }
        let region = per_axis(block.origin.iter().zip(&block.shape).map(|(&start, &len)| start..start + len));
        let mut part: Part<T> = part(&self.views, &region, &self.whole(), self.counts)?;
        let mut scattered = compressed::scattered(&self.views, &part, stored.axis, Vec::new())?;
        stored.fold(&self.views, &mut part, &mut scattered, block.origin);
        compressed::settle(&mut part, &mut scattered);
        Ok(Some(Folded(Box::new(part))))
    }

    /// Takes the stored elements of a block.
    ///
    /// # Errors
    /// As [`Self::fold_compressed`].
    pub fn take_compressed(&self, block: &Compressed<'_>) -> Result<()> {
        typed!(self, take_compressed_as(block))
    }

    fn take_compressed_as<T: Number>(&self, block: &Compressed<'_>) -> Result<()> {
        let stored = self.stored::<T>(block)?;
        let whole = self.whole();
        let (views, counts) = (&self.views, self.counts);
        let mut totals = self.lock();
        let Totals { cells, open } = totals.downcast_mut::<Totals<T>>().ok_or_else(other_type)?;
        let mut now = if let Some(open) = open.take() {
            open
        } else {
            let part = part(views, &whole, &whole, counts)?;
            let scattered = compressed::scattered(views, &part, stored.axis, Vec::new())?;
            Open { part, scattered, elements: 0 }
        };
        stored.fold(views, &mut now.part, &mut now.scattered, [0, 0]);
        now.elements += stored.values.len();
        let all: usize = cells.iter().map(Cells::count).sum();
        if now.elements / ELEMENTS_PER_CELL >= all {
            compressed::settle(&mut now.part, &mut now.scattered);
            merge_part(cells, &now.part);
        } else {
            *open = Some(now);
        }
        Ok(())
    }

    fn stored<'a, T: Number>(&self, block: &Compressed<'a>) -> Result<Stored<'a, T>> {
        let &Compressed { origin, shape, by_column, pointers, indices, values } = block;
        let axis = usize::from(by_column);
        let wrong = || Error::Structure("this is no compressed block of the matrix".into());
        let lens = &self.lens;
        let inside = lens.len() == 2
            && (0..2).all(|axis| origin[axis].checked_add(shape[axis]).is_some_and(|end| end <= lens[axis]));
        // What is empty may lie anywhere.
        let values: &[T] =
            if values.is_empty() { &[] } else { bytemuck::try_cast_slice(values).map_err(|_| wrong())? };
        let count = match indices {
            Indices::Narrow(indices) => indices.len(),
            Indices::Wide(indices) => indices.len(),
        };
        let ends = pointers.first() == Some(&0) && pointers.last() == Some(&(count as u64));
        if !(inside
            && ends
            && pointers.is_sorted()
            && pointers.len() == shape[axis] + 1
            && values.len() == count)
        {
            return Err(wrong());
        }
        let extent = shape[1 - axis] as u64;
        let is_outside = match indices {
            Indices::Narrow(indices) => indices.iter().any(|&index| index < 0 || index as u64 >= extent),
            Indices::Wide(indices) => indices.iter().any(|&index| index < 0 || index as u64 >= extent),
        };
        if is_outside {
            return Err(wrong());
        }
        Ok(Stored { axis, first: origin, pointers, indices, values })
    }

    /// Merges what came of a block.
    ///
    /// # Errors
    /// [`Error::Internal`] when it is of another sweep.
    pub fn merge(&self, folded: Folded) -> Result<()> {
        typed!(self, merge_as(folded))
    }

    fn merge_as<T: Number>(&self, folded: Folded) -> Result<()> {
        let part: Box<Part<T>> = folded.0.downcast().map_err(|_| other_type())?;
        let mut totals = self.lock();
        let totals = totals.downcast_mut::<Totals<T>>().ok_or_else(other_type)?;
        merge_part(&mut totals.cells, &part);
        Ok(())
    }

    /// Takes all values of which somebody else has made the statistics, for each view with the place of the first.
    ///
    /// # Errors
    /// [`Error::Structure`] when they do not fit, [`Error::OutOfMemory`].
    pub fn take_statistics(&self, parts: &[(PerAxis<usize>, Statistics)]) -> Result<()> {
        typed!(self, take_statistics_as(parts))
    }

    fn take_statistics_as<T: Number>(&self, parts: &[(PerAxis<usize>, Statistics)]) -> Result<()> {
        let mut totals = self.lock();
        let totals = totals.downcast_mut::<Totals<T>>().ok_or_else(other_type)?;
        if parts.len() != totals.cells.len() || self.counts.stored {
            return Err(Error::Structure("these are not the statistics of all views".into()));
        }
        for (total, (origin, statistics)) in totals.cells.iter_mut().zip(parts) {
            total.take_statistics(origin, statistics)?;
        }
        Ok(())
    }

    /// The statistics of all that was merged, one for each view. The sweep is over then.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn finish(&self) -> Result<Vec<Statistics>> {
        typed!(self, finish_as())
    }

    fn finish_as<T: Number>(&self) -> Result<Vec<Statistics>> {
        let totals = std::mem::replace(&mut *self.lock(), Box::new(()));
        let totals = totals.downcast::<Totals<T>>().map_err(|_| other_type())?;
        let Totals { mut cells, open } = *totals;
        if let Some(Open { mut part, mut scattered, .. }) = open {
            compressed::settle(&mut part, &mut scattered);
            merge_part(&mut cells, &part);
        }
        let lens = &self.lens;
        let mut results = memory::with_capacity(self.views.len())?;
        for (view, cells) in self.views.iter().zip(cells) {
            let mut result = Statistics::new::<T>(&view.lens(lens), view.wanted)?;
            let sizes = PerCell::of_view(view, lens)?;
            cells.finish(&sizes, &PerAxis::from_elem(0, lens.len()), &mut result);
            results.push(result);
        }
        Ok(results)
    }
}

fn other_type() -> Error {
    Error::Internal("cells of another type".into())
}
