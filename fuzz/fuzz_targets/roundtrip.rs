//! What other encoders make comes out as it was.

#![no_main]

filebackedarray_fuzz::target!("roundtrip");
