//! Filter 32026, Blosc2, alone.

#![no_main]

filebackedarray_fuzz::target!("blosc2");
