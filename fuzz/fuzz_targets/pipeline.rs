//! Any filters in any order with any parameters and any mask.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// All that the direct path decodes, and one that it does not.
const FILTERS: [u32; 5] = [1, 2, 3, 32000, 32013];

fuzz_target!(|input: (Vec<(u8, Vec<u32>)>, u32, u16, &[u8])| {
    let (filters, mask, len, bytes) = input;
    let filters: Vec<(u32, Vec<u32>)> = filters
        .into_iter()
        .take(6)
        .map(|(filter, values)| (FILTERS[usize::from(filter) % FILTERS.len()], values))
        .collect();
    filebackedarray::fuzzing::decode(&filters, mask, usize::from(len), bytes);
});
