//! Compressed sparse matrices with any `indptr` and `indices`.

#![no_main]

filebackedarray_fuzz::target!("matrix");
