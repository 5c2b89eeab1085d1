//! Statistics of dense datasets.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;
use std::path::Path;

use crate::element::ElementType;
use crate::error::Result;
use crate::memory;
use crate::plan::{Plan, per_axis};
use crate::pool::{self, Control};
use crate::reader::{ChunkReader, Request};
use crate::reduce::blocks::{self, BLOCK_ELEMENTS};
use crate::reduce::cells::{Cells, Counts, Part, PerCell, merge_part};
use crate::reduce::number::Number;
use crate::reduce::order::InOrder;
use crate::reduce::{Statistics, Use, View, check_element, with_number};
use crate::scatter::Kernel;
use crate::selection::Axis;
use crate::units::{self, Band, Region, Units, Worker};

/// Bytes of cells that there are at a time, unless there are several results or a chunk's cells are more.
const BAND_BYTES: usize = if crate::SMALL { 256 } else { 32 << 20 };

/// Statistics of a selection of a dataset whose elements are first converted to `target`, one [`Statistics`] for each
/// view.
///
/// `skips_nan` leaves NaNs out. Memory: a few MiB for each thread, and the cells of the views.
///
/// # Errors
/// As [`super::read`]; [`crate::Error::ElementType`] when `target` is no native type of numbers or booleans,
/// [`crate::Error::Structure`] when a view does not fit the selection.
pub fn reduce(
    path: &Path,
    name: &[u8],
    selection: &[Axis],
    target: ElementType,
    views: &[View],
    skips_nan: bool,
    control: &Control<'_>,
) -> Result<Vec<Statistics>> {
    check_element(target)?;
    Request::run(path, |request| {
        let reader = request.reader(name)?;
        let kernel =
            Kernel::new(reader.dataset().element, target).map_err(|error| error.at(reader.place()))?;
        let plan = Plan::new(reader.grid().clone(), selection).map_err(|error| error.at(reader.place()))?;
        views.iter().try_for_each(|view| view.check(plan.lens()))?;
        let sweep = Sweep { reader: &reader, plan: &plan, selection, kernel, target, views, skips_nan };
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
    reader: &'a ChunkReader<'a>,
    plan: &'a Plan,
    selection: &'a [Axis],
    kernel: Kernel,
    target: ElementType,
    views: &'a [View],
    skips_nan: bool,
}

impl Sweep<'_> {
    fn run<T: Number>(&self, control: &Control<'_>) -> Result<Vec<Statistics>> {
        let lens = self.plan.lens();
        let counts = Counts { skips_nan: self.skips_nan, present: self.skips_nan, stored: false };
        let mut results = memory::with_capacity(self.views.len())?;
        for view in self.views {
            results.push(Statistics::new::<T>(&view.lens(lens), view.wanted)?);
        }
        let units = blocks::units(self.plan, self.target, self.views, None);
        let work = control.work();
        work.expect(units.band(None).len() as u64);
        for band in self.bands::<T>(&units, counts)? {
            let span = units.span(self.plan, &band);
            let band_lens = per_axis(span.iter().map(Range::len));
            let mut totals: Vec<Cells<T>> = memory::with_capacity(self.views.len())?;
            for view in self.views {
                totals.push(Cells::new(&view.lens(&band_lens), view.wanted, counts)?);
            }
            let order = InOrder::new(2 * pool::num_threads()?, |part: Part<T>| {
                merge_part(&mut totals, &part);
                Ok(())
            });
            pool::for_each_in_order(control, band.len(), |worker: &mut Worker, number| {
                order.bring(number, || {
                    self.unit(&units.unit(self.plan, &band, number), &span, counts, worker)
                })?;
                work.advance(1);
                Ok(())
            })?;
            order.finish(band.len())?;
            for ((view, cells), result) in self.views.iter().zip(totals).zip(&mut results) {
                let sizes = PerCell::of_view(view, lens)?;
                let origin = view.kept(span.iter().map(|range| range.start));
                cells.finish(&sizes, &origin, result);
            }
        }
        Ok(results)
    }

    /// Cuts the units into bands, which are done one after another so that there are not too many cells at a time. Only an
    /// axis that all views keep can be cut.
    fn bands<T: Number>(&self, units: &Units, counts: Counts) -> Result<Vec<Band>> {
        let bytes = |view: &View| {
            let cells: usize = view.lens(self.plan.lens()).iter().product();
            cells.saturating_mul(Cells::<T>::bytes(view.wanted, counts))
        };
        let all: usize = self.views.iter().map(bytes).sum();
        let is_kept = |axis: &usize| self.views.iter().all(|view| view.axes[*axis] == Use::Keep);
        Ok(match (0..self.selection.len()).find(is_kept) {
            Some(axis) if all > BAND_BYTES => {
                let count = units.count(axis);
                let each = (u128::from(count) * BAND_BYTES as u128 / all as u128).max(1) as u64;
                let starts = (0..count).step_by(each as usize);
                memory::collect(starts.map(|start| units.band(Some((axis, start..count.min(start + each))))))?
            }
            _ => memory::collect([units.band(None)])?,
        })
    }

    /// Folds the elements of a unit.
    fn unit<T: Number>(
        &self,
        unit: &Region,
        band: &Region,
        counts: Counts,
        worker: &mut Worker,
    ) -> Result<Part<T>> {
        let mut part = blocks::part(self.views, unit, band, counts)?;
        let read = (self.plan, self.selection);
        units::read(self.reader, read, unit, self.kernel, BLOCK_ELEMENTS, worker, |block, elements| {
            blocks::take(self.views, &mut part, (unit, block), elements, &[]);
        })?;
        Ok(part)
    }
}
