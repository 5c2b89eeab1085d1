//! Filter 32000, LZF: h5py's fast compressor, liblzf's format without a header
//! (<https://docs.h5py.org/en/stable/high/dataset.html#lzf-filter>, `lzf_d.c` of liblzf).
//!
//! A control byte below 32 starts `byte + 1` literals. Any other holds a length in its three high bits
//! (7: one more byte is added), and the high five bits of a distance whose low eight follow.

use super::{Complaint, matches};

/// Decodes `input` into `output`; the number of bytes that it came to.
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, Complaint> {
    const CUT: &str = "its LZF stream ends in the middle";
    let mut read = 0;
    let mut written = 0;
    while let Some(&control) = input.get(read) {
        read += 1;
        if control < 32 {
            let len = usize::from(control) + 1;
            matches::literals(input, read, output, written, len)
                .ok_or("its LZF stream ends in literals, or is too long")?;
            read += len;
            written += len;
            continue;
        }
        let mut len = usize::from(control >> 5);
        if len == 7 {
            len += usize::from(*input.get(read).ok_or(CUT)?);
            read += 1;
        }
        len += 2;
        let distance = (usize::from(control & 31) << 8 | usize::from(*input.get(read).ok_or(CUT)?)) + 1;
        read += 1;
        matches::repeat("LZF", output, written, distance, len)?;
        written += len;
    }
    Ok(written)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::decoded;
    use super::*;

    fn run(input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        decoded(len, |output| decode(input, output))
    }

    #[test]
    fn literals_and_references() {
        // Written by liblzf 3.6: lzf_compress(b"a" * 20) and of b"abcabcabcabcabc".
        assert_eq!(run(&[1, b'a', b'a', 0xe0, 9, 0], 20).unwrap(), [b'a'; 20]);
        assert_eq!(run(&[2, b'a', b'b', b'c', 0xe0, 3, 2], 15).unwrap(), b"abcabcabcabcabc");
    }

    #[test]
    fn broken_streams_are_refused() {
        assert!(run(&[5, 1, 2], 20).is_err());
        assert!(run(&[0xe0], 20).is_err());
        assert!(run(&[0x20], 20).is_err());
        assert!(run(&[0x20, 0], 20).is_err(), "nothing to refer to");
        assert!(run(&[1, b'a', b'a', 0xe0, 9, 0], 19).is_err());
        assert!(run(&[1, b'a', b'a'], 1).is_err());
    }
}
