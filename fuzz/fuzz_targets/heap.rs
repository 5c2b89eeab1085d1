//! Global heap collections, and references into them.

#![no_main]

filebackedarray_fuzz::target!("heap");
