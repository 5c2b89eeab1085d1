//! Filter 1, deflate, alone.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (len, bytes) = input;
    filebackedarray::fuzzing::decode(&[(1, Vec::new())], 0, usize::from(len), bytes);
});
