//! Filter 1, deflate: a zlib stream (RFC 1950, <https://www.rfc-editor.org/rfc/rfc1950>).

use libdeflater::{DecompressionError, Decompressor};

use super::Complaint;

/// Inflates `input` into `output`; the number of bytes that it came to. The stream's Adler-32 is verified.
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
