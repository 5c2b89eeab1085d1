//! Filter 307, bzip2, alone.

#![no_main]

filebackedarray_fuzz::target!("bzip2");
