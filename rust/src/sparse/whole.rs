//! All of the secondary axis: `indices` and `data` are decoded straight into the result.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Array, Compressed, Opened, Types, canonical, check_index_type};
use crate::error::{Error, Result};
use crate::filters::Scratch;
use crate::plan::{Job, Piece, Plan, Run};
use crate::pool::{self, Control};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;

/// What a worker keeps between chunks.
#[derive(Default)]
struct Worker {
    scratch: Scratch,
    indices: Vec<u64>,
}

/// First and last index of a run, and where the run begins in the result.
struct Edge {
    target: usize,
    first: u64,
    last: u64,
}

pub(super) fn read<A: Array>(
    opened: &Opened<'_>,
    primary: &Axis,
    target: Types,
    control: &Control<'_>,
) -> Result<Compressed<A>> {
    let stretches = opened.stretches(primary);
    let mut pointers: Vec<u64> = Vec::with_capacity(stretches.len() + 1);
    pointers.push(0);
    pointers.extend(stretches.iter().scan(0, |end, &(_, len)| {
        *end += len as u64;
        Some(*end)
    }));
    let selection = [joined(&stretches)];
    let index_plan = Plan::new(opened.indices.grid().clone(), &selection)?;
    let data_plan = Plan::new(opened.data.grid().clone(), &selection)?;
    let mut indices = A::allocate(index_plan.count(), target.indices)?;
    let mut values = A::allocate(data_plan.count(), target.data)?;

    let increasing = AtomicBool::new(true);
    let edges = Mutex::new(Vec::new());
    let (written_indices, written_values) = {
        let index_kernel = Kernel::new(opened.types.indices, target.indices);
        let data_kernel = Kernel::new(opened.types.data, target.data);
        let index_output = Output::new(indices.bytes(), &index_plan, index_kernel)?;
        let data_output = Output::new(values.bytes(), &data_plan, data_kernel)?;
        let checker = Checker { opened, pointers: &pointers, target, edges: &edges, increasing: &increasing };
        let jobs = index_plan.jobs() + data_plan.jobs();
        pool::for_each(control, jobs, |worker: &mut Worker, number| {
            if let Some(number) = number.checked_sub(index_plan.jobs()) {
                let decoded = opened.data.decode(&data_plan.job(number), &mut worker.scratch)?;
                return opened.data.write(&data_output, number, &decoded);
            }
            let job = index_plan.job(number);
            let decoded = opened.indices.decode(&job, &mut worker.scratch)?;
            checker.check(&job, decoded.values(), &mut worker.indices)?;
            opened.indices.write(&index_output, number, &decoded)
        })?;
        (index_output.finish()?, data_output.finish()?)
    };
    let mut edges = edges.into_inner().unwrap_or_else(PoisonError::into_inner);
    edges.sort_unstable_by_key(|edge: &Edge| edge.target);
    let across = edges.windows(2).all(|pair| {
        let begins_stretch = pointers.binary_search(&(pair[1].target as u64)).is_ok();
        begins_stretch || pair[0].last < pair[1].first
    });
    if !(across && increasing.into_inner()) {
        canonical::make(&mut pointers, written_indices, written_values, target, control)?;
    }
    Ok(Compressed { pointers, indices, values })
}

/// Stretches that follow each other are one run.
fn joined(stretches: &[(u64, usize)]) -> Axis {
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for &(start, len) in stretches.iter().filter(|stretch| stretch.1 > 0) {
        match runs.last_mut() {
            Some(last) if last.0 + last.1 as u64 == start => last.1 += len,
            _ => runs.push((start, len)),
        }
    }
    match runs.as_slice() {
        [] => Axis::Range { start: 0, len: 0, step: 1 },
        &[(start, len)] => Axis::Range { start, len, step: 1 },
        _ => Axis::Runs(runs),
    }
}

/// Checks indices while they are at hand: inside of the matrix, and increasing within each stretch.
struct Checker<'a> {
    opened: &'a Opened<'a>,
    /// Where each stretch begins in the result.
    pointers: &'a [u64],
    target: Types,
    edges: &'a Mutex<Vec<Edge>>,
    increasing: &'a AtomicBool,
}

impl Checker<'_> {
    fn check(&self, job: &Job<'_>, values: Option<&[u8]>, indices: &mut Vec<u64>) -> Result<()> {
        let Some(&piece) = job.pieces.first() else { return Ok(()) };
        match piece {
            Piece::Strided { source, target, len, .. } => {
                self.run(job, Run { source, target, len }, values, indices)
            }
            Piece::Runs(runs) => runs.iter().try_for_each(|&run| self.run(job, run, values, indices)),
            Piece::Gather { .. } => Err(Error::Internal("stretches are never gathered".into())),
        }
    }

    fn run(&self, job: &Job<'_>, run: Run, values: Option<&[u8]>, indices: &mut Vec<u64>) -> Result<()> {
        let indices = self.opened.wide_indices(values, run.source, run.len, indices)?;
        let extent = self.opened.matrix.secondary_extent();
        // From one beginning of a stretch to the next.
        let (mut begin, mut rest) = (run.target as u64, indices);
        let mut next = self.pointers.partition_point(|&pointer| pointer <= begin);
        let mut largest = 0;
        while !rest.is_empty() {
            let end = self.pointers.get(next).copied().unwrap_or(u64::MAX);
            let (stretch, after) = rest.split_at(rest.len().min((end - begin) as usize));
            if stretch.is_sorted_by(|a, b| a < b) {
                largest = largest.max(stretch.last().copied().unwrap_or(0));
            } else {
                self.increasing.store(false, Ordering::Relaxed);
                largest = largest.max(stretch.iter().copied().max().unwrap_or(0));
            }
            (begin, rest) = (end, after);
            next += 1;
        }
        if largest >= extent {
            let at = indices.iter().position(|&index| index >= extent).unwrap_or(0);
            return Err(self.opened.outside(indices[at], job.offset[0] + (run.source + at) as u64));
        }
        check_index_type(largest, self.target.indices)?;
        let edge = Edge { target: run.target, first: indices[0], last: indices[run.len - 1] };
        self.edges.lock().unwrap_or_else(PoisonError::into_inner).push(edge);
        Ok(())
    }
}
