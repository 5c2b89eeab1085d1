//! Filter 4, szip, alone, with any parameters.

#![no_main]

filebackedarray_fuzz::target!("szip");
