//! The stored corpus of `fuzz/`, and what fuzzing found, through the targets; without a fuzzer.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

#[path = "../../fuzz/src/allocations.rs"]
mod allocations;

#[test]
fn what_was_found_stays_fixed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (target, _) in filebackedarray::fuzzing::TARGETS {
        let mut count = 0;
        for folder in ["corpus", "regressions"] {
            let Ok(entries) = std::fs::read_dir(fuzz.join(folder).join(target)) else { continue };
            for entry in entries {
                allocations::run_bounded(target, &std::fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
        }
        assert!(count > 0, "nothing to run {target} on");
    }
}
