//! Whole files: a small sound one with bytes changed, so that most of it still makes sense to libhdf5.

#![no_main]

use std::path::PathBuf;

use filebackedarray::{Axis, Control, dense};
use libfuzzer_sys::fuzz_target;

/// Written by h5py: `rust/tests/data/make.py`.
const SOUND: &[u8] = include_bytes!("../../rust/tests/data/small.h5");

const DATASETS: [&str; 6] =
    ["chunked", "contiguous", "partly", "matrix/data", "matrix/indices", "matrix/indptr"];

fuzz_target!(|input: (Vec<(u16, u8)>, Option<u16>)| {
    let (changes, cut) = input;
    let mut bytes = SOUND.to_vec();
    for (position, value) in changes.into_iter().take(8) {
        let position = usize::from(position) % bytes.len();
        bytes[position] ^= value;
    }
    if let Some(cut) = cut {
        bytes.truncate(usize::from(cut));
    }
    let path: PathBuf = std::env::temp_dir().join(format!("filebackedarray-fuzz-{}.h5", std::process::id()));
    std::fs::write(&path, &bytes).expect("room for a small file");
    for name in DATASETS {
        let Ok(dataset) = dense::inspect(&path, name.as_bytes()) else { continue };
        let selection: Result<Vec<Axis>, _> = dataset.shape.iter().map(|&extent| Axis::all(extent)).collect();
        let count = dataset.count().unwrap_or(u64::MAX);
        let (Ok(selection), Ok(size @ ..1_000_000)) = (selection, usize::try_from(count)) else { continue };
        let mut out = vec![0; size * dataset.element.size()];
        let _ = dense::read(
            &path,
            name.as_bytes(),
            &selection,
            dataset.element,
            &mut out,
            &Control::default(),
        );
    }
});
