//! Filter 32008, bitshuffle, alone, with any parameters.

#![no_main]

filebackedarray_fuzz::target!("bitshuffle");
