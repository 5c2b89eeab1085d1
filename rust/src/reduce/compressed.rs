//! Stored elements of compressed matrices, which go to cells in any order.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use super::blocks::Indices;
use super::cells::{Level, Part};
use super::number::Number;
use super::running::Scattered;
use super::{Use, View};
use crate::error::Result;
use crate::memory;

/// Makes what is kept of each cell of each view while elements are scattered; what was settled before is used again.
pub(crate) fn scattered<T: Number>(
    views: &[View],
    part: &Part<T>,
    axis: usize,
    before: Vec<Scattered<T>>,
) -> Result<Vec<Scattered<T>>> {
    let mut scattered = memory::with_capacity(views.len())?;
    let mut before = before.into_iter();
    for (view, (_, cells)) in views.iter().zip(part) {
        let before = before.next().unwrap_or(Scattered::Nothing);
        // With a cell for each element, or with one for all, there is nothing to be gained.
        let gains = view.axes[axis] != Use::Keep && view.axes[1 - axis] != Use::Reduce;
        scattered.push(if gains { cells.scattered(before)? } else { Scattered::Nothing });
    }
    Ok(scattered)
}

/// Makes what was scattered part of the cells.
pub(crate) fn settle<T: Number>(part: &mut Part<T>, scattered: &mut [Scattered<T>]) {
    for ((_, cells), scattered) in part.iter_mut().zip(scattered) {
        cells.settle(scattered);
    }
}

/// Takes elements into the cells of a part.
///
/// `axis` is the one that the matrix is compressed along. `first` are the row and the column of the part's first cells,
/// `segments` positions along the axis with the number of elements of each, and `secondary` the elements' positions along the
/// other axis, from `secondary_first` on.
#[allow(clippy::too_many_arguments)]
pub(crate) fn fold<T: Number, I: Copy + TryInto<usize>>(
    views: &[View],
    part: &mut Part<T>,
    scattered: &mut [Scattered<T>],
    axis: usize,
    first: [usize; 2],
    segments: &(impl Iterator<Item = (usize, usize)> + Clone),
    (secondary, secondary_first): (&[I], usize),
    values: &[T],
) {
    // All were found to be inside of the matrix.
    let at = move |index: &I| (*index).try_into().unwrap_or(0) + secondary_first;
    for ((view, (_, cells)), scattered) in views.iter().zip(part).zip(scattered) {
        let (primary_stride, secondary_stride) = cells.strides(axis);
        let mut begin = 0;
        for (position, count) in segments.clone() {
            let base = primary_stride
                * match &view.axes[axis] {
                    Use::Keep => position - first[axis],
                    Use::Reduce => 0,
                    Use::Group { labels, .. } => labels[position] as usize,
                };
            let range = begin..begin + count;
            begin += count;
            let (places, values) = (secondary[range.clone()].iter(), &values[range]);
            match &view.axes[1 - axis] {
                Use::Reduce => cells.take(&[Level::Reduce(count)], base, values),
                Use::Keep => {
                    let place = |place: &I| (at(place) - first[1 - axis]) * secondary_stride;
                    cells.scatter(scattered, base, &places.map(place), values);
                }
                Use::Group { labels, .. } => {
                    let place = |place: &I| labels[at(place)] as usize * secondary_stride;
                    cells.scatter(scattered, base, &places.map(place), values);
                }
            }
        }
    }
}

/// A compressed block that was found to be sound.
pub(crate) struct Stored<'a, T> {
    /// The axis that it is compressed along.
    pub(crate) axis: usize,
    /// Its first row and column.
    pub(crate) first: [usize; 2],
    pub(crate) pointers: &'a [u64],
    pub(crate) indices: Indices<'a>,
    pub(crate) values: &'a [T],
}

impl<T: Number> Stored<'_, T> {
    /// Takes its elements into the cells of a part, the first of which are of this row and column.
    pub(crate) fn fold(
        &self,
        views: &[View],
        part: &mut Part<T>,
        scattered: &mut [Scattered<T>],
        first: [usize; 2],
    ) {
        let Self { axis, first: mine, pointers, indices, values } = *self;
        let counts = pointers.windows(2).map(|pair| (pair[1] - pair[0]) as usize).enumerate();
        let segments =
            counts.filter(|&(_, count)| count > 0).map(|(number, count)| (mine[axis] + number, count));
        let start = mine[1 - axis];
        match indices {
            Indices::Narrow(indices) => {
                fold(views, part, scattered, axis, first, &segments, (indices, start), values);
            }
            Indices::Wide(indices) => {
                fold(views, part, scattered, axis, first, &segments, (indices, start), values);
            }
        }
    }
}
