//! The other orientation: a matrix compressed by row read as columns, or the other way round.
//!
//! A counting sort: how many elements each column has says where each column begins, and every element
//! goes to the next free place of its column. A selection of more than one window is decoded twice, once to
//! count and once to place, since keeping it in between would take as much memory again as the result.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::sync::{Mutex, PoisonError};

use super::window::{Hits, Window};
use super::{Array, Compressed, Opened, Types, canonical, check_index_type};
use crate::error::{Error, Result};
use crate::memory;
use crate::pool::{self, Control};
use crate::selection::Axis;

pub(super) fn read<A: Array>(
    opened: &Opened<'_>,
    primary: &Axis,
    secondary: &Axis,
    target: Types,
    control: &Control<'_>,
) -> Result<Compressed<A>> {
    if let Some(last) = primary.len().checked_sub(1) {
        check_index_type(last as u64, target.indices)?;
    }
    let mut windows = opened.windows(primary, secondary, target.data)?;
    let only = if windows.is_short() {
        Some(windows.next(Hits::WithValues, control)?.unwrap_or_default())
    } else {
        None
    };
    let mut pointers: Vec<u64> = memory::zeros(secondary.len() + 1)?;
    let mut count = |window: &Window| window.secondary.iter().for_each(|&to| pointers[to as usize + 1] += 1);
    match &only {
        Some(window) => count(window),
        None => {
            while let Some(window) = windows.next(Hits::IndicesOnly, control)? {
                count(&window);
            }
        }
    }
    for position in 0..secondary.len() {
        pointers[position + 1] += pointers[position];
    }
    let total = pointers[secondary.len()] as usize;
    let mut indices = A::allocate(total, target.indices)?;
    let mut values = A::allocate(total, target.data)?;
    let (written_indices, written_values) = (indices.bytes(), values.bytes());
    let canonical = {
        let mut places = Places::new(&pointers, written_indices, written_values, target)?;
        if let Some(window) = &only {
            places.put(window, control)?;
        } else {
            windows.rewind();
            while let Some(window) = windows.next(Hits::WithValues, control)? {
                places.put(&window, control)?;
            }
        }
        places.finish()?
    };
    if !canonical {
        canonical::make(&mut pointers, written_indices, written_values, target, control)?;
    }
    Ok(Compressed { pointers, indices, values })
}

/// The result while it is filled: cut into parts of neighbouring columns, so that each thread places the
/// elements of its own columns and nobody writes where another does.
struct Places<'a> {
    parts: Vec<Mutex<Part<'a>>>,
    target: Types,
}

struct Part<'a> {
    /// The columns, and where each has its next free place in this part.
    first: u64,
    next: Vec<usize>,
    /// Where each column ends in this part.
    ends: Vec<usize>,
    indices: &'a mut [u8],
    values: &'a mut [u8],
    /// No element was there twice.
    canonical: bool,
}

impl<'a> Places<'a> {
    fn new(pointers: &[u64], indices: &'a mut [u8], values: &'a mut [u8], target: Types) -> Result<Self> {
        let threads = pool::num_threads()?;
        let columns = pointers.len() - 1;
        let total = pointers[columns] as usize;
        let (index_size, value_size) = (target.indices.size(), target.data.size());
        let mut parts = memory::with_capacity(threads)?;
        let (mut index_rest, mut value_rest) = (indices, values);
        let mut begin = 0;
        for number in 1..=threads {
            // Parts of about as many elements.
            let goal = (total as u128 * number as u128 / threads as u128) as u64;
            let end = if number == threads {
                columns
            } else {
                pointers.partition_point(|&p| p < goal).clamp(begin, columns)
            };
            let base = pointers[begin];
            let len = (pointers[end] - base) as usize;
            let (indices, after) = std::mem::take(&mut index_rest).split_at_mut(len * index_size);
            index_rest = after;
            let (values, after) = std::mem::take(&mut value_rest).split_at_mut(len * value_size);
            value_rest = after;
            let relative = |pointers: &[u64]| memory::collect(pointers.iter().map(|&p| (p - base) as usize));
            parts.push(Mutex::new(Part {
                first: begin as u64,
                next: relative(&pointers[begin..end])?,
                ends: relative(&pointers[begin + 1..=end])?,
                indices,
                values,
                canonical: true,
            }));
            begin = end;
        }
        Ok(Self { parts, target })
    }

    fn put(&mut self, window: &Window, control: &Control<'_>) -> Result<()> {
        let target = self.target;
        pool::for_each(control, self.parts.len(), |(): &mut (), number| {
            let mut part = self.parts[number].lock().unwrap_or_else(PoisonError::into_inner);
            macro_rules! put_as {
                ($index:ty, $width:literal) => {
                    put::<$width, { size_of::<$index>() }>(&mut part, window, |position| {
                        (position as $index).to_ne_bytes()
                    })
                };
            }
            macro_rules! with_index {
                ($width:literal) => {
                    match target.indices.size() {
                        1 => put_as!(u8, $width),
                        2 => put_as!(u16, $width),
                        4 => put_as!(u32, $width),
                        _ => put_as!(u64, $width),
                    }
                };
            }
            match target.data.size() {
                1 => with_index!(1),
                2 => with_index!(2),
                4 => with_index!(4),
                _ => with_index!(8),
            }
        })
    }

    /// Whether every place was filled, and no element was there twice.
    fn finish(self) -> Result<bool> {
        let mut canonical = true;
        for part in self.parts {
            let part = part.into_inner().unwrap_or_else(PoisonError::into_inner);
            if part.next != part.ends {
                return Err(Error::Internal("the counts of a matrix changed while it was read".into()));
            }
            canonical &= part.canonical;
        }
        Ok(canonical)
    }
}

/// Places the elements of a window that belong to a part. `N` is the width of a value, `I` that of an index.
fn put<const N: usize, const I: usize>(
    part: &mut Part<'_>,
    window: &Window,
    index: impl Fn(usize) -> [u8; I],
) -> Result<()> {
    let Part { first, next, ends, indices, values, canonical } = part;
    let (indices, _) = indices.as_chunks_mut::<I>();
    let (values, _) = values.as_chunks_mut::<N>();
    let (source, _) = window.values.as_chunks::<N>();
    let mut hits = window.secondary.iter().zip(source);
    for &(position, count) in &window.segments {
        let here = index(position);
        for (&column, value) in hits.by_ref().take(count) {
            let column = column.wrapping_sub(*first) as usize;
            let Some(place) = next.get_mut(column) else { continue };
            if *place == ends[column] {
                return Err(Error::Internal("the counts of a matrix changed while it was read".into()));
            }
            // The element before, if it is of the same column and row.
            if let Some(before) = place.checked_sub(1) {
                let begins = column.checked_sub(1).map_or(0, |previous| ends[previous]);
                *canonical &= before < begins || indices[before] != here;
            }
            indices[*place] = here;
            values[*place] = *value;
            *place += 1;
        }
    }
    Ok(())
}
