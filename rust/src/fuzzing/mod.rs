//! Ways in for `fuzz/`, whose targets must reach what users do not: single filters, the planner.
//!
//! Only with the feature `fuzzing`. Each function checks what must hold whatever its input, and panics if it
//! does not.

use crate::chunks::Grid;
use crate::dataset::FilterStep;
use crate::filters::{Pipeline, Scratch};
use crate::plan::Plan;
use crate::selection::Axis;

/// Decodes `input` as a chunk of `len` bytes: either it comes out as long as that, or it is refused.
///
/// # Panics
/// When it comes out longer or shorter.
pub fn decode(filters: &[(u32, Vec<u32>)], mask: u32, len: usize, input: &[u8]) {
    let steps: Vec<FilterStep> = filters
        .iter()
        .map(|(id, values)| FilterStep { id: *id, name: String::new(), values: values.clone() })
        .collect();
    let pipeline = Pipeline::new(&steps);
    let mut scratch = Scratch::default();
    for _ in 0..2 {
        // Twice with the same scratch, as a worker does: what one chunk leaves must not show in the next.
        if pipeline.check_sizes(mask, input.len(), len).is_err() {
            return;
        }
        let Ok(buffer) = scratch.input(input.len()) else { return };
        buffer.copy_from_slice(input);
        if let Ok(decoded) = pipeline.decode(mask, len, &mut scratch) {
            assert_eq!(decoded.len(), len);
        }
    }
}

/// Plans a selection: each element of the output comes from one chunk, from inside of it.
///
/// # Panics
/// When one comes twice, from outside, or not at all.
pub fn plan(shape: &[u64], chunk: &[u64], selection: &[Axis]) {
    const MOST: usize = 4096;
    let Ok(grid) = Grid::new(shape, chunk) else { return };
    let Ok(plan) = Plan::new(grid, selection) else { return };
    if plan.count() > MOST || plan.jobs() > MOST {
        return;
    }
    let mut seen = vec![false; plan.count()];
    for number in 0..plan.jobs() {
        let job = plan.job(number);
        for (piece, &len) in job.pieces.iter().zip(chunk) {
            let (low, high) = piece.source_bounds();
            assert!(low <= high && (high as u64) < len);
        }
        job.for_each(plan.lens(), |_, target| {
            assert!(!std::mem::replace(&mut seen[target], true), "an element comes twice");
        });
    }
    assert!(seen.iter().all(|&came| came), "an element does not come");
}
