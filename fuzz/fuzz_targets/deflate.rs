//! Filter 1, deflate, alone.

#![no_main]

filebackedarray_fuzz::target!("deflate");
