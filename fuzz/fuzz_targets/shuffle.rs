//! Filter 2, shuffle, with any element size.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, &[u8])| {
    let (element, bytes) = input;
    filebackedarray::fuzzing::decode(&[(2, vec![element])], 0, bytes.len(), bytes);
});
