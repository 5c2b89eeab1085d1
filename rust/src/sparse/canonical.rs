//! Canonical form: indices that increase strictly within each stretch.
//!
//! Files may hold them in any order, and more than once; such elements are added up, as scipy does
//! (`scipy.sparse.csc_matrix.sum_duplicates`).

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::sync::{Mutex, PoisonError};

use super::{Types, with_addition};
use crate::element::{ElementType, Kind};
use crate::error::{Error, Result};
use crate::memory;
use crate::pool::{self, Control};
use crate::scatter::Kernel;

/// What a worker keeps between stretches.
#[derive(Default)]
struct Worker {
    order: Vec<(u64, u32)>,
    wide: Vec<u64>,
    values: Vec<u8>,
}

/// One stretch's part of the result, and how many elements are left of it.
struct Part<'a> {
    indices: &'a mut [u8],
    values: &'a mut [u8],
    left: usize,
}

/// Sorts each stretch and adds up what is there more than once. What is left stands at the beginning.
pub(super) fn make(
    pointers: &mut [u64],
    indices: &mut [u8],
    values: &mut [u8],
    target: Types,
    control: &Control<'_>,
) -> Result<()> {
    let (index_size, value_size) = (target.indices.size(), target.data.size());
    let mut parts: Vec<Mutex<Part<'_>>> = memory::with_capacity(pointers.len())?;
    let (mut index_rest, mut value_rest) = (&mut *indices, &mut *values);
    for pair in pointers.windows(2) {
        let len = (pair[1] - pair[0]) as usize;
        let (indices, after) = std::mem::take(&mut index_rest).split_at_mut(len * index_size);
        index_rest = after;
        let (values, after) = std::mem::take(&mut value_rest).split_at_mut(len * value_size);
        value_rest = after;
        parts.push(Mutex::new(Part { indices, values, left: len }));
    }
    pool::for_each(control, parts.len(), |worker: &mut Worker, number| {
        let mut part = parts[number].lock().unwrap_or_else(PoisonError::into_inner);
        sort(&mut part, worker, target)
    })?;
    let left = parts.into_iter().map(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner).left);
    let left: Vec<usize> = memory::collect(left)?;
    // Close the gaps that elements left which were added to others.
    let mut end = 0;
    for (position, &left) in left.iter().enumerate() {
        let begin = pointers[position] as usize;
        pointers[position] = end as u64;
        if begin != end {
            indices.copy_within(begin * index_size..(begin + left) * index_size, end * index_size);
            values.copy_within(begin * value_size..(begin + left) * value_size, end * value_size);
        }
        end += left;
    }
    if let Some(last) = pointers.last_mut() {
        *last = end as u64;
    }
    Ok(())
}

fn sort(part: &mut Part<'_>, worker: &mut Worker, target: Types) -> Result<()> {
    let len = part.left;
    let Worker { order, wide, values } = worker;
    memory::resize(wide, len, 0)?;
    Kernel::new(target.indices, ElementType::U64)?.convert(part.indices, bytemuck::cast_slice_mut(wide));
    if wide.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let last = u32::try_from(len).map_err(|_| {
        Error::Structure(format!("{len} elements in one row or column are too many to be sorted"))
    })?;
    order.clear();
    memory::reserve(order, len)?;
    order.extend(wide.iter().copied().zip(0..last));
    // By index, and elements with the same index as they stand in the file: sums do not depend on luck.
    order.sort_unstable();
    values.clear();
    memory::append(values, part.values)?;
    let mut kept = 0;
    macro_rules! merge {
        ($t:ty, $add:expr) => {{
            let (from, _) = values.as_chunks::<{ size_of::<$t>() }>();
            let (to, _) = part.values.as_chunks_mut::<{ size_of::<$t>() }>();
            for group in order.chunk_by(|a, b| a.0 == b.0) {
                let mut sum = <$t>::from_ne_bytes(from[group[0].1 as usize]);
                for &(_, position) in &group[1..] {
                    sum = $add(sum, <$t>::from_ne_bytes(from[position as usize]));
                }
                wide[kept] = group[0].0;
                to[kept] = sum.to_ne_bytes();
                kept += 1;
            }
        }};
    }
    with_addition!(target.data, merge);
    Kernel::new(ElementType::U64, target.indices)?.convert(bytemuck::cast_slice(&wide[..kept]), part.indices);
    part.left = kept;
    Ok(())
}
