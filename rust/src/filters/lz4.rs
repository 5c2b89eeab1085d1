//! Filter 32004, LZ4: blocks (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>) behind a header
//! of HDF5's own (<https://github.com/HDFGroup/hdf5_plugins/blob/master/LZ4/src/H5Zlz4.c>).
//!
//! The header is the length of all that was compressed (64 bits, big-endian) and that of a block (32 bits);
//! before each block stands its length (32 bits). A block as long as what it stands for is not compressed.

use ::lz4::block::CompressionMode;

use super::blocks::{self, Blocks};
use super::{Codecs, Complaint};

/// Most bytes that a byte decodes to: one that lengthens a match by 255.
pub(super) const MOST: usize = 255;

const CUT: &str = "its LZ4 stream ends in the middle";
const TOO_LONG: &str = "its LZ4 block is longer than any can be";

/// Decodes `input` into `output`; the number of bytes that it came to.
pub(super) fn decode(input: &[u8], output: &mut [u8], codecs: &mut Codecs) -> Result<usize, Complaint> {
    let (&total, rest) = input.split_first_chunk().ok_or(CUT)?;
    let (&block, rest) = rest.split_first_chunk().ok_or(CUT)?;
    let output = usize::try_from(u64::from_be_bytes(total))
        .ok()
        .and_then(|total| output.get_mut(..total))
        .ok_or("its LZ4 header says that there is more than there should be")?;
    let block = u32::from_be_bytes(block) as usize;
    if block == 0 && !output.is_empty() {
        return Err("its LZ4 header says that its blocks are empty".into());
    }
    blocks::decode(Streams(rest), output, block, codecs)?;
    Ok(output.len())
}

/// Blocks behind their lengths.
#[derive(Clone)]
struct Streams<'i>(&'i [u8]);

impl Blocks for Streams<'_> {
    fn skip(&mut self, _len: usize) -> Result<(), Complaint> {
        sized(&mut self.0).map(drop)
    }

    fn decode(&mut self, target: &mut [u8], _: &mut Codecs) -> Result<(), Complaint> {
        let stored = sized(&mut self.0)?;
        if stored.len() == target.len() {
            target.copy_from_slice(stored);
            Ok(())
        } else {
            decode_block(stored, target)
        }
    }
}

/// Levels that an encoder has: 0 is LZ4 itself, higher ones are its slower and smaller kind (LZ4 HC).
pub(super) const LEVELS: std::ops::RangeInclusive<u32> = 0..=12;

/// Compresses bytes into one block. How many bytes of `output`, which has room for [`most_encoded`] of them, it came to.
pub(super) fn encode(input: &[u8], level: u32, output: &mut [u8]) -> Option<usize> {
    let block = u32::try_from(input.len()).ok()?;
    let (header, room) = output.split_first_chunk_mut::<{ HEADER + 4 }>()?;
    header[..8].copy_from_slice(&u64::from(block).to_be_bytes());
    header[8..12].copy_from_slice(&block.max(1).to_be_bytes());
    if input.is_empty() {
        return Some(HEADER);
    }
    let mode =
        if level == 0 { CompressionMode::FAST(1) } else { CompressionMode::HIGHCOMPRESSION(level as i32) };
    let len = match encode_block(input, mode, room) {
        Some(len) if len < input.len() => len,
        // As long as what it stands for: not compressed.
        _ => {
            room.get_mut(..input.len())?.copy_from_slice(input);
            input.len()
        }
    };
    header[12..].copy_from_slice(&(len as u32).to_be_bytes());
    Some(HEADER + 4 + len)
}

/// Compresses bytes into a single block. How many bytes of `output` it came to; `None` if that was too little.
pub(super) fn encode_block(input: &[u8], mode: CompressionMode, output: &mut [u8]) -> Option<usize> {
    ::lz4::block::compress_to_buffer(input, Some(mode), false, output).ok()
}

/// Bytes of the header.
const HEADER: usize = 12;

/// Bytes that `len` bytes take at most.
pub(super) fn most_encoded(len: usize) -> usize {
    // `LZ4_COMPRESSBOUND`.
    HEADER + 4 + len + len / 255 + 16
}

/// The length that `input` says it has.
pub(super) fn declared_len(input: &[u8]) -> Option<u64> {
    input.first_chunk().map(|&total| u64::from_be_bytes(total))
}

/// Takes what stands behind its length in 32 bits, big-endian.
pub(super) fn sized<'i>(input: &mut &'i [u8]) -> Result<&'i [u8], Complaint> {
    let (&len, rest) = input.split_first_chunk().ok_or(CUT)?;
    let (block, rest) = rest.split_at_checked(u32::from_be_bytes(len) as usize).ok_or(CUT)?;
    *input = rest;
    Ok(block)
}

/// Decodes a single block, which must fill `output`.
pub(super) fn decode_block(input: &[u8], output: &mut [u8]) -> Result<(), Complaint> {
    // liblz4 counts in 31 bits; the crate checks that of the output only.
    let len = i32::try_from(output.len()).ok().filter(|_| i32::try_from(input.len()).is_ok());
    let made = ::lz4::block::decompress_to_buffer(input, Some(len.ok_or(TOO_LONG)?), output)
        .map_err(|_| "its LZ4 block is broken")?;
    if made == output.len() {
        Ok(())
    } else {
        Err(format!("its LZ4 block comes to {made} bytes instead of {}", output.len()).into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::{decoded, from_hex};
    use super::*;

    fn run(input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        decoded(len, |output| decode(input, output, &mut Codecs::default()))
    }

    /// Written by hdf5plugin 7.1: `numpy.arange(50, dtype="<u2") // 10` in blocks of 32 bytes; the last
    /// block has four.
    const GOLDEN: &str = "000000000000006400000020000000121f00010000c00100010001000100010001000000000f22010002\
                       001e0202005000030003000000000f2a03000200160402005000040004000000000404000400";

    #[test]
    fn what_hdf5plugin_wrote() {
        let values: Vec<u8> = (0..50u16).flat_map(|i| (i / 10).to_le_bytes()).collect();
        let stream = from_hex(GOLDEN);
        assert_eq!(declared_len(&stream), Some(100));
        assert_eq!(run(&stream, 100).unwrap(), values);
    }

    #[test]
    fn broken_streams_are_refused() {
        let stream = from_hex(GOLDEN);
        assert!(run(&stream, 99).is_err());
        for len in 0..stream.len() {
            assert!(run(&stream[..len], 100).is_err(), "{len}");
        }
        let mut no_blocks = stream.clone();
        no_blocks[8..12].fill(0);
        assert!(run(&no_blocks, 100).is_err());
        let mut endless = stream.clone();
        endless[..8].fill(0xff);
        assert!(run(&endless, 100).is_err());
        assert_eq!(run(&[0; 12], 100).unwrap(), []);
    }

    #[test]
    fn flipped_bits_do_no_harm() {
        let stream = from_hex(GOLDEN);
        for bit in 0..stream.len() * 8 {
            let mut flipped = stream.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = run(&flipped, 100) {
                assert!(decoded.len() <= 100);
            }
        }
    }
}
