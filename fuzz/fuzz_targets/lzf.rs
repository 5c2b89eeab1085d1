//! Filter 32000, lzf, alone.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (len, bytes) = input;
    filebackedarray::fuzzing::decode(&[(32000, Vec::new())], 0, usize::from(len), bytes);
});
