//! Single elements of a dataset, wherever they are.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::chunks::Grid;
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{PerAxis, Plan};
use crate::pool::{self, Control};
use crate::reader::{self, ChunkReader, Request};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;

/// What is taken along an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Along {
    /// The index of each point, in any order.
    Points(Vec<u64>),
    /// These indices, for each point.
    Every(Axis),
}

/// Reads the elements at some points of a dataset into `out`, a C-contiguous array of elements of type `target`, whose first
/// axis is that of the points; the axes of [`Along::Every`] follow. Each chunk that has any of them is decoded once.
///
/// When this fails, `out` holds parts of the result and parts of what it held before.
///
/// # Errors
/// As [`super::read`]; [`Error::Structure`] also when there are no points, or not as many along each axis.
pub fn read_points(
    path: &Path,
    name: &[u8],
    along: &[Along],
    target: ElementType,
    out: &mut [u8],
    control: &Control<'_>,
) -> Result<()> {
    Request::run(path, |request| {
        let reader = request.reader(name)?;
        let kernel =
            Kernel::new(reader.dataset().element, target).map_err(|error| error.at(reader.place()))?;
        Points::new(&reader, along, kernel)
            .and_then(|points| points.read(out, control))
            .map_err(|error| error.at(reader.place()))
    })
}

/// Points, by the chunks in which they are.
struct Points<'a> {
    reader: &'a ChunkReader<'a>,
    along: &'a [Along],
    kernel: Kernel,
    /// The selection of the axes that are not the points'.
    every: Plan,
    /// The points' numbers, those of a chunk next to each other.
    order: Vec<usize>,
    /// Which of them are in the same chunk, as far as the points' axes go.
    groups: Vec<Range<usize>>,
}

/// What a worker keeps between chunks.
#[derive(Default)]
struct Worker {
    chunks: reader::Worker,
    values: Vec<u8>,
}

impl<'a> Points<'a> {
    fn new(reader: &'a ChunkReader<'a>, along: &'a [Along], kernel: Kernel) -> Result<Self> {
        let grid = reader.grid();
        let count = along.iter().find_map(|along| match along {
            Along::Points(points) => Some(points.len()),
            Along::Every(_) => None,
        });
        let Some(count) = count.filter(|_| along.len() == grid.shape().len()) else {
            return Err(Error::Structure(format!(
                "points of {} axes, for a dataset of {} dimensions",
                along.len(),
                grid.shape().len()
            )));
        };
        let (mut shape, mut chunk) = (PerAxis::<u64>::new(), PerAxis::<u64>::new());
        let mut every: PerAxis<Axis> = PerAxis::new();
        let mut keys: Vec<u64> = memory::zeros(count)?;
        for (number, along) in along.iter().enumerate() {
            let (extent, len) = (grid.shape()[number], grid.chunk()[number]);
            match along {
                Along::Every(axis) => {
                    shape.push(extent);
                    chunk.push(len);
                    every.push(axis.clone());
                }
                Along::Points(points) => {
                    if points.len() != count {
                        return Err(Error::Structure(format!(
                            "{} points along axis {number}, and {count} along others",
                            points.len()
                        )));
                    }
                    if let Some(outside) = points.iter().find(|&&point| point >= extent) {
                        return Err(Error::Index(format!(
                            "index {outside} is out of bounds for axis {number} with extent {extent}"
                        )));
                    }
                    let chunks = extent.div_ceil(len);
                    for (key, &point) in keys.iter_mut().zip(points) {
                        *key = *key * chunks + point / len;
                    }
                }
            }
        }
        let every = Plan::new(Grid::new(&shape, &chunk)?, &every)?;
        let mut order: Vec<usize> = memory::collect(0..count)?;
        // Points of the same chunk stay in their order, so that neighbours are written next to each other.
        if !keys.is_sorted() {
            order.sort_by_key(|&point| keys[point]);
        }
        let mut groups = Vec::new();
        let mut begin = 0;
        for group in order.chunk_by(|&a, &b| keys[a] == keys[b]) {
            memory::push(&mut groups, begin..begin + group.len())?;
            begin += group.len();
        }
        Ok(Self { reader, along, kernel, every, order, groups })
    }

    fn read(&self, out: &mut [u8], control: &Control<'_>) -> Result<()> {
        let bytes = self
            .order
            .len()
            .checked_mul(self.every.count())
            .and_then(|elements| elements.checked_mul(self.kernel.target_size()));
        if bytes != Some(out.len()) {
            return Err(Error::Structure(format!("{} bytes for {bytes:?} of points", out.len())));
        }
        if out.is_empty() {
            return Ok(());
        }
        let jobs = self.groups.len().checked_mul(self.every.jobs());
        let jobs =
            jobs.ok_or_else(|| Error::OutOfMemory("points in more chunks than can be counted".into()))?;
        let out = Mutex::new(out);
        pool::for_each(control, jobs, |worker: &mut Worker, number| {
            self.chunk(number / self.every.jobs(), number % self.every.jobs(), jobs, worker, &out)
        })
    }

    /// Decodes a chunk, and writes its elements.
    fn chunk(
        &self,
        group: usize,
        inner: usize,
        jobs: usize,
        worker: &mut Worker,
        out: &Mutex<&mut [u8]>,
    ) -> Result<()> {
        let members = &self.order[self.groups[group].clone()];
        let mut axes: PerAxis<Axis> = PerAxis::new();
        // Of the axes that are not the points', where the chunk's elements are among those that are wanted.
        let mut targets: PerAxis<Range<usize>> = PerAxis::new();
        let mut left = inner as u64;
        for axis in (0..self.every.lens().len()).rev() {
            let touched = self.every.touched(axis);
            targets.insert(0, self.every.targets(axis, left % touched));
            left /= touched;
        }
        let mut next = targets.iter();
        for along in self.along {
            axes.push(match along {
                Along::Points(points) => {
                    let mut indices: Vec<u64> = memory::collect(members.iter().map(|&point| points[point]))?;
                    indices.sort_unstable();
                    indices.dedup();
                    Axis::from_indices(indices)?
                }
                Along::Every(axis) => axis.part(next.next().cloned().unwrap_or_default())?,
            });
        }
        let Worker { chunks, values } = worker;
        let plan = Plan::new(self.reader.grid().clone(), &axes)?;
        let size = self.kernel.target_size();
        memory::resize(values, plan.count() * size, 0)?;
        let output = Output::new(&mut values[..plan.count() * size], &plan, self.kernel)?;
        let sweep = self.reader.part_of_sweep(&plan, jobs);
        for number in 0..plan.jobs() {
            sweep.copy(number, &output, chunks)?;
        }
        let values = output.finish()?;
        let runs = self.runs(plan.lens(), &targets)?;
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        for &point in members {
            let (mut from, to) = (0, point * self.every.count());
            for ((along, axis), &len) in self.along.iter().zip(&axes).zip(plan.lens()) {
                let position = match along {
                    Along::Points(points) => axis.position(points[point]).unwrap_or(0),
                    Along::Every(_) => 0,
                };
                from = from * len + position;
            }
            for &(source, target, len) in &runs {
                let (source, target) = ((from + source) * size, (to + target) * size);
                out[target..target + len * size].copy_from_slice(&values[source..source + len * size]);
            }
        }
        Ok(())
    }

    /// For the elements of a point in a box of the chunk: where they are, where they go, and how many follow each other.
    fn runs(&self, lens: &[usize], targets: &[Range<usize>]) -> Result<Vec<(usize, usize, usize)>> {
        let mut runs: Vec<(usize, usize, usize)> = memory::vec((0, 0, 1), 1)?;
        let (mut source, mut target) = (1, 1);
        let mut number = targets.len();
        for (axis, along) in self.along.iter().enumerate().rev() {
            if let Along::Every(_) = along {
                number -= 1;
                let range = &targets[number];
                let mut next = Vec::new();
                if source == 1 && target == 1 && runs[0] == (0, 0, 1) {
                    memory::push(&mut next, (0, range.start, range.len()))?;
                } else {
                    for position in 0..range.len() {
                        for &(from, to, len) in &runs {
                            let to = to + (range.start + position) * target;
                            memory::push(&mut next, (from + position * source, to, len))?;
                        }
                    }
                }
                runs = next;
                target *= self.every.lens()[number];
            }
            source *= lens[axis];
        }
        Ok(runs)
    }
}
