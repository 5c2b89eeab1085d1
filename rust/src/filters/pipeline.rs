//! The filters of a dataset one after another.

use super::complaint::wrong_length;
use super::filter::{Filter, hardly_more_than};
use super::{Complaint, Fault, Scratch, shuffle};
use crate::dataset::FilterStep;

/// The filters of a dataset, in the order in which they were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline {
    filters: Vec<Filter>,
}

impl Pipeline {
    /// The pipeline of these steps.
    pub fn new(steps: &[FilterStep]) -> Self {
        Self { filters: steps.iter().map(Filter::new).collect() }
    }

    /// Whether all filters are of the direct path.
    pub fn is_known(&self) -> bool {
        !self.filters.iter().any(|filter| matches!(filter, Filter::Unknown(_)))
    }

    /// Checks that `stored` bytes can decode to `len`, before memory is asked for because the file says so.
    ///
    /// # Errors
    /// [`Fault::Damaged`] when they cannot.
    pub fn check_sizes(&self, mask: u32, stored: usize, len: usize) -> Result<(), Fault> {
        let active = self.filters.iter().enumerate().filter(|&(position, _)| !is_skipped(mask, position));
        let most = active.fold(stored, |bytes, (_, filter)| filter.most(bytes));
        if most < len {
            return Err(format!("its {stored} bytes cannot decode to the {len} that there should be").into());
        }
        Ok(())
    }

    /// Decodes what was put into `scratch.input()` to exactly `len` bytes, which are `scratch.filled()` then.
    ///
    /// # Errors
    /// A [`Complaint`] when a checksum or a length is wrong, or a stream is broken.
    pub fn decode(&self, mask: u32, len: usize, scratch: &mut Scratch) -> Result<(), Complaint> {
        self.decode_down_to(0, mask, len, scratch)?;
        Ok(scratch.holds(len)?)
    }

    /// Whether a chunk that skipped the filters in `mask` went through none at all.
    pub fn is_empty(&self, mask: u32) -> bool {
        (0..self.filters.len()).all(|position| is_skipped(mask, position))
    }

    /// Whether [`Self::decode_into`] is a good way to decode `len` bytes.
    pub fn fills(&self, mask: u32, len: usize) -> bool {
        self.first(mask).is_some_and(|(_, filter)| filter.fills(len))
    }

    /// Decodes what was put into `scratch.input()` to `place`, which it fills.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_into(&self, mask: u32, place: &mut [u8], scratch: &mut Scratch) -> Result<(), Complaint> {
        let Some((position, filter)) = self.first(mask).filter(|(_, filter)| filter.fills(place.len()))
        else {
            self.decode(mask, place.len(), scratch)?;
            place.copy_from_slice(scratch.filled());
            return Ok(());
        };
        self.decode_down_to(position + 1, mask, place.len(), scratch)?;
        let declared = filter.declared_len(scratch.current.bytes());
        match declared.filter(|&declared| declared != place.len() as u64) {
            Some(declared) => Err(wrong_length(declared as usize, place.len()).into()),
            None => filter.undo_into(place, scratch),
        }
    }

    /// The filter that a chunk went through first, which is undone last.
    fn first(&self, mask: u32) -> Option<(usize, Filter)> {
        self.filters.iter().copied().enumerate().find(|&(position, _)| !is_skipped(mask, position))
    }

    /// Decodes 64-bit little-endian integers of which a caller wants no more than 32 bits, if they have no more:
    /// whether they stand there as native 32-bit ones now.
    ///
    /// Shuffled integers that are small come with their upper bytes as one long run of zeros, and need not be
    /// put together with those.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_narrow(&self, mask: u32, len: usize, scratch: &mut Scratch) -> Result<bool, Complaint> {
        let shuffled = self.filters.first() == Some(&Filter::Shuffle { element: 8 }) && !is_skipped(mask, 0);
        if !shuffled || !len.is_multiple_of(8) {
            return self.decode(mask, len, scratch).map(|()| false);
        }
        self.decode_down_to(1, mask, len, scratch)?;
        scratch.holds(len)?;
        let Scratch { current, next, .. } = scratch;
        let (low, high) = current.bytes().split_at(len / 2);
        let narrow = is_zero(high);
        if narrow {
            shuffle::decode(4, low, next.prepare(len / 2)?);
        } else {
            shuffle::decode(8, current.bytes(), next.prepare(len)?);
        }
        std::mem::swap(current, next);
        Ok(narrow)
    }

    /// The same as [`Self::decode`], but where the elements of a chunk were shuffled, and have `element` bytes, they
    /// may be left in planes: whether they are.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_to_planes(
        &self,
        mask: u32,
        len: usize,
        element: usize,
        scratch: &mut Scratch,
    ) -> Result<bool, Complaint> {
        let shuffled = self.filters.first() == Some(&Filter::Shuffle { element }) && !is_skipped(mask, 0);
        let planes = shuffled && len.is_multiple_of(element.max(1));
        self.decode_down_to(usize::from(planes), mask, len, scratch)?;
        scratch.holds(len)?;
        Ok(planes)
    }

    /// Undoes all filters from the last to the one at `first`, for a chunk of `len` bytes.
    fn decode_down_to(
        &self,
        first: usize,
        mask: u32,
        len: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Complaint> {
        for (position, &filter) in self.filters.iter().enumerate().skip(first).rev() {
            if is_skipped(mask, position) {
                continue;
            }
            // What the steps before this one made of the chunk is what this one was given.
            let expected = self.filters[..position]
                .iter()
                .enumerate()
                .filter(|&(earlier, _)| !is_skipped(mask, earlier))
                .try_fold(len, |len, (_, earlier)| earlier.applied_len(len));
            // Two compressors in a row: the length between them is not known.
            let (limit, exact) = match expected {
                Some(expected) => (expected, true),
                None => (hardly_more_than(len), false),
            };
            if let Some(declared) = filter.declared_len(scratch.current.bytes()) {
                let declared = usize::try_from(declared).unwrap_or(usize::MAX);
                if declared > limit || exact && declared != limit {
                    return Err(wrong_length(declared, limit).into());
                }
            }
            filter.undo(limit, scratch)?;
            let made = scratch.current.bytes().len();
            if exact && made != limit {
                return Err(wrong_length(made, limit).into());
            }
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Blocks that the compiler compares as vectors.
    bytes.chunks(512).all(|block| block.iter().fold(0, |any, byte| any | byte) == 0)
}

/// Whether the chunk with this filter mask did not go through the filter at this position.
fn is_skipped(mask: u32, position: usize) -> bool {
    position < 32 && mask & (1 << position) != 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Declined;
    use super::*;

    fn step(id: u32, values: &[u32]) -> FilterStep {
        FilterStep { id, name: String::new(), values: values.to_vec() }
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut out = vec![0; compressor.zlib_compress_bound(bytes.len())];
        let len = compressor.zlib_compress(bytes, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn decode(pipeline: &Pipeline, mask: u32, input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        let mut scratch = Scratch::default();
        scratch.input(input.len())?.copy_from_slice(input);
        pipeline.decode(mask, len, &mut scratch)?;
        Ok(scratch.take()?.to_vec())
    }

    #[test]
    fn order_and_mask_are_respected() {
        let values: Vec<u8> = (0..40u8).collect();
        let mut shuffled = vec![0; 40];
        for (i, &byte) in values.iter().enumerate() {
            shuffled[(i % 4) * 10 + i / 4] = byte;
        }
        let pipeline = Pipeline::new(&[step(2, &[4]), step(1, &[6])]);
        assert_eq!(decode(&pipeline, 0, &deflated(&shuffled), 40).unwrap(), values);
        assert_eq!(decode(&pipeline, 0b01, &deflated(&values), 40).unwrap(), values);
        assert_eq!(decode(&pipeline, 0b10, &shuffled, 40).unwrap(), values);
        assert_eq!(decode(&pipeline, 0b11, &values, 40).unwrap(), values);
    }

    #[test]
    fn small_integers_are_narrowed() {
        for largest in [1000u64, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let values: Vec<u64> = (0..100).chain([largest]).collect();
            let mut shuffled = vec![0; values.len() * 8];
            for (i, value) in values.iter().enumerate() {
                for (byte, &bits) in value.to_le_bytes().iter().enumerate() {
                    shuffled[byte * values.len() + i] = bits;
                }
            }
            let pipeline = Pipeline::new(&[step(2, &[8]), step(1, &[6])]);
            let mut scratch = Scratch::default();
            let stream = deflated(&shuffled);
            scratch.input(stream.len()).unwrap().copy_from_slice(&stream);
            let wide: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let narrow: Vec<u8> = values.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect();
            let fits = u32::try_from(largest).is_ok();
            assert_eq!(pipeline.decode_narrow(0, wide.len(), &mut scratch), Ok(fits));
            assert_eq!(scratch.filled(), if fits { &narrow } else { &wide });
        }
    }

    #[test]
    fn two_compressors_in_a_row() {
        let values = vec![7u8; 10_000];
        let pipeline = Pipeline::new(&[step(1, &[6]), step(1, &[6])]);
        assert_eq!(decode(&pipeline, 0, &deflated(&deflated(&values)), 10_000).unwrap(), values);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let pipeline = Pipeline::new(&[step(1, &[6])]);
        let stream = deflated(&[1; 100]);
        assert!(decode(&pipeline, 0, &stream, 99).is_err());
        assert!(decode(&pipeline, 0, &stream, 101).is_err());
        assert!(decode(&pipeline, 0, &stream[..stream.len() - 1], 100).is_err());
        assert!(decode(&pipeline, 0, &[], 100).is_err());
        assert!(decode(&Pipeline::default(), 0, &[1, 2, 3], 4).is_err());
    }

    #[test]
    fn chunks_that_skip_an_unknown_filter_are_decoded() {
        let pipeline = Pipeline::new(&[step(32013, &[]), step(1, &[6])]);
        assert!(!pipeline.is_known());
        assert_eq!(decode(&pipeline, 0b01, &deflated(&[1, 2, 3]), 3).unwrap(), [1, 2, 3]);
        assert_eq!(
            decode(&pipeline, 0, &deflated(&[1, 2, 3]), 3),
            Err(Declined { filter: 32013, what: String::new() }.into())
        );
        assert!(!Pipeline::new(&[step(2, &[])]).is_known(), "shuffle without its element size");
    }
}
