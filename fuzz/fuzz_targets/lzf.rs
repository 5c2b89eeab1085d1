//! Filter 32000, lzf, alone.

#![no_main]

filebackedarray_fuzz::target!("lzf");
