//! `BloscLZ`, the codec that Blosc brings: `FastLZ` level 2 with longer distances
//! (<https://github.com/Blosc/c-blosc/blob/main/blosc/blosclz.c>).
//!
//! A control byte below 32 starts `byte + 1` literals; of the first one only the low five bits count. Any
//! other holds a match's length in its three high bits (7: bytes follow that are added, up to the first
//! that is not 255) and the high five bits of its distance, whose low eight follow. Where all of those are
//! set, the next two bytes are a distance to be added.

use super::{Complaint, matches};

/// Longest distance in 13 bits (`MAX_DISTANCE`).
const NEAR: usize = 8191;

/// Decodes `input` into `output`; the number of bytes that it came to.
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, Complaint> {
    const CUT: &str = "its BloscLZ stream ends in the middle";
    let mut read = 0;
    let mut written = 0;
    let mut mask = 31;
    while let Some(&control) = input.get(read) {
        let control = usize::from(control & mask);
        mask = 0xff;
        read += 1;
        let mut next = || {
            let byte = input.get(read).ok_or(CUT);
            read += 1;
            byte.map(|&byte| usize::from(byte))
        };
        if control < 32 {
            let len = control + 1;
            matches::literals(input, read, output, written, len)
                .ok_or("its BloscLZ stream ends in literals, or is too long")?;
            read += len;
            written += len;
            continue;
        }
        let mut len = control >> 5;
        if len == 7 {
            loop {
                let more = next()?;
                len += more;
                if more != 255 {
                    break;
                }
            }
        }
        len += 2;
        let mut distance = (control & 31) << 8 | next()?;
        if distance == NEAR {
            distance += next()? << 8;
            distance += next()?;
        }
        distance += 1;
        matches::repeat("BloscLZ", output, written, distance, len)?;
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
    fn literals_and_matches() {
        assert_eq!(run(&[2, b'a', b'b', b'c'], 9).unwrap(), b"abc");
        assert_eq!(run(&[0xe2, b'a', b'b', b'c'], 9).unwrap(), b"abc", "high bits of the first byte");
        assert_eq!(run(&[2, b'a', b'b', b'c', 0x40, 2, 0, b'd'], 9).unwrap(), b"abcabcad");
        assert_eq!(run(&[0, b'a', 0xe0, 255, 1, 0], 300).unwrap(), [b'a'; 1 + 9 + 256]);
        assert_eq!(run(&[], 9).unwrap(), []);
    }

    #[test]
    fn a_long_distance() {
        let mut stream = Vec::new();
        for i in 0..300 {
            stream.push(31);
            stream.extend([i as u8; 32]);
        }
        // 9600 bytes so far; 8191 + 0x0501 + 1 back is in the fourth run.
        stream.extend([0x3f, 0xff, 0x05, 0x01]);
        let decoded = run(&stream, 9603).unwrap();
        assert_eq!(decoded[9600..], decoded[9600 - 9473..][..3]);
    }

    #[test]
    fn broken_streams_are_refused() {
        assert!(run(&[2, 1, 2], 9).is_err(), "literals");
        assert!(run(&[2, 1, 2, 3], 2).is_err(), "too long");
        assert!(run(&[0, 1, 0x20], 9).is_err(), "no distance");
        assert!(run(&[0, 1, 0x20, 1], 9).is_err(), "nothing to refer to");
        assert!(run(&[0, 1, 0xe0, 255], 999).is_err(), "length");
        assert!(run(&[0, 1, 0x3f, 255, 0], 999).is_err(), "long distance");
        assert!(run(&[0, 1, 0x40, 0], 4).is_err(), "too long");
    }
}
