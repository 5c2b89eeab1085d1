//! Units: a selection as a sequence of boxes of a few chunks each, for work that goes through all of it in bounded memory.
//!
//! Where they are cut depends on the dataset and the request alone, never on the number of threads, and no chunk belongs to
//! two of them.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;

use crate::error::Result;
use crate::memory;
use crate::plan::{PerAxis, Plan, per_axis};
use crate::reader::{self, ChunkReader};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;

/// A region of a selection: along each axis the positions within it.
pub(crate) type Region = PerAxis<Range<usize>>;

/// How a selection is cut.
pub(crate) struct Units {
    /// Chunks of a unit along each axis.
    chunks: PerAxis<u64>,
    /// Units along each axis.
    counts: PerAxis<u64>,
    /// The axes from that along which units follow each other to that which changes last.
    order: PerAxis<usize>,
}

/// Some of the units: all, or those of a range along one axis.
pub(crate) struct Band {
    first: PerAxis<u64>,
    counts: PerAxis<u64>,
}

impl Band {
    /// Number of units.
    pub(crate) fn len(&self) -> usize {
        self.counts.iter().product::<u64>() as usize
    }
}

impl Units {
    /// Units of as many chunks as have `elements` elements, at least one, along the axes in this order.
    pub(crate) fn new(plan: &Plan, elements: usize, order: PerAxis<usize>) -> Self {
        let chunk = plan.grid().chunk().iter().fold(1u64, |product, &len| product.saturating_mul(len));
        let mut room = (elements as u64 / chunk.max(1)).max(1);
        let touched = per_axis((0..plan.lens().len()).map(|axis| plan.touched(axis)));
        let mut chunks = PerAxis::from_elem(1, touched.len());
        for &axis in &order {
            chunks[axis] = room.min(touched[axis]).max(1);
            room /= chunks[axis];
        }
        let pairs = touched.iter().zip(&chunks);
        let counts = per_axis(pairs.map(|(&touched, &chunks)| touched.div_ceil(chunks)));
        Self { chunks, counts, order }
    }

    /// Number of units along an axis.
    pub(crate) fn count(&self, axis: usize) -> u64 {
        self.counts[axis]
    }

    /// All units; of the one axis, if there is one, only those of the range.
    pub(crate) fn band(&self, only: Option<(usize, Range<u64>)>) -> Band {
        let (mut first, mut counts) = (PerAxis::from_elem(0, self.counts.len()), self.counts.clone());
        if let Some((axis, range)) = only {
            (first[axis], counts[axis]) = (range.start, range.end - range.start);
        }
        Band { first, counts }
    }

    /// The box of unit `number` of a band.
    pub(crate) fn unit(&self, plan: &Plan, band: &Band, number: usize) -> Region {
        let mut left = number as u64;
        let mut ranges = PerAxis::from_elem(0..0, self.counts.len());
        for &axis in &self.order {
            let at = band.first[axis] + left % band.counts[axis];
            left /= band.counts[axis];
            ranges[axis] = self.range(plan, axis, at..at + 1);
        }
        ranges
    }

    /// The box of all units of a band.
    pub(crate) fn span(&self, plan: &Plan, band: &Band) -> Region {
        let ranges = band.first.iter().zip(&band.counts).enumerate();
        per_axis(ranges.map(|(axis, (&first, &count))| self.range(plan, axis, first..first + count)))
    }

    /// Positions along an axis that some units take.
    fn range(&self, plan: &Plan, axis: usize, units: Range<u64>) -> Range<usize> {
        let (first, end) = (units.start * self.chunks[axis], units.end * self.chunks[axis]);
        let end = end.min(plan.touched(axis));
        if first >= end {
            return 0..0;
        }
        plan.targets(axis, first).start..plan.targets(axis, end - 1).end
    }
}

/// The elements of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block<'a> {
    /// All of them, in C order.
    Values(&'a [u8]),
    /// The one value that all of them have, since no chunk of the block was ever written.
    Same(&'a [u8]),
}

/// What a worker keeps between units.
#[derive(Default)]
pub(crate) struct Worker {
    chunks: reader::Worker,
    /// Of `u64` for the sake of alignment.
    block: Vec<u64>,
}

/// Reads a unit, each of its chunks once, and calls `take` with its [`slabs`] of `most` elements, converted by `kernel`, and
/// with each one's box of the selection.
pub(crate) fn read(
    reader: &ChunkReader<'_>,
    (plan, selection): (&Plan, &[Axis]),
    unit: &Region,
    kernel: Kernel,
    most: usize,
    worker: &mut Worker,
    mut take: impl FnMut(&Region, Block<'_>),
) -> Result<()> {
    let part = |block: &Region| {
        let mut axes: PerAxis<Axis> = PerAxis::new();
        for (axis, range) in selection.iter().zip(block) {
            axes.push(axis.part(range.clone())?);
        }
        Plan::new(plan.grid().clone(), &axes)
    };
    let unit_plan = part(unit)?;
    if unit_plan.count() == 0 {
        return Ok(());
    }
    let Worker { chunks, block: room } = worker;
    if reader.is_unwritten(&unit_plan) {
        let value = room_for(room, 1, kernel)?;
        kernel.convert(&reader.dataset().fill_value()?, value);
        slabs(unit, most).for_each(|block| take(&block, Block::Same(value)));
        return Ok(());
    }
    let sweep = reader.part_of_sweep(&unit_plan, plan.jobs());
    if unit_plan.jobs() > 1 || unit_plan.count() <= most || !sweep.decodes_whole_chunks() {
        let bytes = room_for(room, unit_plan.count(), kernel)?;
        let output = Output::new(bytes, &unit_plan, kernel)?;
        for number in 0..unit_plan.jobs() {
            sweep.copy(number, &output, chunks)?;
        }
        let bytes = output.finish()?;
        for (block, range) in cut(unit, most) {
            let bytes = &bytes[range.start * kernel.target_size()..range.end * kernel.target_size()];
            take(&block, Block::Values(bytes));
        }
        return Ok(());
    }
    let job = unit_plan.job(0);
    let decoded = sweep.values(0, &job, chunks)?;
    for block in slabs(unit, most) {
        let block_plan = part(&block)?;
        let bytes = room_for(room, block_plan.count(), kernel)?;
        let output = Output::new(bytes, &block_plan, kernel)?;
        sweep.write(&output, 0, &decoded)?;
        take(&block, Block::Values(output.finish()?));
    }
    Ok(())
}

/// Bytes for so many converted elements.
fn room_for(room: &mut Vec<u64>, count: usize, kernel: Kernel) -> Result<&mut [u8]> {
    let bytes = count * kernel.target_size();
    let words = bytes.div_ceil(8);
    if room.len() < words {
        memory::resize(room, words, 0)?;
    }
    Ok(&mut bytemuck::cast_slice_mut(room)[..bytes])
}

/// Cuts a box into boxes of `most` elements at most, each of which has whole axes after one of which it has a part. They
/// follow each other in C order, and are what is folded at once, whoever has made the values.
pub(crate) fn slabs(whole: &Region, most: usize) -> impl Iterator<Item = Region> + use<> {
    // The first axis all of whose followers are few enough together.
    let mut inner = 1;
    let mut axis = whole.len().saturating_sub(1);
    while axis > 0 && inner * whole[axis].len() <= most {
        inner *= whole[axis].len();
        axis -= 1;
    }
    let (whole, step) = (whole.clone(), (most / inner).max(1));
    let outer: usize = whole[..axis].iter().map(Range::len).product();
    let parts = whole.get(axis).map_or(1, |range| range.len().div_ceil(step));
    (0..outer * parts).map(move |number| {
        let mut slab = whole.clone();
        let mut left = number / parts;
        for (at, range) in slab[..axis].iter_mut().enumerate().rev() {
            let index = whole[at].start + left % whole[at].len();
            left /= whole[at].len();
            *range = index..index + 1;
        }
        if let Some(range) = slab.get_mut(axis) {
            let start = range.start + number % parts * step;
            *range = start..range.end.min(start + step);
        }
        slab
    })
}

/// The same, each with where its elements are among those of the box in C order, which follow each other.
pub(crate) fn cut(whole: &Region, most: usize) -> impl Iterator<Item = (Region, Range<usize>)> {
    slabs(whole, most).scan(0, |end, slab| {
        let start = *end;
        *end += slab.iter().map(Range::len).product::<usize>();
        Some((slab, start..*end))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunks::Grid;

    proptest! {
        /// Each element of a selection is in one unit, and each chunk too.
        #[test]
        fn units_are_a_partition(
            axes in prop::collection::vec((1u64..20, 1u64..8, prop::collection::btree_set(0u64..20, 0..20)), 1..4),
            elements in 1usize..400,
            reversed in any::<bool>(),
        ) {
            let shape: Vec<u64> = axes.iter().map(|axis| axis.0).collect();
            let chunk: Vec<u64> = axes.iter().map(|axis| axis.1).collect();
            let selection: Vec<Axis> = axes
                .iter()
                .map(|(extent, _, set)| {
                    Axis::from_indices(set.iter().copied().filter(|index| index < extent).collect()).unwrap()
                })
                .collect();
            let plan = Plan::new(Grid::new(&shape, &chunk).unwrap(), &selection).unwrap();
            let mut order: PerAxis<usize> = (0..shape.len()).collect();
            if reversed {
                order.reverse();
            }
            let units = Units::new(&plan, elements, order);
            let (all, mut chunks) = (units.band(None), std::collections::HashSet::new());
            let mut seen = vec![0; plan.count()];
            for number in 0..all.len() {
                let unit = units.unit(&plan, &all, number);
                let parts: Vec<Axis> = selection.iter().zip(&unit).map(|(axis, range)| axis.part(range.clone()).unwrap()).collect();
                let part = Plan::new(plan.grid().clone(), &parts).unwrap();
                for job in 0..part.jobs() {
                    prop_assert!(chunks.insert(part.job(job).linear), "a chunk of two units");
                }
                for slab in slabs(&unit, 5) {
                    let lens: Vec<usize> = slab.iter().map(Range::len).collect();
                    prop_assert!(lens.iter().product::<usize>() <= 5);
                    for cell in 0..lens.iter().product() {
                        let (mut left, mut place, mut stride) = (cell, 0, 1);
                        for axis in (0..lens.len()).rev() {
                            place += (slab[axis].start + left % lens[axis]) * stride;
                            left /= lens[axis];
                            stride *= plan.lens()[axis];
                        }
                        seen[place] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|&count| count == 1));
            prop_assert_eq!(chunks.len(), plan.jobs());
        }
    }
}
