//! Whole files: small sound ones, damaged where it matters.

#![no_main]

filebackedarray_fuzz::target!("file");
