//! Any filters in any order with any parameters and any mask.

#![no_main]

filebackedarray_fuzz::target!("pipeline");
