//! Filters one by one and in pipelines, and global heaps.

use super::Input;
use crate::dataset::FilterStep;
use crate::filters::{Pipeline, Scratch};
use crate::heap::{self, Collection, Reference};
use crate::planes::Planes;

/// What any decoder may allocate besides what its chunk needs: bzip2 has 3.6 MB of tables.
const TABLES: usize = 4 << 20;

/// All that the direct path decodes, and one that it does not.
const FILTERS: [u32; 12] = [1, 2, 3, 4, 307, 32000, 32001, 32004, 32008, 32015, 32026, 32013];

/// Decodes `input` as a chunk of `len` bytes: either it comes out as long as that, or it is refused, and the
/// same the second time with what the first one left in memory.
pub(super) fn decode(
    filters: &[(u32, Vec<u32>)],
    mask: u32,
    len: usize,
    input: &[u8],
) -> (Option<Vec<u8>>, usize) {
    let steps: Vec<FilterStep> = filters
        .iter()
        .map(|(id, values)| FilterStep { id: *id, name: String::new(), values: values.clone() })
        .collect();
    let pipeline = Pipeline::new(&steps);
    // Twice the chunk: compressors one after another make what is between them longer.
    let most = 2 * len + 2 * input.len() + TABLES;
    let mut scratch = Scratch::default();
    let mut outcomes = Vec::new();
    for attempt in 0..2 {
        if pipeline.check_sizes(mask, input.len(), len).is_err() {
            return (None, most);
        }
        if attempt > 0 {
            // Whatever a decoder does not write is seen to be different.
            scratch.soil();
        }
        scratch.input(input.len()).expect("memory for a small chunk").copy_from_slice(input);
        let decoded = pipeline.decode(mask, len, &mut scratch).ok().map(|()| scratch.filled().to_vec());
        assert!(decoded.as_ref().is_none_or(|decoded| decoded.len() == len));
        outcomes.push(decoded);
    }
    let fill = |scratch: &mut Scratch| {
        scratch.input(input.len()).expect("memory for a small chunk").copy_from_slice(input);
    };
    fill(&mut scratch);
    let narrowed = pipeline.decode_narrow(mask, len, &mut scratch).ok().map(|narrow| {
        let values = scratch.filled();
        if narrow {
            let (values, _) = values.as_chunks::<4>();
            values.iter().flat_map(|&[a, b, c, d]| [a, b, c, d, 0, 0, 0, 0]).collect()
        } else {
            values.to_vec()
        }
    });
    for element in [2, 4, 8] {
        fill(&mut scratch);
        let in_planes = pipeline.decode_to_planes(mask, len, element, &mut scratch).ok().map(|in_planes| {
            let mut values = scratch.filled().to_vec();
            if in_planes {
                let planes = Planes::new(scratch.filled(), element).expect("whole elements");
                planes.copy(0, &mut values);
            }
            values
        });
        assert_eq!(outcomes[0], in_planes, "planes are of others");
    }
    fill(&mut scratch);
    let mut place = vec![0x5a; len];
    let placed = pipeline.decode_into(mask, &mut place, &mut scratch).ok().map(|()| place);
    assert_eq!(outcomes[0], placed, "in place are others");
    assert_eq!(outcomes[0], outcomes[1], "memory that nobody wrote shows");
    assert_eq!(outcomes[0], narrowed, "narrow integers are others");
    (narrowed, most)
}

/// The decoded length, then the chunk.
pub(super) fn single(filter: u32, data: &[u8]) -> usize {
    let mut input = Input(data);
    let len = input.u16();
    decode(&[(filter, Vec::new())], 0, len.into(), input.rest()).1
}

/// The element size, then the chunk.
pub(super) fn shuffle(data: &[u8]) -> usize {
    let mut input = Input(data);
    let element = input.u32();
    let chunk = input.rest();
    let (decoded, most) = decode(&[(2, vec![element])], 0, chunk.len(), chunk);
    let decoded = decoded.expect("any bytes can be unshuffled");
    let (element, count) = (element as usize, chunk.len().checked_div(element as usize).unwrap_or(0));
    for (i, &byte) in decoded.iter().enumerate() {
        let from = if i < count * element { i % element * count + i / element } else { i };
        assert_eq!(byte, chunk[from]);
    }
    most
}

/// The element size, elements of a block by eight, the codec, the decoded length, then the chunk.
pub(super) fn bitshuffle(data: &[u8]) -> usize {
    let mut input = Input(data);
    let (element, block, codec) =
        (input.u8().into(), u32::from(input.u16()) * 8, [0, 2, 3][input.u8() as usize % 3]);
    let len = input.u16();
    decode(&[(32008, vec![0, 4, element, block, codec])], 0, len.into(), input.rest()).1
}

/// Options, samples of a block, bits of a sample, samples of a scanline, the decoded length, then the chunk.
pub(super) fn szip(data: &[u8]) -> usize {
    let mut input = Input(data);
    let [options, block, bits] = input.take::<3>().map(u32::from);
    let (scanline, len) = (input.u16(), input.u16());
    let values = vec![options, block, bits, scanline.into()];
    decode(&[(4, values)], 0, len.into(), input.rest()).1
}

/// Any filters in any order with any parameters and any mask.
pub(super) fn pipeline(data: &[u8]) -> usize {
    let mut input = Input(data);
    let count = input.u8() % 6;
    let filters: Vec<(u32, Vec<u32>)> = (0..count)
        .map(|_| {
            let filter = FILTERS[input.u8() as usize % FILTERS.len()];
            let values = input.u8();
            // Small parameters are the ones that mean something.
            let is_small = values & 0x80 == 0;
            let next = |_| if is_small { input.u8().into() } else { input.u32() };
            (filter, (0..values % 9).map(next).collect())
        })
        .collect();
    let (mask, len) = (input.u8(), input.u16());
    decode(&filters, mask.into(), len.into(), input.rest()).1
}

/// A reference, then a global heap collection.
pub(super) fn heap(data: &[u8]) -> usize {
    let mut input = Input(data);
    let reference = Reference::parse(&input.take());
    let bytes = input.rest();
    // As large as what is given, and for each object as much as a map takes.
    let most = 8 * bytes.len() + 4096;
    let Some(size) = bytes.first_chunk().and_then(|header| heap::collection_size(header).ok()) else {
        return most;
    };
    // What is longer than its file is refused before it is read.
    let Some(bytes) = bytes.get(..size) else { return most };
    let Ok(collection) = Collection::parse(bytes.to_vec()) else { return most };
    let found = |reference: Reference| {
        if let Ok(string) = collection.string(reference) {
            assert!(string.len() <= reference.len && !string.contains(&0));
            assert!(string.is_empty() || bytes.windows(string.len()).any(|window| window == string));
        }
    };
    if let Some(reference) = reference {
        found(reference);
        for object in 0..20 {
            found(Reference { object, len: reference.len % 64, ..reference });
        }
    }
    most
}
