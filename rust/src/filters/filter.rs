//! A filter of the direct path, whichever it is.

use super::bitshuffle::Bitshuffle;
use super::complaint::wrong_length;
use super::scratch::Scratch;
use super::szip::Szip;
use super::{
    Complaint, Declined, Fault, blosc, blosc2, bzip2, deflate, fletcher32, lz4, lzf, shuffle, szip, zstd,
};
use crate::dataset::FilterStep;

/// A filter of the direct path with its parameters understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Deflate,
    Shuffle {
        element: usize,
    },
    Fletcher32,
    Lzf,
    Zstd,
    Lz4,
    Bitshuffle(Bitshuffle),
    Bzip2,
    Blosc,
    Blosc2,
    Szip(Szip),
    /// Not of the direct path, by its number: only chunks that skipped it can be decoded.
    Unknown(u32),
}

impl Filter {
    pub(super) fn new(step: &FilterStep) -> Self {
        Self::known(step).unwrap_or(Self::Unknown(step.id))
    }

    fn known(step: &FilterStep) -> Option<Self> {
        match step.id {
            1 => Some(Self::Deflate),
            // The first parameter is the element size; set by the library when the dataset was made.
            2 => Some(Self::Shuffle { element: usize::try_from(*step.values.first()?).ok()? }),
            3 => Some(Self::Fletcher32),
            4 => Szip::new(&step.values).map(Self::Szip),
            307 => Some(Self::Bzip2),
            32000 => Some(Self::Lzf),
            blosc::ID => Some(Self::Blosc),
            32004 => Some(Self::Lz4),
            32008 => Bitshuffle::new(&step.values).map(Self::Bitshuffle),
            blosc2::ID => blosc2::is_known(&step.values).then_some(Self::Blosc2),
            32015 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Undoes the filter on what stands in `scratch.current`, which comes to `limit` bytes at most.
    pub(super) fn undo(self, limit: usize, scratch: &mut Scratch) -> Result<(), Complaint> {
        let Scratch { current, next, codecs } = scratch;
        if self == Self::Deflate {
            current.pad(deflate::INPUT_PADDING)?;
        }
        let input = current.bytes();
        let made = match self {
            Self::Deflate => {
                let output = next.prepare(limit.saturating_add(deflate::OUTPUT_PADDING))?;
                deflate::decode(&mut codecs.inflater, current.padded(), output)?
            }
            Self::Lzf => lzf::decode(input, next.prepare(limit)?)?,
            Self::Lz4 => lz4::decode(input, next.prepare(limit)?, codecs)?,
            Self::Bitshuffle(bitshuffle) => bitshuffle.decode(input, next.prepare(limit)?, codecs)?,
            Self::Blosc => blosc::decode(input, next.prepare(limit)?, codecs)?,
            Self::Szip(szip) => szip.decode(input, next.prepare(limit)?, &mut codecs.work.planes)?,
            Self::Blosc2 => blosc2::decode(input, next.prepare(limit)?, codecs)?,
            Self::Bzip2 => bzip2::decode(input, next.prepare(limit)?)?,
            Self::Zstd => codecs.zstd.decode(input, next.prepare(limit)?)?,
            Self::Shuffle { element } => {
                shuffle::decode(element, input, next.prepare(input.len())?);
                input.len()
            }
            Self::Fletcher32 => {
                let verified = fletcher32::verify(input)?.len();
                current.truncate(verified);
                return Ok(());
            }
            Self::Unknown(filter) => return Err(Declined { filter, what: String::new() }.into()),
        };
        next.truncate(made);
        std::mem::swap(current, next);
        Ok(())
    }

    /// Undoes a filter that is the last to be undone, into the place where the values go. Only of those for which
    /// [`Self::fills`] holds.
    pub(super) fn undo_into(self, place: &mut [u8], scratch: &mut Scratch) -> Result<(), Complaint> {
        let Scratch { current, codecs, .. } = scratch;
        let made = match self {
            Self::Deflate => {
                current.pad(deflate::INPUT_PADDING)?;
                deflate::decode(&mut codecs.inflater, current.padded(), place)?
            }
            Self::Lzf => lzf::decode(current.bytes(), place)?,
            Self::Lz4 => lz4::decode(current.bytes(), place, codecs)?,
            Self::Zstd => codecs.zstd.decode(current.bytes(), place)?,
            _ => 0,
        };
        if made == place.len() { Ok(()) } else { Err(wrong_length(made, place.len()).into()) }
    }

    /// Whether `len` bytes are decoded as fast into a place that has room for no more than them.
    pub(super) fn fills(self, len: usize) -> bool {
        match self {
            // See `OUTPUT_PADDING`: the end of a long chunk does not matter.
            Self::Deflate => len >= 1 << 15,
            Self::Lzf | Self::Lz4 | Self::Zstd => true,
            _ => false,
        }
    }

    /// Length after the filter was applied to `input` bytes, where that does not depend on the bytes.
    pub(super) fn applied_len(self, input: usize) -> Option<usize> {
        match self {
            Self::Shuffle { .. } => Some(input),
            Self::Fletcher32 => input.checked_add(fletcher32::CHECKSUM_BYTES),
            Self::Bitshuffle(bitshuffle) => bitshuffle.keeps_len().then_some(input),
            Self::Deflate
            | Self::Lzf
            | Self::Zstd
            | Self::Lz4
            | Self::Bzip2
            | Self::Blosc
            | Self::Blosc2
            | Self::Szip(_)
            | Self::Unknown(_) => None,
        }
    }

    /// Most bytes that `input` bytes can decode to.
    pub(super) fn most(self, input: usize) -> usize {
        match self {
            Self::Shuffle { .. } | Self::Fletcher32 => input,
            // 258 bytes from two bits (RFC 1951: a length code and a distance code of one bit each).
            Self::Deflate => input.saturating_mul(258 * 4),
            // 264 bytes from three.
            Self::Lzf => input.saturating_mul(264 / 3),
            Self::Zstd => input.saturating_mul(zstd::MOST),
            Self::Lz4 => input.saturating_mul(lz4::MOST),
            Self::Bitshuffle(bitshuffle) => input.saturating_mul(bitshuffle.most()),
            Self::Blosc => input.saturating_mul(blosc::MOST),
            Self::Szip(_) => input.saturating_mul(szip::MOST),
            Self::Bzip2 => input.saturating_mul(bzip2::MOST),
            Self::Blosc2 => blosc2::MOST,
            Self::Unknown(_) => usize::MAX,
        }
    }

    /// The length that `input` itself says it decodes to, in formats that say so.
    pub(super) fn declared_len(self, input: &[u8]) -> Option<u64> {
        match self {
            Self::Zstd => zstd::declared_len(input),
            Self::Szip(_) => szip::declared_len(input),
            Self::Blosc2 => blosc2::declared_len(input),
            Self::Blosc => blosc::declared_len(input),
            Self::Lz4 => lz4::declared_len(input),
            Self::Bitshuffle(bitshuffle) => bitshuffle.declared_len(input),
            Self::Deflate
            | Self::Shuffle { .. }
            | Self::Fletcher32
            | Self::Lzf
            | Self::Bzip2
            | Self::Unknown(_) => None,
        }
    }
}

/// The most that becomes of `len` bytes on their way through a compressor: incompressible bytes grow a little.
pub(super) fn hardly_more_than(len: usize) -> usize {
    len.saturating_add(len / 8).saturating_add(4096)
}

/// Undoes a single filter of a chunk of `len` bytes, where it is not known how long the filters before it made
/// that; `None` when its bytes are damaged.
pub fn undo(step: &FilterStep, input: &[u8], len: usize) -> Option<Vec<u8>> {
    let filter = Filter::known(step)?;
    let most = filter.most(input.len()).min(hardly_more_than(len));
    let declared = filter.declared_len(input);
    let mut scratch = Scratch::default();
    // libhdf5 calls this, under its lock, which is not held while waiting for others.
    scratch.codecs.alone = true;
    let mut room = match declared {
        Some(declared) => usize::try_from(declared).ok().filter(|&declared| declared <= most)?,
        None => input.len().saturating_mul(8).min(most),
    };
    loop {
        scratch.input(input.len()).ok()?.copy_from_slice(input);
        match filter.undo(room, &mut scratch) {
            Ok(()) => return Some(scratch.filled().to_vec()),
            Err(Complaint::Fault(Fault::Damaged(_))) if declared.is_none() && room < most => {
                room = room.saturating_mul(8).min(most);
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(id: u32, values: &[u32]) -> FilterStep {
        FilterStep { id, name: String::new(), values: values.to_vec() }
    }

    #[test]
    fn single_filters_are_undone() {
        // Written by liblzf 3.6: lzf_compress(b"a" * 20).
        let lzf = [1, b'a', b'a', 0xe0, 9, 0];
        assert_eq!(undo(&step(32000, &[]), &lzf, 20).unwrap(), [b'a'; 20]);
        assert_eq!(undo(&step(32000, &[]), &lzf, usize::MAX).unwrap(), [b'a'; 20]);
        assert_eq!(undo(&step(32000, &[]), &lzf[..5], usize::MAX), None);
        assert_eq!(undo(&step(32013, &[]), &lzf, 20), None);
        // More than it can be, by the chunk's length, and by what stands in the file.
        let run = [1u8, b'a', b'a'].into_iter().chain([0xe0, 255, 0].repeat(100)).collect::<Vec<_>>();
        assert_eq!(undo(&step(32000, &[]), &run, usize::MAX).unwrap().len(), 2 + 264 * 100);
        assert_eq!(undo(&step(32000, &[]), &run, 100), None);
        let lz4 = [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
        assert_eq!(undo(&step(32004, &[]), &lz4, usize::MAX), None);
    }
}
