//! Planes: the bytes of elements as the shuffle filter orders them, all first bytes, then all second bytes, ...
//!
//! To interleave planes is to put elements together again. It is done at the end of a chunk's way through the
//! filters, or, where the chunk's rows go to places far apart, row by row on the way there.

use wide::u8x16;

/// Elements that are put together at once where there are vectors.
const LANES: usize = 16;

/// Puts consecutive elements together: `planes[b][i]` is byte `b` of element `i`. All planes are as long as there
/// are elements in `elements`.
pub fn interleave<const N: usize>(planes: [&[u8]; N], elements: &mut [[u8; N]]) {
    let count = elements.len();
    let Some(last) = count.checked_sub(LANES) else {
        return one_by_one(planes, elements);
    };
    // The last block may overlap the one before. One loop: of a second copy of its body the compiler has been
    // seen to keep the vectors on the stack.
    let mut start = 0;
    loop {
        block(planes, elements, start);
        if start == last {
            break;
        }
        start = last.min(start + LANES);
    }
}

fn one_by_one<const N: usize>(planes: [&[u8]; N], elements: &mut [[u8; N]]) {
    for (i, element) in elements.iter_mut().enumerate() {
        *element = planes.map(|plane| plane[i]);
    }
}

/// Interleaves sixteen elements with the machine's vectors (SSE2, NEON).
///
/// Interleaving lane k with lane k + N/2 byte by byte, log2(N) times, puts elements together: bytes that
/// are to be neighbours alternate, at every level.
#[inline(always)]
fn block<const N: usize>(planes: [&[u8]; N], elements: &mut [[u8; N]], start: usize) {
    let (Some(target), true) =
        (elements.get_mut(start..start + LANES), planes.iter().all(|plane| plane.len() >= start + LANES))
    else {
        return;
    };
    let mut lanes = planes.map(|plane| {
        let mut lane = [0; LANES];
        lane.copy_from_slice(&plane[start..start + LANES]);
        u8x16::new(lane)
    });
    for _ in 0..N.ilog2() {
        lanes = std::array::from_fn(|j| {
            let (low, high) = (lanes[j / 2], lanes[j / 2 + N / 2]);
            if j % 2 == 0 { u8x16::unpack_low(low, high) } else { u8x16::unpack_high(low, high) }
        });
    }
    let (bytes, _) = target.as_flattened_mut().as_chunks_mut::<LANES>();
    for (bytes, lane) in bytes.iter_mut().zip(lanes) {
        *bytes = lane.to_array();
    }
}

/// A chunk whose elements still lie in planes.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    bytes: &'a [u8],
    element: usize,
    count: usize,
    /// The last byte of an element comes first.
    swapped: bool,
}

impl<'a> Planes<'a> {
    /// The planes of elements of so many bytes; `None` when there is a part of an element.
    pub fn new(bytes: &'a [u8], element: usize) -> Option<Self> {
        let count = bytes.len().checked_div(element)?;
        (count * element == bytes.len()).then_some(Self { bytes, element, count, swapped: false })
    }

    /// Bytes of an element.
    pub fn element(&self) -> usize {
        self.element
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The same elements in the other byte order, at no cost.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { swapped: !self.swapped, ..self }
    }

    /// Puts the elements from `first` on together, as many as `elements` has room for.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn copy(&self, first: usize, elements: &mut [u8]) {
        macro_rules! fixed {
            ($n:literal) => {{
                let (elements, _) = elements.as_chunks_mut::<$n>();
                let len = elements.len();
                interleave::<$n>(std::array::from_fn(|byte| &self.plane(byte)[first..first + len]), elements)
            }};
        }
        match self.element {
            _ if elements.is_empty() => {}
            1 => elements.copy_from_slice(&self.bytes[first..first + elements.len()]),
            2 => fixed!(2),
            4 => fixed!(4),
            8 => fixed!(8),
            size => {
                let len = elements.len() / size;
                for byte in 0..size {
                    let plane = &self.plane(byte)[first..first + len];
                    for (target, &value) in elements[byte..].iter_mut().step_by(size).zip(plane) {
                        *target = value;
                    }
                }
            }
        }
    }

    /// Puts elements that do not follow each other together.
    ///
    /// # Panics
    /// When one of the positions is past the last.
    pub fn gather(&self, positions: &(impl Iterator<Item = usize> + Clone), elements: &mut [u8]) {
        for byte in 0..self.element.min(elements.len()) {
            let plane = self.plane(byte);
            let targets = elements[byte..].iter_mut().step_by(self.element);
            for (target, position) in targets.zip(positions.clone()) {
                *target = plane[position];
            }
        }
    }

    fn plane(&self, byte: usize) -> &'a [u8] {
        let byte = if self.swapped { self.element - 1 - byte } else { byte };
        &self.bytes[byte * self.count..(byte + 1) * self.count]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_out_as_defined() {
        for element in [1, 2, 3, 4, 5, 8, 12, 16] {
            for count in (0..70).chain([1000]) {
                let bytes: Vec<u8> = (0..(element * count) as u32)
                    .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
                    .collect();
                let planes = Planes::new(&bytes, element).unwrap();
                let at = |position: usize, byte: usize| bytes[byte * count + position];
                for (first, len) in [(0, count), (count / 3, count / 2), (count, 0)] {
                    let mut found = vec![0; len * element];
                    planes.copy(first, &mut found);
                    let expected: Vec<u8> = (first..first + len)
                        .flat_map(|position| (0..element).map(move |byte| (position, byte)))
                        .map(|(position, byte)| at(position, byte))
                        .collect();
                    assert_eq!(found, expected, "{element} bytes, {len} of {count} from {first}");
                    let mut other = vec![0; len * element];
                    planes.swapped().copy(first, &mut other);
                    other.chunks_mut(element).for_each(<[u8]>::reverse);
                    assert_eq!(other, expected);
                    found.fill(0);
                    planes.gather(&(first..first + len), &mut found);
                    assert_eq!(found, expected);
                }
            }
        }
        assert!(Planes::new(&[1, 2, 3], 2).is_none());
        assert!(Planes::new(&[1, 2, 3], 0).is_none());
    }
}
