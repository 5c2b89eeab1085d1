//! Filter 2, shuffle: all first bytes of the elements, then all second bytes, ...; bytes that do not fill
//! an element stand unchanged at the end
//! (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, and `H5Z__filter_shuffle`).

use crate::planes::Planes;

/// Puts the bytes of each element together again. `output` is as long as `input`.
pub(super) fn decode(element: usize, input: &[u8], output: &mut [u8]) {
    let count = input.len().checked_div(element).unwrap_or(0);
    let (bytes, rest) = input.split_at(count * element);
    let (elements, tail) = output.split_at_mut(count * element);
    tail.copy_from_slice(rest);
    if let Some(planes) = Planes::new(bytes, element) {
        planes.copy(0, elements);
    }
}

/// Puts all first bytes of the elements first, then all second ones, ... `shuffled` is as long as `raw`.
pub(super) fn encode(element: usize, raw: &[u8], shuffled: &mut [u8]) {
    match element {
        2 => planes::<2>(raw, shuffled),
        4 => planes::<4>(raw, shuffled),
        8 => planes::<8>(raw, shuffled),
        16 => planes::<16>(raw, shuffled),
        _ => {
            let count = raw.len().checked_div(element).unwrap_or(0);
            shuffled[count * element..].copy_from_slice(&raw[count * element..]);
            if count == 0 {
                return;
            }
            for (i, value) in raw.chunks_exact(element).enumerate() {
                for (byte, &bits) in value.iter().enumerate() {
                    shuffled[byte * count + i] = bits;
                }
            }
        }
    }
}

/// Elements of which all bytes are taken in turn, while they are in a core's first cache.
const AT_ONCE: usize = 1024;

fn planes<const N: usize>(raw: &[u8], shuffled: &mut [u8]) {
    let count = raw.len() / N;
    let (elements, rest) = raw.as_chunks::<N>();
    shuffled[count * N..].copy_from_slice(rest);
    for (number, block) in elements.chunks(AT_ONCE).enumerate() {
        for byte in 0..N {
            let first = byte * count + number * AT_ONCE;
            for (to, value) in shuffled[first..first + block.len()].iter_mut().zip(block) {
                *to = value[byte];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition.
    fn naive(element: usize, input: &[u8]) -> Vec<u8> {
        let count = input.len().checked_div(element).unwrap_or(0);
        let mut output = input.to_vec();
        for i in 0..count {
            for byte in 0..element {
                output[i * element + byte] = input[byte * count + i];
            }
        }
        output
    }

    #[test]
    fn agrees_with_the_definition_at_all_sizes() {
        for element in [0, 1, 2, 3, 4, 5, 8, 12, 16, 40] {
            for len in (0..200).chain([1000, 1023, 4096, 4103]) {
                let input: Vec<u8> =
                    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
                let mut output = vec![0; len];
                decode(element, &input, &mut output);
                assert_eq!(output, naive(element, &input), "element {element}, length {len}");
                let mut again = vec![0; len];
                encode(element, &output, &mut again);
                assert_eq!(again, input, "element {element}, length {len}");
            }
        }
    }
}
