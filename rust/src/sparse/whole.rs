//! All of the secondary axis: `indices` and `data` are decoded straight into the result.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Array, Compressed, Indices, Opened, Types, canonical, check_index_type};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{Job, Piece, Plan, Run};
use crate::pool::{self, Control};
use crate::reader::{self, Decoded, Values};
use crate::scatter::{Kernel, Output};
use crate::selection::{Axis, to_len};

/// What a worker keeps between chunks.
#[derive(Default)]
struct Worker {
    chunks: reader::Worker,
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
    let stretches = opened.stretches(primary)?;
    let mut pointers: Vec<u64> = memory::with_capacity(stretches.len() + 1)?;
    pointers.push(0);
    pointers.extend(stretches.iter().scan(0, |end, &(_, len)| {
        *end += len as u64;
        Some(*end)
    }));
    // Before the plans, which list all chunks that are touched: there may be as many as the file says, whether it
    // holds them or not.
    let count = to_len(pointers.last().copied().unwrap_or(0))?;
    let mut indices = A::allocate(count, target.indices)?;
    let mut values = A::allocate(count, target.data)?;
    let selection = [joined(&stretches)?];
    let index_plan = Plan::new(opened.indices.grid().clone(), &selection)?;
    let data_plan = Plan::new(opened.data.grid().clone(), &selection)?;

    let increasing = AtomicBool::new(true);
    let edges = Mutex::new(Vec::new());
    let (written_indices, written_values) = {
        let index_kernel = Kernel::new(opened.types.indices, target.indices)?;
        let narrow_kernel = Kernel::new(ElementType::U32, target.indices)?;
        let data_kernel = Kernel::new(opened.types.data, target.data)?;
        let index_output = Output::new(indices.bytes(), &index_plan, index_kernel)?.shared(pool::share);
        let data_output = Output::new(values.bytes(), &data_plan, data_kernel)?.shared(pool::share);
        let checker = Checker { opened, pointers: &pointers, target, edges: &edges, increasing: &increasing };
        let (index_sweep, data_sweep) = (opened.indices.sweep(&index_plan), opened.data.sweep(&data_plan));
        let jobs = index_plan.jobs() + data_plan.jobs();
        let threads = index_sweep.threads().max(data_sweep.threads());
        pool::for_each_with(threads, control, jobs, |worker: &mut Worker, number| {
            if let Some(number) = number.checked_sub(index_plan.jobs()) {
                return data_sweep.copy(number, &data_output, &mut worker.chunks);
            }
            let job = index_plan.job(number);
            let decoded = index_sweep.integers(number, &job, &mut worker.chunks)?;
            checker.check(&job, &decoded, &mut worker.indices)?;
            match decoded.values() {
                Some(Values::Narrow(values)) => index_output.chunk_of(number, values, narrow_kernel),
                _ => index_sweep.write(&index_output, number, &decoded),
            }
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
fn joined(stretches: &[(u64, usize)]) -> Result<Axis> {
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for &(start, len) in stretches.iter().filter(|stretch| stretch.1 > 0) {
        match runs.last_mut() {
            Some(last) if last.0 + last.1 as u64 == start => last.1 += len,
            _ => memory::push(&mut runs, (start, len))?,
        }
    }
    Ok(match runs.as_slice() {
        [] => Axis::Range { start: 0, len: 0, step: 1 },
        &[(start, len)] => Axis::Range { start, len, step: 1 },
        _ => Axis::Runs(runs),
    })
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
    fn check(&self, job: &Job<'_>, decoded: &Decoded<'_>, room: &mut Vec<u64>) -> Result<()> {
        let check = |run: Run, room: &mut Vec<u64>| {
            let first = job.offset[0] + run.source as u64;
            let check = Check { checker: self, target: run.target, first };
            let edge = self.opened.with_indices(decoded, run.source, run.len, room, check)?;
            self.edges.lock().unwrap_or_else(PoisonError::into_inner).push(edge);
            Ok(())
        };
        match job.pieces.first() {
            None => Ok(()),
            Some(&Piece::Strided { source, target, len, .. }) => check(Run { source, target, len }, room),
            Some(Piece::Runs(runs)) => runs.iter().try_for_each(|&run| check(run, room)),
            Some(Piece::Gather { .. }) => Err(Error::Internal("stretches are never gathered".into())),
        }
    }
}

/// Checks one run, which begins at `target` in the result and at `first` among the stored elements.
struct Check<'a> {
    checker: &'a Checker<'a>,
    target: usize,
    first: u64,
}

impl Indices<Edge> for Check<'_> {
    fn run<I: Copy + Ord + Into<u64>>(self, indices: &[I]) -> Result<Edge> {
        let Checker { opened, pointers, target, increasing, .. } = self.checker;
        let extent = opened.matrix.secondary_extent();
        // From one beginning of a stretch to the next.
        let (mut begin, mut rest) = (self.target as u64, indices);
        let mut next = pointers.partition_point(|&pointer| pointer <= begin);
        let mut largest: Option<I> = None;
        while !rest.is_empty() {
            let end = pointers.get(next).copied().unwrap_or(u64::MAX);
            let (stretch, after) = rest.split_at(rest.len().min((end - begin) as usize));
            if is_increasing(stretch) {
                largest = largest.max(stretch.last().copied());
            } else {
                increasing.store(false, Ordering::Relaxed);
                largest = largest.max(stretch.iter().copied().max());
            }
            (begin, rest) = (end, after);
            next += 1;
        }
        let largest = largest.map_or(0, Into::into);
        if largest >= extent {
            let at = indices.iter().position(|&index| index.into() >= extent).unwrap_or(0);
            return Err(opened.outside(indices[at].into(), self.first + at as u64));
        }
        check_index_type(largest, target.indices)?;
        let edge = |index: Option<&I>| index.map_or(0, |&index| index.into());
        Ok(Edge { target: self.target, first: edge(indices.first()), last: edge(indices.last()) })
    }
}

/// Whether indices increase strictly: in blocks that are compared without a branch for each.
pub(super) fn is_increasing<I: Copy + Ord>(indices: &[I]) -> bool {
    let Some((_, later)) = indices.split_first() else { return true };
    indices
        .chunks(64)
        .zip(later.chunks(64))
        .all(|(before, after)| before.iter().zip(after).filter(|(a, b)| a >= b).count() == 0)
}
