//! Filter 1, deflate: a zlib stream (RFC 1950, <https://www.rfc-editor.org/rfc/rfc1950>).

mod huffman;
mod planes;

use libdeflater::{DecompressionError, Decompressor};

use super::Complaint;
use crate::memory::NoMemory;

/// Bytes to put after the input.
///
/// libdeflate leaves its fast loop when less than about 25 bytes are left to read, or 299 to write
/// (`FASTLOOP_MAX_BYTES_READ`, `FASTLOOP_MAX_BYTES_WRITTEN` in its `decompress_template.h`), and then copies
/// byte by byte. The end of a shuffled chunk of small integers is all zeros, tens of thousands of them in
/// those last 25 bytes: most of such a chunk's time went there.
pub(super) const INPUT_PADDING: usize = 64;

/// Bytes of room to leave after the output.
pub(super) const OUTPUT_PADDING: usize = 320;

/// Inflates `input` into `output`; the number of bytes that it came to. The stream's Adler-32 is verified, so
/// that a stream which runs on into the padding is not taken for a whole one.
pub(super) fn decode(
    inflater: &mut Decompressor,
    input: &[u8],
    output: &mut [u8],
) -> Result<usize, Complaint> {
    inflater.zlib_decompress(input, output).map_err(|error| match error {
        DecompressionError::BadData => "its deflate stream is broken".into(),
        DecompressionError::InsufficientSpace => {
            format!("its deflate stream comes to more than the {} bytes that there should be", output.len())
                .into()
        }
    })
}

/// What an encoder keeps from one chunk to the next.
#[derive(Default)]
pub(super) struct Encoder(planes::Workspace);

impl Encoder {
    /// Compresses bytes at a level from 0 to 9; they are `planes` byte planes of equal length, if they were shuffled, or one.
    /// How many bytes of `output`, which has room for [`most_encoded`] of them, it came to; `None` if that was too little.
    pub(super) fn encode(
        &mut self,
        input: &[u8],
        planes: usize,
        level: u32,
        output: &mut [u8],
    ) -> Result<Option<usize>, NoMemory> {
        planes::encode(input, planes, level, &mut self.0, output)
    }
}

/// Bytes that `len` bytes take at most.
pub(super) fn most_encoded(len: usize) -> usize {
    planes::most(len)
}
