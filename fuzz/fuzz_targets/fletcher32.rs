//! Filter 3, fletcher32, alone.

#![no_main]

filebackedarray_fuzz::target!("fletcher32");
