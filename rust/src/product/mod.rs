//! Products with dense matrices, in constant memory: a sweep over a matrix in a file of which each piece is
//! multiplied while the next is decoded.
//!
//! A piece is multiplied by many threads, each of which owns some rows of the result and adds to them in the order
//! of the file. So the result is the same, to the last bit, on any number of threads, and nothing is held once for
//! each thread.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod dense;

use crate::element::{ElementType, Kind};
use crate::error::{Error, Result};
use crate::selection::Axis;

pub use dense::multiply as multiply_dense;

/// What of a matrix is multiplied.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// Selected rows.
    pub rows: &'a Axis,
    /// Selected columns.
    pub columns: &'a Axis,
    /// Whether it is the transpose of the selection that is multiplied.
    pub transposed: bool,
    /// The type that its values are converted to before anything else, as if they were read so.
    pub via: ElementType,
}

/// Numbers that are multiplied and added up.
pub trait Number: Copy + Default + PartialEq + Send + Sync + bytemuck::Pod {
    /// The element type.
    const ELEMENT: ElementType;
    /// `self + a * b`. Integers wrap, as numpy's; floats are rounded twice, so as to be the same on all machines.
    #[must_use]
    fn plus(self, a: Self, b: Self) -> Self;
    /// Adds the product of two matrices to a third; all three row by row. `transposed`: of the first its transpose,
    /// for columns from `first` on, as many as `out` has rows.
    #[doc(hidden)]
    fn multiply_block(left: Block<'_, Self>, right: &[Self], width: usize, out: &mut [Self]);
}

/// A part of a matrix that stands in memory row by row.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a, N> {
    values: &'a [N],
    /// From one row to the next.
    stride: usize,
    rows: usize,
    columns: usize,
    /// Whether it is the transpose that is multiplied.
    transposed: bool,
}

/// What a matrix is multiplied with, row by row, and where the result goes, row by row.
#[derive(Debug)]
pub struct Right<'a, N> {
    /// The right-hand side.
    pub values: &'a [N],
    /// Its number of columns.
    pub width: usize,
    /// The result; what it held before is lost.
    pub out: &'a mut [N],
}

impl<N: Number> Right<'_, N> {
    /// Checks the sizes.
    pub(crate) fn check(&self, left: &Left<'_>) -> Result<()> {
        let (outer, inner) = left.lens();
        let fits = |rows: usize, len: usize| rows.checked_mul(self.width) == Some(len);
        if fits(inner, self.values.len()) && fits(outer, self.out.len()) {
            return Ok(());
        }
        Err(Error::Structure(format!(
            "a product of {outer} x {inner} with {} numbers in {} columns, into {}",
            self.values.len(),
            self.width,
            self.out.len()
        )))
    }
}

impl Left<'_> {
    /// Rows of the result, and how many products each of its elements is the sum of.
    fn lens(&self) -> (usize, usize) {
        let (rows, columns) = (self.rows.len(), self.columns.len());
        if self.transposed { (columns, rows) } else { (rows, columns) }
    }
}

/// Whether every value of one type is one of another, unchanged.
pub(crate) fn is_exact(from: ElementType, to: ElementType) -> bool {
    let (bits, to_bits) = (from.size() * 8, to.size() * 8);
    let digits = match to_bits {
        16 => 11,
        32 => 24,
        _ => 53,
    };
    match (from.kind(), to.kind()) {
        (Kind::Bool, _) => true,
        (Kind::UInt, Kind::UInt) | (Kind::Int, Kind::Int) | (Kind::Float, Kind::Float) => bits <= to_bits,
        (Kind::UInt, Kind::Int) => bits < to_bits,
        (Kind::UInt | Kind::Int, Kind::Float) => bits <= digits,
        _ => false,
    }
}

/// Adds a multiple of a row to another.
#[inline(always)]
pub(crate) fn add_row<N: Number>(out: &mut [N], value: N, row: &[N]) {
    for (out, &element) in out.iter_mut().zip(row) {
        *out = out.plus(value, element);
    }
}

impl Number for f64 {
    const ELEMENT: ElementType = ElementType::F64;

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        self + a * b
    }

    fn multiply_block(left: Block<'_, Self>, right: &[Self], width: usize, out: &mut [Self]) {
        dense::multiply_floats(left, right, width, out);
    }
}

impl Number for i64 {
    const ELEMENT: ElementType = ElementType::I64;

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }

    fn multiply_block(left: Block<'_, Self>, right: &[Self], width: usize, out: &mut [Self]) {
        for (row, values) in left.values.chunks(left.stride).take(left.rows).enumerate() {
            for (column, &value) in values[..left.columns].iter().enumerate() {
                // Most are zero, mostly; and of integers, zero times anything is zero.
                if value != 0 {
                    let (to, from) = if left.transposed { (column, row) } else { (row, column) };
                    add_row(&mut out[to * width..][..width], value, &right[from * width..][..width]);
                }
            }
        }
    }
}
