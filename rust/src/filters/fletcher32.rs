//! Filter 3, Fletcher-32: a checksum of four bytes after the data
//! (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, and `H5_checksum_fletcher32`).

use super::Complaint;

/// What the filter adds to its input.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// How many 16-bit words can be summed before 32 bits overflow.
const WORDS_BEFORE_REDUCTION: usize = 360;

/// The bytes before the checksum, if it is theirs.
pub(super) fn verify(input: &[u8]) -> Result<&[u8], Complaint> {
    let (data, stored) =
        input.split_last_chunk::<CHECKSUM_BYTES>().ok_or("too short to hold its Fletcher-32 checksum")?;
    let stored = u32::from_le_bytes(*stored);
    let computed = checksum(data);
    // HDF5 before 1.6.3 wrote the checksum with the bytes of each half swapped on little-endian
    // machines, and libhdf5 still accepts that (`H5Z__filter_fletcher32`).
    let swapped = ((computed & 0x00ff_00ff) << 8) | ((computed & 0xff00_ff00) >> 8);
    if stored == computed || stored == swapped {
        Ok(data)
    } else {
        Err(format!("its Fletcher-32 checksum is {stored:#010x}, its bytes give {computed:#010x}").into())
    }
}

/// Sums of big-endian 16-bit words modulo 65535; an odd byte at the end counts as a word's first.
fn checksum(data: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut sum1, mut sum2) = (0u32, 0u32);
    let (words, odd) = data.as_chunks::<2>();
    for block in words.chunks(WORDS_BEFORE_REDUCTION) {
        for word in block {
            sum1 += u32::from(u16::from_be_bytes(*word));
            sum2 += sum1;
        }
        sum1 = fold(sum1);
        sum2 = fold(sum2);
    }
    if let [byte] = odd {
        sum1 += u32::from(*byte) << 8;
        sum2 += sum1;
        sum1 = fold(sum1);
        sum2 = fold(sum2);
    }
    (fold(sum2) << 16) | fold(sum1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The definition, without any shortcut but the modulus' two zeros: 65535 stays, as in libhdf5.
    fn naive(data: &[u8]) -> u32 {
        let (mut sum1, mut sum2) = (0u64, 0u64);
        for pair in data.chunks(2) {
            sum1 += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| u64::from(b));
            sum2 += sum1;
        }
        let reduce = |sum: u64| if sum == 0 { 0 } else { (sum - 1) % 65535 + 1 };
        (reduce(sum2) as u32) << 16 | reduce(sum1) as u32
    }

    #[test]
    fn agrees_with_the_definition_at_even_and_odd_lengths() {
        for len in [0, 1, 2, 3, 718, 719, 720, 721, 722, 5001] {
            let data: Vec<u8> =
                (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            assert_eq!(checksum(&data), naive(&data), "{len}");
            assert_eq!(checksum(&vec![0xff; len]), naive(&vec![0xff; len]), "{len}");
        }
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut bytes = vec![5; 101];
        bytes.extend(checksum(&[5; 101]).to_le_bytes());
        assert_eq!(verify(&bytes).unwrap(), [5; 101]);
        bytes[50] ^= 1;
        assert!(verify(&bytes).is_err());
        assert!(verify(&[1, 2, 3]).is_err());
    }
}
