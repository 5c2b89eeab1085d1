//! Filter 32004, LZ4, alone.

#![no_main]

filebackedarray_fuzz::target!("lz4");
