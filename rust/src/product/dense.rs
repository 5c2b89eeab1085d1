//! Products of dense datasets: by blocks of whole chunks, as native numbers.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, ShapeBuilder};

use super::{Block, Left, Number, Right, add_row, is_exact};
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::Plan;
use crate::pool::{self, Control};
use crate::reader::{ChunkReader, Request, Worker};
use crate::scatter::{Kernel, Output};

/// Numbers of a block: two of them are in memory at a time, one that is multiplied and one that is read.
const ELEMENTS: usize = if crate::SMALL { 64 } else { 1 << 21 };

/// Of the rows of a result, how many one thread does at least, and into how many parts a block is cut at most. Not
/// how many threads there are: the blocks' shape may show in the last bit of a float.
const PART_ROWS: usize = 16;
const PARTS: usize = 16;

/// Multiplies a dense matrix, a dataset of two dimensions, with a matrix in memory.
///
/// # Errors
/// As [`crate::dense::read`]; [`Error::Structure`] also when the sizes do not fit. The result is lost then.
pub fn multiply<N: Number>(
    path: &Path,
    name: &[u8],
    left: &Left<'_>,
    right: &mut Right<'_, N>,
    control: &Control<'_>,
) -> Result<()> {
    right.check(left)?;
    Request::run(path, |request| {
        right.out.fill(N::default());
        let reader = request.reader(name)?;
        if !reader.dataset().element.is_real() || !left.via.is_real() {
            return Err(Error::ElementType(format!(
                "{}: no product of dtype '{}'",
                reader.place(),
                reader.dataset().element
            )));
        }
        let selection = [left.rows.clone(), left.columns.clone()];
        let plan = Plan::new(reader.grid().clone(), &selection).map_err(|error| error.at(reader.place()))?;
        Sweep { reader: &reader, left, blocks: blocks(&plan)? }.run(right, control)
    })
}

/// Neighbouring stretches, together no longer than `most` unless a single one is.
fn joined(stretches: &[Range<usize>], most: usize) -> Result<Vec<Range<usize>>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last) if stretch.end - last.start <= most => last.end = stretch.end,
            _ => memory::push(&mut joined, stretch.clone())?,
        }
    }
    Ok(joined)
}

type Rectangle = (Range<usize>, Range<usize>);

/// Cuts the selection into blocks of whole chunks, which are read one after another.
fn blocks(plan: &Plan) -> Result<Vec<Rectangle>> {
    let stretches = |axis| memory::collect((0..plan.touched(axis)).map(|chunk| plan.targets(axis, chunk)));
    let (rows, columns) = (stretches(0)?, stretches(1)?);
    let tallest = rows.iter().map(Range::len).max().unwrap_or(0).max(1);
    let columns = joined(&columns, (ELEMENTS / tallest).max(1))?;
    let widest = columns.iter().map(Range::len).max().unwrap_or(0).max(1);
    let rows = joined(&rows, (ELEMENTS / widest).max(1))?;
    let mut blocks = memory::with_capacity(rows.len().saturating_mul(columns.len()))?;
    blocks.extend(
        rows.iter().flat_map(|rows| columns.iter().map(move |columns| (rows.clone(), columns.clone()))),
    );
    Ok(blocks)
}

/// A block in memory.
#[derive(Default)]
struct Loaded<N> {
    values: Vec<N>,
    /// Before they are converted for the second time.
    via: Vec<u8>,
}

struct Sweep<'a> {
    reader: &'a ChunkReader<'a>,
    left: &'a Left<'a>,
    blocks: Vec<Rectangle>,
}

impl Sweep<'_> {
    fn run<N: Number>(&self, right: &mut Right<'_, N>, control: &Control<'_>) -> Result<()> {
        let (mut here, mut next) = (Loaded::default(), Loaded::default());
        let Some(first) = self.blocks.first() else { return Ok(()) };
        let mut loaded = Some(first);
        self.advance(None, Some((first, &mut here)), right, control)?;
        control.work().expect(self.blocks.len() as u64);
        for (number, block) in self.blocks.iter().enumerate() {
            if loaded != Some(block) {
                self.advance(None, Some((block, &mut here)), right, control)?;
            }
            // Blocks of single chunks that are larger than usual: one at a time.
            let following = self.blocks.get(number + 1).filter(|next| {
                next.0.len() * next.1.len() <= ELEMENTS && block.0.len() * block.1.len() <= ELEMENTS
            });
            self.advance(
                Some((block, &here)),
                following.map(|following| (following, &mut next)),
                right,
                control,
            )?;
            loaded = following;
            std::mem::swap(&mut here, &mut next);
            if loaded.is_none() {
                // Only now is there room for a larger one.
                (here, next) = (Loaded::default(), Loaded::default());
            }
            control.work().advance(1);
        }
        Ok(())
    }

    /// Multiplies one block and reads another.
    fn advance<N: Number>(
        &self,
        current: Option<(&Rectangle, &Loaded<N>)>,
        next: Option<(&Rectangle, &mut Loaded<N>)>,
        right: &mut Right<'_, N>,
        control: &Control<'_>,
    ) -> Result<()> {
        let parts = current.map_or_else(Vec::new, |(block, loaded)| self.parts(block, &loaded.values, right));
        let Some((block, loaded)) = next else {
            return pool::for_each(control, parts.len(), |(): &mut (), number| {
                parts[number].lock().unwrap_or_else(PoisonError::into_inner).multiply();
                Ok(())
            });
        };
        let ((rows, columns), Loaded { values, via }) = (block, loaded);
        let plan = Plan::new(
            self.reader.grid().clone(),
            &[self.left.rows.part(rows.clone())?, self.left.columns.part(columns.clone())?],
        )?;
        let stored = self.reader.dataset().element;
        let twice = !is_exact(stored, self.left.via);
        let target = if twice { self.left.via.to_native() } else { N::ELEMENT };
        memory::resize(values, plan.count(), N::default())?;
        let buffer: &mut [u8] = if twice {
            memory::resize(via, plan.count() * target.size(), 0)?;
            via
        } else {
            bytemuck::cast_slice_mut(values)
        };
        let output = Output::new(buffer, &plan, Kernel::new(stored, target)?)?;
        let sweep = self.reader.sweep(&plan);
        pool::for_each(control, parts.len() + plan.jobs(), |worker: &mut Worker, number| {
            if let Some(job) = number.checked_sub(parts.len()) {
                return sweep.copy(job, &output, worker);
            }
            parts[number].lock().unwrap_or_else(PoisonError::into_inner).multiply();
            Ok(())
        })?;
        output.finish()?;
        if twice {
            Kernel::new(target, N::ELEMENT)?.convert(via, bytemuck::cast_slice_mut(values));
        }
        Ok(())
    }

    /// Cuts the product of a block into parts for different threads.
    #[allow(clippy::disallowed_methods, reason = "no more than `PARTS`")]
    fn parts<'p, N: Number>(
        &self,
        (rows, columns): &Rectangle,
        values: &'p [N],
        right: &'p mut Right<'_, N>,
    ) -> Vec<Mutex<Part<'p, N>>> {
        let (width, transposed) = (right.width, self.left.transposed);
        let (outer, inner) = if transposed { (columns, rows) } else { (rows, columns) };
        if width == 0 {
            return Vec::new();
        }
        let from = &right.values[inner.start * width..inner.end * width];
        let out = &mut right.out[outer.start * width..outer.end * width];
        let part_rows = outer.len().div_ceil(PARTS).max(PART_ROWS);
        let stride = columns.len();
        out.chunks_mut(part_rows * width)
            .enumerate()
            .map(|(number, out)| {
                let first = number * part_rows;
                let count = out.len() / width;
                let left = if transposed {
                    let values = &values[first..];
                    Block { values, stride, rows: rows.len(), columns: count, transposed }
                } else {
                    let values = &values[first * stride..];
                    Block { values, stride, rows: count, columns: stride, transposed }
                };
                Mutex::new(Part { left, from, width, out })
            })
            .collect()
    }
}

/// What one thread does at a time.
struct Part<'a, N> {
    left: Block<'a, N>,
    from: &'a [N],
    width: usize,
    out: &'a mut [N],
}

impl<N: Number> Part<'_, N> {
    fn multiply(&mut self) {
        N::multiply_block(self.left, self.from, self.width, self.out);
    }
}

/// By the `matrixmultiply` crate, on this thread.
pub(super) fn multiply_floats(left: Block<'_, f64>, right: &[f64], width: usize, out: &mut [f64]) {
    let Block { values, stride, rows, columns, transposed } = left;
    if width == 1 && transposed {
        for (row, &factor) in values.chunks(stride).take(rows).zip(right) {
            add_row(out, factor, &row[..columns]);
        }
        return;
    }
    let Ok(left) = ArrayView2::from_shape((rows, columns).strides((stride, 1)), values) else { return };
    let left = if transposed { left.reversed_axes() } else { left };
    let (outer, inner) = left.dim();
    if width == 1 {
        general_mat_vec_mul(1.0, &left, &ArrayView1::from(right), 1.0, &mut ArrayViewMut1::from(out));
    } else if let (Ok(right), Ok(mut out)) =
        (ArrayView2::from_shape((inner, width), right), ArrayViewMut2::from_shape((outer, width), out))
    {
        general_mat_mul(1.0, &left, &right, 1.0, &mut out);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(joined(&[0..1, 1..3, 3..5, 5..9], 3).unwrap(), [0..3, 3..5, 5..9]);
    }

    fn twin<N: Number>(left: Block<'_, N>, right: &[N], width: usize, out: &mut [N]) {
        let (outer, inner) =
            if left.transposed { (left.columns, left.rows) } else { (left.rows, left.columns) };
        for i in 0..outer {
            for j in 0..width {
                for k in 0..inner {
                    let (row, column) = if left.transposed { (k, i) } else { (i, k) };
                    let value = left.values[row * left.stride + column];
                    out[i * width + j] = out[i * width + j].plus(value, right[k * width + j]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_block_is_multiplied_as_by_hand(
            (rows, columns, more, width) in (1usize..40, 1usize..40, 0usize..3, 1usize..12),
            transposed: bool,
            seed: u32,
        ) {
            let stride = columns + more;
            // Whole numbers, whose sums are exact in any order.
            let numbers = |len: usize, salt: u32| -> Vec<i64> {
                let mix = |i: usize| (i as u32).wrapping_add(salt).wrapping_mul(seed | 1) >> 24;
                (0..len).map(|i| i64::from(mix(i)) - 99).collect()
            };
            let (outer, inner) = if transposed { (columns, rows) } else { (rows, columns) };
            let (values, right) = (numbers(stride * rows, 1), numbers(inner * width, 7));
            let before = numbers(outer * width, 3);
            let (mut got, mut want) = (before.clone(), before.clone());
            let block = Block { values: &values, stride, rows, columns, transposed };
            i64::multiply_block(block, &right, width, &mut got);
            twin(block, &right, width, &mut want);
            prop_assert_eq!(&got, &want);

            let floats = |numbers: &[i64]| -> Vec<f64> { numbers.iter().map(|&n| n as f64).collect() };
            let (values, right, mut got) = (floats(&values), floats(&right), floats(&before));
            let block = Block { values: &values, stride, rows, columns, transposed };
            f64::multiply_block(block, &right, width, &mut got);
            prop_assert_eq!(got, floats(&want));
        }
    }
}
