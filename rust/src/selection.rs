//! Selections: for each axis of a dataset, the indices that are asked for.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;

use crate::error::{Error, Result};
use crate::memory;

/// The indices of one axis, strictly increasing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Axis {
    /// `start, start + step, ...`, `len` of them.
    Range {
        /// The first index.
        start: u64,
        /// How many.
        len: usize,
        /// The distance between neighbours, at least 1.
        step: u64,
    },
    /// Any strictly increasing indices.
    Indices(Vec<u64>),
    /// Stretches of consecutive indices, `(start, len)`, increasing and not overlapping; none is empty.
    Runs(Vec<(u64, usize)>),
}

impl Axis {
    /// All indices of an axis.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the axis is longer than this machine can address.
    pub fn all(extent: u64) -> Result<Self> {
        Ok(Self::Range { start: 0, len: to_len(extent)?, step: 1 })
    }

    /// The simplest form of a list of indices: consecutive ones become a range, and cost what a range costs.
    ///
    /// # Errors
    /// [`Error::Structure`] when they are not strictly increasing.
    pub fn from_indices(indices: Vec<u64>) -> Result<Self> {
        if !indices.is_sorted_by(|a, b| a < b) {
            return Err(Error::Structure("indices of a subset should be strictly increasing".into()));
        }
        let len = indices.len();
        Ok(match (indices.first(), indices.last()) {
            (Some(&first), Some(&last)) if last - first == len as u64 - 1 => {
                Self::Range { start: first, len, step: 1 }
            }
            (None, _) => Self::Range { start: 0, len: 0, step: 1 },
            _ => Self::Indices(indices),
        })
    }

    /// How many indices.
    pub fn len(&self) -> usize {
        match self {
            Self::Range { len, .. } => *len,
            Self::Indices(indices) => indices.len(),
            Self::Runs(runs) => runs.iter().map(|&(_, len)| len).sum(),
        }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The largest index, if there is any.
    pub fn last(&self) -> Option<u64> {
        match self {
            Self::Range { len: 0, .. } => None,
            // A step so large that the sum overflows leads past any extent.
            Self::Range { start, len, step } => {
                Some(step.saturating_mul(*len as u64 - 1).saturating_add(*start))
            }
            Self::Indices(indices) => indices.last().copied(),
            Self::Runs(runs) => runs.last().map(|&(start, len)| start.saturating_add(len as u64 - 1)),
        }
    }

    /// Whether this is each index of an axis of this extent.
    pub fn is_all(&self, extent: u64) -> bool {
        self.len() as u64 == extent
    }

    /// The `position`-th index.
    pub fn get(&self, position: usize) -> Option<u64> {
        match self {
            Self::Range { start, len, step } => (position < *len).then(|| start + step * position as u64),
            Self::Indices(indices) => indices.get(position).copied(),
            Self::Runs(runs) => {
                let mut left = position;
                for &(start, len) in runs {
                    if left < len {
                        return Some(start + left as u64);
                    }
                    left -= len;
                }
                None
            }
        }
    }

    /// The indices at these positions.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn part(&self, positions: Range<usize>) -> Result<Self> {
        Ok(match self {
            &Self::Range { start, step, .. } => {
                Self::Range { start: start + step * positions.start as u64, len: positions.len(), step }
            }
            Self::Indices(indices) => Self::Indices(memory::copy(&indices[positions])?),
            Self::Runs(runs) => {
                let mut before = 0;
                let mut cut = |&(start, len): &(u64, usize)| {
                    let (from, to) = (positions.start.max(before), positions.end.min(before + len));
                    let skipped = from.saturating_sub(before) as u64;
                    before += len;
                    (from < to).then(|| (start + skipped, to - from))
                };
                Self::Runs(memory::collect(runs.iter().filter_map(&mut cut))?)
            }
        })
    }

    /// The place of an index in the selection, if it is selected.
    pub fn position(&self, index: u64) -> Option<usize> {
        match self {
            Self::Range { start, len, step } => {
                let distance = index.checked_sub(*start)?;
                let position = usize::try_from(distance / step).ok()?;
                (distance % step == 0 && position < *len).then_some(position)
            }
            Self::Indices(indices) => indices.binary_search(&index).ok(),
            Self::Runs(runs) => {
                let run = runs.partition_point(|&(start, _)| start <= index).checked_sub(1)?;
                let (start, len) = runs[run];
                let before: usize = runs[..run].iter().map(|&(_, len)| len).sum();
                let distance = usize::try_from(index - start).ok()?;
                (distance < len).then_some(before + distance)
            }
        }
    }

    /// Checks that the indices are strictly increasing and all inside of an axis.
    ///
    /// # Errors
    /// [`Error::Index`] that names the index and the axis; [`Error::Structure`] when they do not increase.
    pub fn check(&self, axis: usize, extent: u64) -> Result<()> {
        let increasing = match self {
            Self::Range { step, .. } => *step > 0,
            Self::Indices(indices) => indices.is_sorted_by(|a, b| a < b),
            Self::Runs(runs) => {
                runs.iter().all(|&(_, len)| len > 0)
                    && runs.is_sorted_by(|a, b| a.0.checked_add(a.1 as u64).is_some_and(|end| end <= b.0))
            }
        };
        if !increasing {
            return Err(Error::Structure(format!(
                "the indices of axis {axis} should be strictly increasing"
            )));
        }
        match self.last() {
            Some(last) if last >= extent => Err(Error::Index(format!(
                "index {last} is out of bounds for axis {axis} with extent {extent}"
            ))),
            _ => Ok(()),
        }
    }
}

/// A length in memory.
///
/// # Errors
/// [`Error::OutOfMemory`] when this machine cannot address that much.
pub fn to_len(count: u64) -> Result<usize> {
    usize::try_from(count)
        .map_err(|_| Error::OutOfMemory(format!("{count} elements are more than memory can hold")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_indices_are_a_range() {
        assert_eq!(Axis::from_indices(vec![5, 6, 7]).unwrap(), Axis::Range { start: 5, len: 3, step: 1 });
        assert_eq!(Axis::from_indices(vec![5, 7]).unwrap(), Axis::Indices(vec![5, 7]));
        assert_eq!(Axis::from_indices(vec![]).unwrap().len(), 0);
    }

    #[test]
    fn order_and_bounds_are_checked() {
        assert!(matches!(Axis::from_indices(vec![3, 3]), Err(Error::Structure(_))));
        assert!(matches!(Axis::from_indices(vec![3, 2]), Err(Error::Structure(_))));
        assert!(Axis::from_indices(vec![3, 9]).unwrap().check(0, 10).is_ok());
        assert!(matches!(Axis::from_indices(vec![3, 10]).unwrap().check(0, 10), Err(Error::Index(_))));
        let huge = Axis::Range { start: 1, len: 3, step: u64::MAX };
        assert!(matches!(huge.check(1, 10), Err(Error::Index(_))));
        assert!(matches!(Axis::Indices(vec![3, 2]).check(0, 10), Err(Error::Structure(_))));
        assert!(matches!(Axis::Runs(vec![(3, 2), (4, 1)]).check(0, 10), Err(Error::Structure(_))));
        assert!(matches!(Axis::Runs(vec![(3, 0)]).check(0, 10), Err(Error::Structure(_))));
    }

    #[test]
    fn positions_map_to_indices() {
        let runs = Axis::Runs(vec![(2, 2), (10, 1)]);
        assert_eq!((0..4).map(|i| runs.get(i)).collect::<Vec<_>>(), [Some(2), Some(3), Some(10), None]);
        assert_eq!([1, 2, 3, 4, 10].map(|i| runs.position(i)), [None, Some(0), Some(1), None, Some(2)]);
        assert_eq!(runs.part(1..3).unwrap(), Axis::Runs(vec![(3, 1), (10, 1)]));
        assert_eq!(runs.part(2..2).unwrap().len(), 0);
        let range = Axis::Range { start: 1, len: 2, step: 5 };
        assert_eq!(range.part(1..2).unwrap(), Axis::Range { start: 6, len: 1, step: 5 });
        assert_eq!(Axis::Indices(vec![2, 5, 9]).part(1..3).unwrap(), Axis::Indices(vec![5, 9]));
        assert_eq!([0, 1, 2, 6, 11].map(|i| range.position(i)), [None, Some(0), None, Some(1), None]);
        assert_eq!((0..3).map(|i| range.get(i)).collect::<Vec<_>>(), [Some(1), Some(6), None]);
    }
}
