//! Filter 32001, Blosc, alone.

#![no_main]

filebackedarray_fuzz::target!("blosc");
