//! Filter 2, shuffle: all first bytes of the elements, then all second bytes, ...; bytes that do not fill
//! an element stand unchanged at the end
//! (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, and `H5Z__filter_shuffle`).

use wide::u8x16;

/// Puts the bytes of each element together again. `output` is as long as `input`.
pub(super) fn decode(element: usize, input: &[u8], output: &mut [u8]) {
    let count = input.len().checked_div(element).unwrap_or(0);
    if element <= 1 || count <= 1 {
        output.copy_from_slice(input);
        return;
    }
    let (planes, rest) = input.split_at(count * element);
    let (elements, tail) = output.split_at_mut(count * element);
    tail.copy_from_slice(rest);
    match element {
        2 => fixed::<2>(planes, elements, count),
        4 => fixed::<4>(planes, elements, count),
        8 => fixed::<8>(planes, elements, count),
        _ => any(element, planes, elements, count),
    }
}

/// Any element size: a plane at a time.
fn any(element: usize, planes: &[u8], elements: &mut [u8], count: usize) {
    for (byte, plane) in planes.chunks_exact(count).enumerate() {
        for (target, &value) in elements[byte..].iter_mut().step_by(element).zip(plane) {
            *target = value;
        }
    }
}

/// A width that the loop can be unrolled for: sixteen elements at a time where there are vectors.
fn fixed<const N: usize>(planes: &[u8], elements: &mut [u8], count: usize) {
    let planes: [&[u8]; N] = std::array::from_fn(|byte| &planes[byte * count..(byte + 1) * count]);
    let (elements, _) = elements.as_chunks_mut::<N>();
    let done = interleave(&planes, elements);
    for (i, element) in elements.iter_mut().enumerate().skip(done) {
        for (byte, plane) in element.iter_mut().zip(&planes) {
            *byte = plane[i];
        }
    }
}

/// Interleaves sixteen elements at a time with the machine's vectors (SSE2, NEON); the number of elements
/// that were done.
///
/// Interleaving lane k with lane k + N/2 byte by byte, log2(N) times, puts elements together: bytes that
/// are to be neighbours alternate, at every level.
fn interleave<const N: usize>(planes: &[&[u8]; N], elements: &mut [[u8; N]]) -> usize {
    let blocks: [&[[u8; 16]]; N] = planes.map(|plane| plane.as_chunks::<16>().0);
    let (targets, _) = elements.as_chunks_mut::<16>();
    for (i, target) in targets.iter_mut().enumerate() {
        let mut lanes: [u8x16; N] = std::array::from_fn(|byte| u8x16::new(blocks[byte][i]));
        for _ in 0..N.ilog2() {
            lanes = std::array::from_fn(|j| {
                let (low, high) = (lanes[j / 2], lanes[j / 2 + N / 2]);
                if j % 2 == 0 { u8x16::unpack_low(low, high) } else { u8x16::unpack_high(low, high) }
            });
        }
        let (bytes, _) = target.as_flattened_mut().as_chunks_mut::<16>();
        for (bytes, lane) in bytes.iter_mut().zip(lanes) {
            *bytes = lane.to_array();
        }
    }
    targets.len() * 16
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
            }
        }
    }
}
