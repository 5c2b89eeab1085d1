//! From a block of an array in memory, whatever its strides, to the bytes of a chunk.

use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::plan::{PerAxis, per_axis};

/// Elements of a side of the squares in which a block is turned round: rows of both sides stay in a core's first cache.
const TILE: usize = 32;

/// A block of an array in memory.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    bytes: &'a [u8],
    shape: PerAxis<u64>,
    strides: PerAxis<usize>,
    element: ElementType,
}

impl<'a> Block<'a> {
    /// A block of this shape, whose elements along each axis are so many bytes apart, in these bytes, which begin with its
    /// first element.
    ///
    /// # Errors
    /// [`Error::Structure`] when the bytes are too few for it.
    pub fn new(bytes: &'a [u8], shape: &[u64], strides: &[usize], element: ElementType) -> Result<Self> {
        let last = shape.iter().zip(strides).try_fold(0usize, |last, (&extent, &stride)| {
            let steps = usize::try_from(extent.saturating_sub(1)).ok()?;
            last.checked_add(steps.checked_mul(stride)?)
        });
        let end = last.and_then(|last| last.checked_add(element.size()));
        let is_empty = shape.contains(&0);
        if shape.len() != strides.len() || !(is_empty || end.is_some_and(|end| end <= bytes.len())) {
            return Err(Error::Structure(format!(
                "a block of shape {shape:?} and strides {strides:?} in {} bytes",
                bytes.len()
            )));
        }
        Ok(Self {
            bytes,
            shape: per_axis(shape.iter().copied()),
            strides: per_axis(strides.iter().copied()),
            element,
        })
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Type of an element.
    pub fn element(&self) -> ElementType {
        self.element
    }

    fn first(&self, start: &[u64]) -> usize {
        start.iter().zip(&self.strides).map(|(&at, &stride)| at as usize * stride).sum()
    }

    /// The elements of a box, if they stand one after the other in the order of rows.
    pub(super) fn consecutive(&self, start: &[u64], count: &[u64]) -> Option<&'a [u8]> {
        let mut expected = self.element.size();
        for (&len, &stride) in count.iter().zip(&self.strides).rev() {
            if len != 1 && stride != expected {
                return None;
            }
            expected *= len as usize;
        }
        let first = self.first(start);
        self.bytes.get(first..first + expected)
    }

    /// Copies the box of `count` elements from `start` on into an array in the order of rows, whose axes have these strides in
    /// elements, from its element `target` on.
    pub(super) fn copy(&self, start: &[u64], count: &[u64], to: &mut [u8], target: usize, steps: &[usize]) {
        if count.contains(&0) {
            return;
        }
        let size = self.element.size();
        let from = self.bytes.get(self.first(start)..).unwrap_or_default();
        let axes = Axes::of(size, count, &self.strides, steps);
        match size {
            1 => axes.copy::<1>(from, to, target),
            2 => axes.copy::<2>(from, to, target),
            4 => axes.copy::<4>(from, to, target),
            8 => axes.copy::<8>(from, to, target),
            16 => axes.copy::<16>(from, to, target),
            _ => axes.rows(from, to, target, size),
        }
    }
}

/// An axis of what is copied: how many, bytes between them in the block, bytes between them in the chunk.
#[derive(Debug, Clone, Copy)]
struct Along {
    len: usize,
    from: usize,
    to: usize,
}

struct Axes {
    outer: PerAxis<Along>,
    /// The two axes that are gone through last: consecutive in the block, and consecutive in the chunk.
    near_source: Along,
    near_target: Along,
}

impl Axes {
    fn of(size: usize, count: &[u64], strides: &[usize], steps: &[usize]) -> Self {
        let axes = count.iter().zip(strides.iter().zip(steps));
        let mut outer: PerAxis<Along> = per_axis(
            axes.map(|(&len, (&from, &step))| Along { len: len as usize, from, to: step * size })
                .filter(|axis| axis.len > 1),
        );
        let single = Along { len: 1, from: size, to: size };
        let near_target = outer.pop().unwrap_or(single);
        // Where the block has its elements in the same order, rows are copied.
        let nearest = outer.iter().enumerate().min_by_key(|(_, axis)| axis.from);
        let near_source = match nearest {
            Some((position, axis)) if axis.from < near_target.from => outer.remove(position),
            _ => single,
        };
        Self { outer, near_source, near_target }
    }

    /// Calls `work` with the first bytes of each square, in the block and in the chunk.
    fn squares(&self, target: usize, mut work: impl FnMut(usize, usize)) {
        let mut index: PerAxis<usize> = per_axis(self.outer.iter().map(|_| 0));
        loop {
            let at = |pick: fn(&Along) -> usize| -> usize {
                index.iter().zip(&self.outer).map(|(&at, axis)| at * pick(axis)).sum()
            };
            work(at(|axis| axis.from), target + at(|axis| axis.to));
            let mut position = self.outer.len();
            loop {
                if position == 0 {
                    return;
                }
                position -= 1;
                index[position] += 1;
                if index[position] < self.outer[position].len {
                    break;
                }
                index[position] = 0;
            }
        }
    }

    fn copy<const N: usize>(&self, from: &[u8], to: &mut [u8], target: usize) {
        let (source, row) = (self.near_source, self.near_target);
        if source.len == 1 && row.from == N && row.to == N {
            return self.rows(from, to, target, N);
        }
        self.squares(target * N, |first, place| {
            for outer in (0..source.len).step_by(TILE) {
                for inner in (0..row.len).step_by(TILE) {
                    for i in outer..(outer + TILE).min(source.len) {
                        for j in inner..(inner + TILE).min(row.len) {
                            let from_at = first + i * source.from + j * row.from;
                            let to_at = place + i * source.to + j * row.to;
                            to[to_at..to_at + N].copy_from_slice(&from[from_at..from_at + N]);
                        }
                    }
                }
            }
        });
    }

    /// Copies rows, or elements of any size one by one.
    fn rows(&self, from: &[u8], to: &mut [u8], target: usize, size: usize) {
        let (source, row) = (self.near_source, self.near_target);
        let whole = row.from == size && row.to == size;
        let (pieces, len) = if whole { (1, row.len * size) } else { (row.len, size) };
        self.squares(target * size, |first, place| {
            for i in 0..source.len {
                for j in 0..pieces {
                    let from_at = first + i * source.from + j * row.from;
                    let to_at = place + i * source.to + j * row.to;
                    to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
                }
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_strides_are_copied_as_one_by_one(
            size in prop::sample::select(vec![1usize, 2, 3, 4, 8, 16]),
            extents in prop::collection::vec((1u64..70, 0u64..3, 0u64..3), 0..4),
            order in any::<prop::sample::Index>(),
        ) {
            let rank = extents.len();
            let shape: Vec<u64> = extents.iter().map(|&(len, before, after)| len + before + after).collect();
            // The axes of the block in memory in some order.
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.rotate_left(if rank == 0 { 0 } else { order.index(rank) });
            let mut strides = vec![0; rank];
            let mut stride = size;
            for &axis in &axes {
                strides[axis] = stride;
                stride *= shape[axis] as usize;
            }
            prop_assume!(stride < 1 << 22);
            let bytes: Vec<u8> = (0..stride as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let element = if size == 3 { "|S3".to_owned() } else if size == 16 { "<c16".into() } else { format!("|u{size}").replace('|', if size == 1 { "|" } else { "<" }) };
            let block = Block::new(&bytes, &shape, &strides, ElementType::from_numpy(&element).unwrap()).unwrap();
            let start: Vec<u64> = extents.iter().map(|extent| extent.1).collect();
            let count: Vec<u64> = extents.iter().map(|extent| extent.0).collect();
            let mut steps = vec![1usize; rank];
            for axis in (0..rank.saturating_sub(1)).rev() {
                steps[axis] = steps[axis + 1] * (count[axis + 1] as usize + 1);
            }
            let len = steps.first().map_or(1, |step| step * count[0] as usize) + 5;
            let mut copied = vec![0; len * size];
            block.copy(&start, &count, &mut copied, 5, &steps);
            let mut naive = vec![0; len * size];
            for number in 0..count.iter().product::<u64>() {
                let (mut rest, mut from, mut to) = (number, 0, 5);
                for axis in (0..rank).rev() {
                    let at = rest % count[axis];
                    rest /= count[axis];
                    from += (start[axis] + at) as usize * strides[axis];
                    to += at as usize * steps[axis];
                }
                naive[to * size..(to + 1) * size].copy_from_slice(&bytes[from..from + size]);
            }
            prop_assert_eq!(&copied, &naive);
            if let Some(consecutive) = block.consecutive(&start, &count) {
                let mut dense = vec![1usize; rank];
                for axis in (0..rank.saturating_sub(1)).rev() {
                    dense[axis] = dense[axis + 1] * count[axis + 1] as usize;
                }
                let mut whole = vec![0; consecutive.len()];
                block.copy(&start, &count, &mut whole, 0, &dense);
                prop_assert_eq!(consecutive, &whole);
            }
        }
    }

    #[test]
    fn bytes_that_are_too_few_are_refused() {
        let element = ElementType::from_numpy("<i4").unwrap();
        assert!(Block::new(&[0; 24], &[2, 3], &[12, 4], element).is_ok());
        assert!(Block::new(&[0; 23], &[2, 3], &[12, 4], element).is_err());
        assert!(Block::new(&[0; 24], &[2, 3], &[usize::MAX, 4], element).is_err());
        assert!(Block::new(&[], &[2, 0], &[12, 4], element).is_ok());
        assert!(Block::new(&[0; 24], &[2, 3], &[4], element).is_err());
    }
}
