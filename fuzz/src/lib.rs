//! What all fuzz targets have in common.

pub mod allocations;

/// A fuzz target: the one of this name in `filebackedarray::fuzzing`.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::allocations::run_bounded($name, data));
    };
}
