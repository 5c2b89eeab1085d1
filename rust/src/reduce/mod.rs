//! Statistics: sums, means, variances, extremes of a dataset or a matrix, in one pass over its chunks.
//!
//! What is asked for is a number of [`View`]s; [`crate::dense::reduce`] and [`crate::sparse::reduce`] make them. Both cut
//! the selection into units of a few chunks each, whose geometry depends on the file and the request alone. Each unit is
//! decoded and folded ([`fold`]) into cells of its own ([`cells`]) by whichever thread comes first, and the units' cells are
//! merged in the order of the units ([`order`]): results have the same bits however many threads there are.

pub(crate) mod blocks;
pub(crate) mod cells;
pub(crate) mod compressed;
pub(crate) mod fold;
pub(crate) mod number;
pub(crate) mod order;
pub(crate) mod running;

pub use blocks::{Blocks, Compressed, Folded, Indices};

use crate::element::ElementType;
use crate::error::{Error, Result};

/// What a result does with an axis of the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// Has a value for each index.
    Keep,
    /// Has one value for all indices.
    Reduce,
    /// Has a value for each group of indices.
    Group {
        /// The group of each index.
        labels: Vec<u32>,
        /// How many groups there are.
        groups: usize,
    },
}

/// Which statistics are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Any of them, and no state.
pub struct Wanted {
    /// The sum.
    pub sum: bool,
    /// Mean and sum of squared deviations from it.
    pub moments: bool,
    /// Least and greatest value.
    pub extremes: bool,
    /// Number of values that are not zero.
    pub nonzero: bool,
}

/// One result of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it does with each axis of the selection.
    pub axes: Vec<Use>,
    /// Which statistics it has.
    pub wanted: Wanted,
}

/// The statistics of a view: arrays of its shape, in C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// The number of kept indices, 1, or the number of groups, for each axis.
    pub shape: Vec<usize>,
    /// How many values went into each cell.
    pub count: Vec<f64>,
    /// Of integers and booleans, the low 64 bits of the sum.
    pub sum: Option<Vec<i64>>,
    /// The sum as the unevaluated sum of two doubles. When the first is not finite the second means nothing.
    pub total: Option<(Vec<f64>, Vec<f64>)>,
    /// Mean, what it lost when it was rounded, and the sum of the squared deviations from it.
    pub moments: Option<[Vec<f64>; 3]>,
    /// Least and greatest value, native elements; meaningless where there was none.
    pub extremes: Option<(Vec<u8>, Vec<u8>)>,
    /// Number of values that are not zero.
    pub nonzero: Option<Vec<u64>>,
}

impl View {
    /// Checks that this is a view of a selection of so many indices along each axis.
    ///
    /// # Errors
    /// [`Error::Structure`].
    pub(crate) fn check(&self, selected: &[usize]) -> Result<()> {
        if self.axes.len() != selected.len() {
            return Err(Error::Structure(format!(
                "a view of {} axes for a selection of {}",
                self.axes.len(),
                selected.len()
            )));
        }
        for (axis, (usage, &len)) in self.axes.iter().zip(selected).enumerate() {
            if let Use::Group { labels, groups } = usage
                && (labels.len() != len || labels.iter().any(|&label| label as usize >= *groups))
            {
                return Err(Error::Structure(format!(
                    "axis {axis} needs a group below {groups} for each of its {len} indices"
                )));
            }
        }
        Ok(())
    }
}

/// Checks that there are statistics of such elements.
pub(crate) fn check_element(target: ElementType) -> Result<()> {
    if target.is_real() && target.is_native() {
        return Ok(());
    }
    Err(Error::ElementType(format!("no statistics of dtype '{target}'")))
}

/// Applies a macro to the native type of an element type.
macro_rules! with_number {
    ($target:expr, $apply:ident) => {
        match ($target.kind(), $target.size()) {
            ($crate::element::Kind::Bool, _) | ($crate::element::Kind::UInt, 1) => $apply!(u8),
            ($crate::element::Kind::Int, 1) => $apply!(i8),
            ($crate::element::Kind::Int, 2) => $apply!(i16),
            ($crate::element::Kind::Int, 4) => $apply!(i32),
            ($crate::element::Kind::Int, _) => $apply!(i64),
            ($crate::element::Kind::UInt, 2) => $apply!(u16),
            ($crate::element::Kind::UInt, 4) => $apply!(u32),
            ($crate::element::Kind::UInt, _) => $apply!(u64),
            ($crate::element::Kind::Float, 2) => $apply!(half::f16),
            ($crate::element::Kind::Float, 4) => $apply!(f32),
            // The others were refused before.
            (
                $crate::element::Kind::Float
                | $crate::element::Kind::Complex
                | $crate::element::Kind::Text(_)
                | $crate::element::Kind::String,
                _,
            ) => $apply!(f64),
        }
    };
}
pub(crate) use with_number;
