//! Filter 32015, Zstandard, alone.

#![no_main]

filebackedarray_fuzz::target!("zstd");
