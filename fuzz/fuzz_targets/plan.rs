//! The planner: any shape, any chunks, any selection, sound or not.

#![no_main]

use arbitrary::Arbitrary;
use filebackedarray::Axis;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Selected {
    Range { start: u64, len: u16, step: u64 },
    Indices(Vec<u64>),
    Runs(Vec<(u64, u16)>),
    /// More often inside of the axis than the others.
    Small { start: u8, len: u8, step: u8 },
}

#[derive(Arbitrary, Debug)]
struct Input {
    axes: Vec<(u64, u64, Selected)>,
    small: bool,
}

fuzz_target!(|input: Input| {
    let Input { mut axes, small } = input;
    axes.truncate(4);
    let shrink = |value: u64| if small { value % 50 } else { value };
    let shape: Vec<u64> = axes.iter().map(|axis| shrink(axis.0)).collect();
    let chunk: Vec<u64> = axes.iter().map(|axis| shrink(axis.1)).collect();
    let selection: Vec<Axis> = axes
        .into_iter()
        .map(|(_, _, selected)| match selected {
            Selected::Range { start, len, step } => Axis::Range { start, len: len.into(), step },
            Selected::Indices(indices) => Axis::Indices(indices),
            Selected::Runs(runs) => Axis::Runs(runs.into_iter().map(|(start, len)| (start, len.into())).collect()),
            Selected::Small { start, len, step } => {
                Axis::Range { start: start.into(), len: len.into(), step: step.into() }
            }
        })
        .collect();
    filebackedarray::fuzzing::plan(&shape, &chunk, &selection);
});
