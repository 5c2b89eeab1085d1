//! Filter 2, shuffle, with any element size.

#![no_main]

filebackedarray_fuzz::target!("shuffle");
