//! Writes decoded chunks into the caller's array, many chunks at a time.
//!
//! [`Output`] is one buffer that several threads write disjoint parts of. What makes that sound is the
//! plan: the elements of different jobs go to different places. `Output` lets each job be written once,
//! so no two threads can ever be given the same place.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod convert;
mod from;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use convert::Kernel;

use crate::error::{Error, Result};
use crate::memory;
use crate::plan::{PerAxis, Piece, Plan, Run, per_axis};
use crate::planes::Planes;
use from::{Bytes, From};

/// Calls a function with each number below a number, on several threads where there are some with nothing else to do.
pub type Share = fn(usize, &(dyn Fn(usize) + Sync));

/// Of a job that writes this many bytes or more, threads write a part each.
const SHARED: usize = if cfg!(test) { 64 } else { 4 << 20 };

/// Into so many parts.
const PARTS: usize = if cfg!(test) { 3 } else { 16 };

/// The array that a plan's jobs fill.
pub struct Output<'a> {
    base: *mut u8,
    len: usize,
    plan: &'a Plan,
    kernel: Kernel,
    share: Option<Share>,
    /// Distance in bytes between neighbours of each axis, in a decoded chunk and in the output.
    source_strides: PerAxis<usize>,
    target_strides: PerAxis<usize>,
    claimed: Vec<AtomicU64>,
    written: AtomicUsize,
    _borrow: PhantomData<&'a mut [u8]>,
}

// SAFETY: the only access through `base` is `write`, which each job passes once (`claim`), and the
// plan sends different jobs to different places of the buffer.
unsafe impl Sync for Output<'_> {}
// SAFETY: as above; the buffer is borrowed mutably for as long as this lives, wherever that is.
unsafe impl Send for Output<'_> {}

impl<'a> Output<'a> {
    /// A buffer for all elements of the plan, each converted by `kernel`.
    ///
    /// # Errors
    /// [`Error::Internal`] when the buffer is not of the plan's size, [`Error::OutOfMemory`].
    pub fn new(buffer: &'a mut [u8], plan: &'a Plan, kernel: Kernel) -> Result<Self> {
        let (base, len) = (buffer.as_mut_ptr(), buffer.len());
        if plan.count().checked_mul(kernel.target_size()) != Some(len) {
            return Err(Error::Internal(format!("a buffer of {len} bytes for {} elements", plan.count())));
        }
        let chunk = per_axis(plan.grid().chunk().iter().map(|&len| len as usize));
        Ok(Self {
            base,
            len,
            plan,
            kernel,
            share: None,
            source_strides: c_strides(&chunk, kernel.source_size()),
            target_strides: c_strides(plan.lens(), kernel.target_size()),
            claimed: memory::collect((0..plan.jobs().div_ceil(64)).map(|_| AtomicU64::new(0)))?,
            written: AtomicUsize::new(0),
            _borrow: PhantomData,
        })
    }

    /// The same, with what large jobs are shared by.
    #[must_use]
    pub fn shared(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }

    /// Writes what job `number` wants of a decoded chunk.
    ///
    /// # Errors
    /// [`Error::Internal`] when the chunk is too short, or the job was written before.
    pub fn chunk(&self, number: usize, chunk: &[u8]) -> Result<()> {
        self.write(number, Bytes::new(chunk, self.kernel.source_size()), &self.source_strides, self.kernel)
    }

    /// The same for a chunk of a one-dimensional dataset whose elements are of another type than usual: what
    /// `kernel` converts.
    ///
    /// # Errors
    /// As [`Self::chunk`]; also when the dataset has more dimensions, or the kernel makes something else.
    pub fn chunk_of(&self, number: usize, chunk: &[u8], kernel: Kernel) -> Result<()> {
        if self.source_strides.len() != 1 || kernel.target_size() != self.kernel.target_size() {
            return Err(Error::Internal("a kernel that is not for this output".into()));
        }
        let element = kernel.source_size();
        self.write(number, Bytes::new(chunk, element), &PerAxis::from_elem(element, 1), kernel)
    }

    /// Has `fill` write job `number` itself, if what it wants is one stretch that is copied as it is: `fill` gets
    /// the stretch's first element in the chunk, and the place of its bytes. Whether it did.
    ///
    /// # Errors
    /// Those of `fill`; [`Error::Internal`] when the job was written before.
    pub fn in_place(&self, number: usize, fill: impl FnOnce(usize, &mut [u8]) -> Result<()>) -> Result<bool> {
        if number >= self.plan.jobs() {
            return Err(Error::Internal(format!("there is no job {number}")));
        }
        let size = self.kernel.target_size();
        let run = self.plan.single_run(&self.plan.job(number)).filter(|_| self.kernel.is_plain());
        let Some(run) = run else { return Ok(false) };
        if (run.target + run.len) * size > self.len {
            return Err(Error::Internal(format!("job {number} reaches outside of its buffer")));
        }
        self.claim(number)?;
        // SAFETY: inside of the buffer, as was just found. This job has not been written before, and the plan gives
        // no other job the same targets.
        let place =
            unsafe { std::slice::from_raw_parts_mut(self.base.add(run.target * size), run.len * size) };
        fill(run.source, place)?;
        self.written.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    /// Whether a chunk may come as planes of elements of so many bytes.
    pub fn takes_planes(&self, element: usize) -> bool {
        element == self.kernel.source_size() && matches!(element, 2 | 4 | 8)
    }

    /// Writes what job `number` wants of a chunk whose elements are still to be put together.
    ///
    /// # Errors
    /// As [`Self::chunk`]; also when the output does not take such planes.
    pub fn planes(&self, number: usize, planes: Planes<'_>) -> Result<()> {
        if !self.takes_planes(planes.element()) {
            return Err(Error::Internal(format!("planes of {} bytes", planes.element())));
        }
        let strides = per_axis(self.source_strides.iter().map(|stride| stride / planes.element()));
        self.write(number, planes, &strides, self.kernel)
    }

    /// Writes one value wherever job `number` writes.
    ///
    /// # Errors
    /// [`Error::Internal`] when the value is too short, or the job was written before.
    pub fn fill(&self, number: usize, value: &[u8]) -> Result<()> {
        // All elements of such a chunk lie at its start.
        let strides = PerAxis::from_elem(0, self.source_strides.len());
        self.write(number, Bytes::new(value, self.kernel.source_size()), &strides, self.kernel)
    }

    /// Writes what job `number` wants, of which `values` are the box of [`crate::plan::Job::bounds`].
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub fn boxed(&self, number: usize, values: &[u8]) -> Result<()> {
        if number >= self.plan.jobs() {
            return Err(Error::Internal(format!("there is no job {number}")));
        }
        let pieces = self.plan.job(number).pieces;
        let bounds = per_axis(pieces.iter().map(Piece::source_bounds));
        let lens = per_axis(bounds.iter().map(|&(low, high)| high - low + 1));
        // The pieces as they are when the box begins at 0.
        let mut runs: PerAxis<Vec<Run>> = PerAxis::new();
        for (piece, &(low, _)) in pieces.iter().zip(&bounds) {
            runs.push(match *piece {
                Piece::Runs(runs) => {
                    memory::collect(runs.iter().map(|run| Run { source: run.source - low, ..*run }))?
                }
                _ => Vec::new(),
            });
        }
        let moved: PerAxis<Piece<'_>> = per_axis(pieces.iter().zip(bounds.iter().zip(&runs)).map(
            |(piece, (&(low, _), runs))| match *piece {
                Piece::Strided { source, step, target, len } => {
                    Piece::Strided { source: source - low, step, target, len }
                }
                Piece::Gather { indices, base, target } => {
                    Piece::Gather { indices, base: base + low as u64, target }
                }
                Piece::Runs(_) => Piece::Runs(runs),
            },
        ));
        let strides = c_strides(&lens, self.kernel.source_size());
        self.write_pieces(
            number,
            &moved,
            Bytes::new(values, self.kernel.source_size()),
            &strides,
            self.kernel,
        )
    }

    fn write(
        &self,
        number: usize,
        from: impl From + Sync,
        strides: &PerAxis<usize>,
        kernel: Kernel,
    ) -> Result<()> {
        if number >= self.plan.jobs() {
            return Err(Error::Internal(format!("there is no job {number}")));
        }
        self.write_pieces(number, &self.plan.job(number).pieces, from, strides, kernel)
    }

    /// Writes job `number`, whose `pieces` go to the places that the plan has them go to.
    fn write_pieces(
        &self,
        number: usize,
        pieces: &[Piece<'_>],
        from: impl From + Sync,
        strides: &PerAxis<usize>,
        kernel: Kernel,
    ) -> Result<()> {
        let last_source: usize =
            pieces.iter().zip(strides).map(|(piece, stride)| piece.source_bounds().1 * stride).sum();
        let last_target: usize =
            pieces.iter().zip(&self.target_strides).map(|(piece, stride)| piece.target_last() * stride).sum();
        if last_source >= from.end() || last_target + kernel.target_size() > self.len {
            return Err(Error::Internal(format!("job {number} reaches outside of its buffers")));
        }
        self.claim(number)?;
        let write = |pieces: &[Piece<'_>]| {
            let walk = Walk::new(from, &kernel, pieces, strides, &self.target_strides);
            // SAFETY: the last element of the source and of the target were just found to be inside, and
            // all others stand before them. This job has not been written before, and the plan gives no
            // other job the same targets; of this job, each part is written once.
            unsafe { walk.run(self.base) };
        };
        let bytes = pieces.iter().map(Piece::count).product::<usize>() * kernel.target_size();
        let axis = pieces.iter().position(|piece| piece.count() >= PARTS);
        match (self.share, axis) {
            (Some(share), Some(axis)) if bytes >= SHARED => share(PARTS, &|number| {
                if let Some(part) = pieces[axis].part(number, PARTS) {
                    let mut pieces: PerAxis<Piece<'_>> = pieces.into();
                    pieces[axis] = part;
                    write(&pieces);
                }
            }),
            _ => write(pieces),
        }
        self.written.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The buffer, every byte of which has been written.
    ///
    /// # Errors
    /// [`Error::Internal`] when a job is missing.
    pub fn finish(self) -> Result<&'a mut [u8]> {
        if self.written.load(Ordering::Acquire) != self.plan.jobs() {
            return Err(Error::Internal("a result is not complete".into()));
        }
        // SAFETY: each job writes its own elements, all jobs have, and together they are the whole
        // buffer. The buffer was borrowed for `'a`, and this was the only way to it.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.base, self.len) })
    }

    /// Takes the one permission to write a job.
    fn claim(&self, number: usize) -> Result<()> {
        let bit = 1 << (number % 64);
        let before = self.claimed.get(number / 64).map(|word| word.fetch_or(bit, Ordering::Relaxed));
        match before {
            Some(word) if word & bit == 0 => Ok(()),
            _ => Err(Error::Internal(format!("job {number} written twice"))),
        }
    }
}

/// Strides in bytes of a C-contiguous array.
fn c_strides(lens: &[usize], element: usize) -> PerAxis<usize> {
    let mut strides: PerAxis<usize> = PerAxis::from_elem(element, lens.len());
    for axis in (1..lens.len()).rev() {
        strides[axis - 1] = strides[axis] * lens[axis];
    }
    strides
}

/// One pass over the elements of a job: outer axes one by one, the innermost by the kernel.
struct Walk<'a, F> {
    from: F,
    kernel: &'a Kernel,
    outer: &'a [Piece<'a>],
    source_strides: &'a [usize],
    target_strides: &'a [usize],
    inner: Piece<'a>,
    /// Distance between neighbours of the innermost axis in the source.
    inner_stride: usize,
    /// Bytes that a row of the innermost axis takes in the target; empty where fetching them ahead of time
    /// does not pay.
    row: Range<usize>,
}

/// How many rows before they are written their cache lines are asked for.
///
/// The rows of a chunk lie far apart in the output, each too short for the processor to see a pattern in.
const ROWS_AHEAD: usize = 8;

/// Longer rows than this the processor fetches ahead by itself.
const LONGEST_PREFETCHED: usize = 2048;

const CACHE_LINE: usize = 64;

/// Asks for a cache line that will be written. The address need not be valid.
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl<'a, F: From> Walk<'a, F> {
    fn new(
        from: F,
        kernel: &'a Kernel,
        pieces: &'a [Piece<'a>],
        source_strides: &'a [usize],
        target_strides: &'a [usize],
    ) -> Self {
        let single = Piece::Strided { source: 0, step: 1, target: 0, len: 1 };
        let (mut outer, mut inner) = match pieces.split_last() {
            Some((&inner, outer)) => (outer, inner),
            None => (pieces, single),
        };
        let inner_stride = source_strides.last().copied().unwrap_or(1);
        // Axes that are consecutive in both, such as the whole rows of a chunk as wide as the output,
        // are one longer axis.
        while let (
            Piece::Strided { source: 0, step: 1, target: 0, len: width },
            Some((&Piece::Strided { source, step: 1, target, len }, rest)),
        ) = (inner, outer.split_last())
        {
            let axis = rest.len();
            if source_strides[axis] != width * inner_stride
                || target_strides[axis] != width * kernel.target_size()
            {
                break;
            }
            inner =
                Piece::Strided { source: source * width, step: 1, target: target * width, len: len * width };
            outer = rest;
        }
        let width = kernel.target_size();
        let row = match inner {
            Piece::Strided { target, len, .. } if len * width <= LONGEST_PREFETCHED => {
                target * width..(target + len) * width
            }
            _ => 0..0,
        };
        Self { from, kernel, outer, source_strides, target_strides, inner, inner_stride, row }
    }

    /// # Safety
    /// The source must have an element, and `target` be valid for writes, at all offsets that the pieces and
    /// strides lead to, and nothing else may access those of the target meanwhile.
    unsafe fn run(&self, target: *mut u8) {
        // SAFETY: passed on from the caller.
        unsafe { self.axis(0, 0, target) }
    }

    /// # Safety
    /// As [`Self::run`], with the offsets of the axes before `axis` already added.
    unsafe fn axis(&self, axis: usize, position: usize, target: *mut u8) {
        if let Some(piece) = self.outer.get(axis) {
            let (source_stride, target_stride) = (self.source_strides[axis], self.target_strides[axis]);
            let ahead = if axis + 1 == self.outer.len() { self.row.clone() } else { 0..0 };
            piece.for_each(|from, to| {
                if !ahead.is_empty() {
                    let row = target.wrapping_add((to + ROWS_AHEAD) * target_stride);
                    ahead.clone().step_by(CACHE_LINE).for_each(|byte| prefetch(row.wrapping_add(byte)));
                }
                // SAFETY: offsets that the caller vouches for.
                unsafe {
                    self.axis(axis + 1, position + from * source_stride, target.add(to * target_stride));
                }
            });
            return;
        }
        let (stride, width) = (self.inner_stride, self.kernel.target_size());
        // SAFETY: offsets that the caller vouches for.
        unsafe {
            match self.inner {
                Piece::Strided { source, step, target: to, len } => {
                    let first = position + source * stride;
                    self.from.strided(self.kernel, first, step * stride, target.add(to * width), len);
                }
                Piece::Gather { indices, base, target: to } => {
                    self.from.gather(self.kernel, position, indices, base, stride, target.add(to * width));
                }
                Piece::Runs(runs) => {
                    for run in runs {
                        let first = position + run.source * stride;
                        self.from.strided(
                            self.kernel,
                            first,
                            stride,
                            target.add(run.target * width),
                            run.len,
                        );
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunks::Grid;
    use crate::element::ElementType;
    use crate::selection::Axis;

    /// How a job is written.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Way {
        Chunk,
        Boxed,
        Planes,
        InPlace,
        ChunkOf,
    }

    /// Extent, chunk length and selection of an axis.
    fn axis() -> impl Strategy<Value = (u64, u64, Axis)> {
        (1u64..14, 1u64..8, 1u64..4, any::<prop::sample::Index>(), any::<bool>()).prop_map(
            |(extent, chunk, step, start, all)| {
                let start = if all { 0 } else { start.index(extent as usize) as u64 };
                let step = if all { 1 } else { step };
                let len = (extent - start).div_ceil(step) as usize;
                (extent, chunk, Axis::Range { start, len, step })
            },
        )
    }

    proptest! {
        /// Chunks cut out of an array and scattered give what indexing the array gives.
        #[test]
        fn scatter_is_indexing(
            axes in prop::collection::vec(axis(), 0..4),
            kind in 0..3,
            way in prop::sample::select(vec![Way::Chunk, Way::Boxed, Way::Planes, Way::InPlace, Way::ChunkOf]),
            shared in any::<bool>(),
        ) {
            let shape: Vec<u64> = axes.iter().map(|a| a.0).collect();
            let chunk: Vec<u64> = axes.iter().map(|a| a.1).collect();
            let selection: Vec<Axis> = axes
                .iter()
                .map(|a| match &a.2 {
                    &Axis::Range { start, len, step } if kind == 1 => {
                        Axis::Indices((0..len as u64).map(|i| start + i * step).collect())
                    }
                    &Axis::Range { start, len, step } if kind == 2 => {
                        Axis::Runs((0..len as u64).map(|i| (start + i * step, 1)).collect())
                    }
                    other => other.clone(),
                })
                .collect();
            let grid = Grid::new(&shape, &chunk).unwrap();
            let value = |index: &[u64]| index.iter().zip(&shape).fold(0, |v, (&i, &n)| v * n + i) as u32 + 1;
            let plan = Plan::new(grid, &selection).unwrap();
            // In place nothing is converted.
            let to = if way == Way::InPlace { "<u4" } else { "<f8" };
            let (from, to) = (ElementType::from_numpy("<u4").unwrap(), ElementType::from_numpy(to).unwrap());
            let boxed = way == Way::Boxed;
            let size = to.size();
            let mut buffer = vec![0xffu8; plan.count() * size];
            let mut output = Output::new(&mut buffer, &plan, Kernel::new(from, to).unwrap()).unwrap();
            if shared {
                output = output.shared(|parts, write| (0..parts).rev().for_each(write));
            }
            for number in 0..plan.jobs() {
                let job = plan.job(number);
                let (first, lens) = if boxed { job.bounds() } else { (job.offset.to_vec(), chunk.clone()) };
                let cells: usize = lens.iter().product::<u64>() as usize;
                let mut bytes = Vec::new();
                for cell in 0..cells {
                    let mut left = cell as u64;
                    let mut index: Vec<u64> = lens.iter().rev().map(|&n| { let i = left % n; left /= n; i }).collect();
                    index.reverse();
                    let index: Vec<u64> = index.iter().zip(&first).map(|(i, o)| i + o).collect();
                    bytes.extend(value(&index).to_le_bytes());
                }
                let write = |bytes: &[u8]| match way {
                    Way::Boxed => output.boxed(number, bytes),
                    Way::Planes => {
                        let planes: Vec<u8> = (0..4).flat_map(|byte| bytes.iter().copied().skip(byte).step_by(4)).collect();
                        output.planes(number, Planes::new(&planes, 4).unwrap())
                    }
                    Way::InPlace => {
                        let copy = |first: usize, place: &mut [u8]| {
                            place.copy_from_slice(&bytes[first * 4..][..place.len()]);
                            Ok(())
                        };
                        if output.in_place(number, copy)? { Ok(()) } else { output.chunk(number, bytes) }
                    }
                    // The same numbers in 64 bits.
                    Way::ChunkOf if axes.len() == 1 => {
                        let wide: Vec<u8> = bytes.as_chunks().0.iter()
                            .flat_map(|&bytes| u64::from(u32::from_le_bytes(bytes)).to_le_bytes()).collect();
                        let wide_kernel = Kernel::new(ElementType::from_numpy("<u8").unwrap(), to).unwrap();
                        output.chunk_of(number, &wide, wide_kernel)
                    }
                    Way::Chunk | Way::ChunkOf => output.chunk(number, bytes),
                };
                if boxed {
                    prop_assert!(write(&bytes[..bytes.len() - 1]).is_err(), "a byte less than the box has");
                }
                write(&bytes).unwrap();
                prop_assert!(write(&bytes).is_err(), "written twice");
            }
            let written = output.finish().unwrap();
            for position in 0..plan.count() {
                let mut left = position;
                let mut index: Vec<u64> = plan.lens().iter().zip(&selection).rev().map(|(&n, axis)| {
                    let i = left % n;
                    left /= n;
                    axis.get(i).unwrap()
                }).collect();
                index.reverse();
                let bytes = &written[position * size..][..size];
                let expected = value(&index);
                if way == Way::InPlace {
                    prop_assert_eq!(bytes, expected.to_le_bytes());
                } else {
                    prop_assert_eq!(bytes, f64::from(expected).to_le_bytes());
                }
            }
        }
    }

    #[test]
    fn short_chunks_are_refused() {
        let plan = Plan::new(Grid::new(&[4], &[4]).unwrap(), &[Axis::all(4).unwrap()]).unwrap();
        let mut buffer = vec![0; 4];
        let byte = ElementType::from_numpy("|u1").unwrap();
        let output = Output::new(&mut buffer, &plan, Kernel::new(byte, byte).unwrap()).unwrap();
        assert!(output.chunk(0, &[1, 2, 3]).is_err());
        assert!(output.chunk(0, &[1, 2, 3, 4]).is_ok());
        assert!(output.chunk(1, &[1, 2, 3, 4]).is_err());
        assert_eq!(output.finish().unwrap(), [1, 2, 3, 4]);
        let output = Output::new(&mut buffer, &plan, Kernel::new(byte, byte).unwrap()).unwrap();
        assert!(output.finish().is_err(), "nothing was written");
    }
}
