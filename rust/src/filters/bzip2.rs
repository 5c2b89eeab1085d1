//! Filter 307, bzip2: one stream, as the bzip2 program writes it (<https://sourceware.org/bzip2/>; a
//! description is <https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf>).

use bzip2::{Decompress, Status};

use super::Complaint;

/// Most bytes that a byte decodes to: a block has up to 900,000 bytes, of which five stand for 259 where
/// they are a run, and 21 bytes of headers and tables at the least.
pub(super) const MOST: usize = 900_000 / 5 * 259 / 21;

/// Decodes `input` into `output`; the number of bytes that it came to.
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, Complaint> {
    let mut decoder = Decompress::new(false);
    let (mut read, mut written) = (0, 0);
    loop {
        let status = decoder
            .decompress(&input[read..], &mut output[written..])
            .map_err(|error| format!("its bzip2 stream is broken: {error}"))?;
        let before = (read, written);
        read = (decoder.total_in() as usize).min(input.len());
        written = (decoder.total_out() as usize).min(output.len());
        if status == Status::StreamEnd {
            return Ok(written);
        }
        if (read, written) == before {
            return Err("its bzip2 stream is too long, or ends in the middle".into());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::{decoded, from_hex};
    use super::*;

    fn run(input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        decoded(len, |output| decode(input, output))
    }

    /// Written by hdf5plugin 7.1: `numpy.arange(50, dtype="<u2") // 3` with blocks of 100 kB.
    const GOLDEN: &str = "425a68313141592653598d825297000000e0007fffc000200031434d300047ea92681a19a952b368b4dd\
                       bb872e9db0f1ebe65a5454e7411f8bb9229c284846c1294b80";

    #[test]
    fn what_hdf5plugin_wrote() {
        let values: Vec<u8> = (0..50u16).flat_map(|i| (i / 3).to_le_bytes()).collect();
        assert_eq!(run(&from_hex(GOLDEN), 100).unwrap(), values);
        assert_eq!(run(&from_hex(GOLDEN), 150).unwrap(), values);
    }

    #[test]
    fn broken_streams_are_refused() {
        let stream = from_hex(GOLDEN);
        assert!(run(&stream, 99).is_err());
        assert!(run(&stream, 0).is_err());
        for len in 0..stream.len() {
            assert!(run(&stream[..len], 100).is_err(), "{len}");
        }
        let values = run(&stream, 100).unwrap();
        for bit in 0..stream.len() * 8 {
            let mut flipped = stream.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Only bits that do not matter escape the checksums.
            if let Ok(decoded) = run(&flipped, 100) {
                assert_eq!(decoded, values, "{bit}");
            }
        }
    }
}
