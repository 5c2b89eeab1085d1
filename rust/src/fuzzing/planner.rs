//! The planner.

use super::{BOUNDARIES, Input};
use crate::chunks::Grid;
use crate::plan::Plan;
use crate::selection::Axis;

/// Plans any selection of any shape in any chunks.
pub(super) fn any(data: &[u8]) -> usize {
    let mut input = Input(data);
    let count = input.u8() % 5;
    // Small numbers are more often those of a selection that can be.
    let number = |input: &mut Input<'_>| match input.u8() {
        small @ 0..200 => u64::from(small) % 50,
        200 => input.u64(),
        boundary => BOUNDARIES[usize::from(boundary) % BOUNDARIES.len()],
    };
    let (mut shape, mut chunk, mut selection) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        shape.push(number(&mut input));
        chunk.push(number(&mut input));
        let (kind, len) = (input.u8(), input.u8() % 16);
        let mut index = 0u64;
        let mut after = |input: &mut Input<'_>, len: u64| {
            let start = if kind & 0x80 == 0 { index.wrapping_add(number(input)) } else { number(input) };
            index = start.wrapping_add(len);
            start
        };
        selection.push(match kind % 3 {
            0 => Axis::Range {
                start: number(&mut input),
                len: number(&mut input) as usize,
                step: number(&mut input),
            },
            1 => Axis::Indices((0..len).map(|_| after(&mut input, 1)).collect()),
            _ => Axis::Runs(
                (0..len)
                    .map(|_| {
                        let len = number(&mut input);
                        (after(&mut input, len), len as usize)
                    })
                    .collect(),
            ),
        });
    }
    plan(&shape, &chunk, &selection);
    1 << 20
}

/// Plans a selection: each element of the output comes from one chunk, from inside of it.
fn plan(shape: &[u64], chunk: &[u64], selection: &[Axis]) {
    const MOST: usize = 4096;
    // A plan lists what is not a range, for which a caller has to have memory anyway.
    let listed = |axis: &&Axis| !matches!(axis, Axis::Range { step: 1, .. });
    let len = |axis: &Axis| match axis {
        Axis::Runs(runs) => runs.iter().fold(0usize, |len, run| len.saturating_add(run.1)),
        _ => axis.len(),
    };
    if selection.iter().filter(listed).any(|axis| len(axis) > MOST) {
        return;
    }
    // Chunks that no machine can address are refused before there is a plan (`Dataset::chunk_bytes`).
    if chunk.iter().try_fold(1usize, |product, &len| product.checked_mul(len as usize)).is_none() {
        return;
    }
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
