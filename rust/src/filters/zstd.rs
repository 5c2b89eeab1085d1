//! Filter 32015, Zstandard: one or more frames (RFC 8878, <https://www.rfc-editor.org/rfc/rfc8878>), nothing
//! around them (<https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md>).

use zstd_safe::{CCtx, DCtx};

use super::{Complaint, Fault};
use crate::memory::NoMemory;

/// Most bytes that a byte decodes to: a block of 128 KiB takes three bytes of header and one of contents
/// (RFC 8878, 3.1.1.2).
pub(super) const MOST: usize = (128 << 10) / 4;

/// A decoder, whose tables are allocated when they are first needed and then kept.
#[derive(Default)]
pub(super) struct Decoder(Option<DCtx<'static>>);

impl Decoder {
    /// Decodes `input` into `output`; the number of bytes that it came to.
    pub(super) fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, Complaint> {
        let context = match &mut self.0 {
            Some(context) => context,
            empty => {
                // The size is libzstd's own affair; what matters is that there was no memory.
                let context = DCtx::try_create().ok_or(Fault::OutOfMemory(128 << 10))?;
                empty.insert(context)
            }
        };
        context.decompress(output, input).map_err(|code| {
            format!("its Zstandard stream is broken: {}", zstd_safe::get_error_name(code)).into()
        })
    }

    /// Decodes `input`, which must fill `output`.
    pub(super) fn decode_whole(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Complaint> {
        let made = self.decode(input, output)?;
        if made == output.len() {
            Ok(())
        } else {
            Err(format!("its Zstandard stream comes to {made} bytes instead of {}", output.len()).into())
        }
    }
}

/// Levels that an encoder has here: Zstandard's own, without those that take more memory than chunks are large.
pub(super) const LEVELS: std::ops::RangeInclusive<u32> = 1..=19;

/// An encoder, whose tables are allocated when they are first needed and then kept.
#[derive(Default)]
pub(super) struct Encoder(Option<CCtx<'static>>);

impl Encoder {
    /// Compresses bytes into one frame, which says how many they are. How many bytes of `output`, which has room for
    /// [`most_encoded`] of them, it came to.
    pub(super) fn encode(
        &mut self,
        input: &[u8],
        level: u32,
        output: &mut [u8],
    ) -> Result<Option<usize>, NoMemory> {
        let context = match &mut self.0 {
            Some(context) => context,
            empty => empty.insert(CCtx::try_create().ok_or(NoMemory(1 << 20))?),
        };
        Ok(context.compress(output, input, level as i32).ok())
    }
}

/// Bytes that `len` bytes take at most.
pub(super) fn most_encoded(len: usize) -> usize {
    zstd_safe::compress_bound(len)
}

/// The length that the first frame says it has, if it says so.
pub(super) fn declared_len(input: &[u8]) -> Option<u64> {
    zstd_safe::get_frame_content_size(input).ok().flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::{decoded, from_hex};
    use super::*;

    fn run(input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        decoded(len, |output| Decoder::default().decode(input, output))
    }

    /// Written by hdf5plugin 7.1: `numpy.arange(50, dtype="<u2") // 3` at level 3.
    const GOLDEN: &str = "28b52ffd2064a50100a800000102030405060708090a0b0c0d0e0f1000100010004004dc81c68008b803\
                       8d011170071a0322e00e340644c05daed90ada";

    #[test]
    fn what_hdf5plugin_wrote() {
        let values: Vec<u8> = (0..50u16).flat_map(|i| (i / 3).to_le_bytes()).collect();
        let stream = from_hex(GOLDEN);
        assert_eq!(declared_len(&stream), Some(100));
        assert_eq!(run(&stream, 100).unwrap(), values);
        assert_eq!(run(&stream, 120).unwrap(), values);
    }

    #[test]
    fn broken_streams_are_refused() {
        let stream = from_hex(GOLDEN);
        assert!(run(&stream, 99).is_err());
        for len in 1..stream.len() {
            assert!(run(&stream[..len], 100).is_err(), "{len}");
        }
        assert!(run(&[7; 40], 100).is_err());
        assert_eq!(run(&[], 100).unwrap(), []);
        assert_eq!(declared_len(&[]), None);
    }

    #[test]
    fn the_densest_frame_is_within_what_is_allowed_for() {
        // A frame of blocks that repeat one byte: no checksum, no length, a window of 128 KiB.
        let mut stream = from_hex("28b52ffd0038");
        let block = (128u32 << 10) << 3 | 1 << 1;
        for last in [0, 0, 1] {
            stream.extend(&(block | last).to_le_bytes()[..3]);
            stream.push(9);
        }
        let decoded = run(&stream, 3 * (128 << 10)).unwrap();
        assert!(decoded.iter().all(|&byte| byte == 9));
        assert!(decoded.len() == 3 * (128 << 10) && decoded.len() <= stream.len() * MOST);
        assert_eq!(declared_len(&stream), None);
    }
}
