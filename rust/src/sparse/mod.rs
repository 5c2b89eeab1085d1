//! Compressed sparse matrices: three datasets, as 10x Genomics and h5ad files have them.
//!
//! `indptr` says where each column (or row) begins in `indices` and `data`: the matrix is compressed along
//! its *primary* axis, and `indices` are positions along the *secondary* one. A selection of the primary
//! axis is a set of stretches of `indices` and `data`. What a request needs of the secondary axis decides
//! how it is read:
//!
//! - all of it: both datasets are decoded straight into the result ([`whole`]);
//! - some of it, or into a dense array, or transposed: by windows ([`window`]), of which `indices` are
//!   decoded first, and of `data` only the chunks that hold a hit.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod canonical;
mod product;
mod reduce;
mod transpose;
mod whole;
mod window;

pub use reduce::reduce;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::element::{ElementType, Kind};
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::plan::Plan;
use crate::pool::{self, Control};
use crate::reader::{ChunkReader, Decoded, Request, Values};
use crate::scatter::{Kernel, Output};
use crate::selection::{Axis, to_len};
pub use product::{Outcome, multiply};
use window::{Hits, Window};

/// A compressed sparse matrix in a file, with all that the file may not say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// The file.
    pub path: PathBuf,
    /// Name of the dataset of values.
    pub data: Vec<u8>,
    /// Name of the dataset of positions along the secondary axis.
    pub indices: Vec<u8>,
    /// Name of the dataset of pointers to the start of each column (or row).
    pub indptr: Vec<u8>,
    /// Rows and columns.
    pub shape: [u64; 2],
    /// Whether it is compressed sparse column.
    pub by_column: bool,
}

/// Element types of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    /// Of the values.
    pub data: ElementType,
    /// Of the indices.
    pub indices: ElementType,
}

/// An array for results, allocated by whoever asks for them: in Python by numpy.
pub trait Array: Sized {
    /// Room for this many native elements.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    fn allocate(count: usize, element: ElementType) -> Result<Self>;
    /// The bytes of native elements whose number was not known before.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    fn from_vec(bytes: Vec<u8>, element: ElementType) -> Result<Self>;
    /// All bytes.
    fn bytes(&mut self) -> &mut [u8];
}

/// A selection in compressed form. Indices increase strictly within each stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compressed<A> {
    /// Where the elements of each position of the compressed axis begin, and where the last end.
    pub pointers: Vec<u64>,
    /// Positions within the selection of the other axis. May be longer than there are elements.
    pub indices: A,
    /// Values. May be longer than there are elements.
    pub values: A,
}

impl Matrix {
    /// Number of the axis along which the matrix is compressed.
    fn primary_axis(&self) -> usize {
        usize::from(self.by_column)
    }

    fn primary_extent(&self) -> u64 {
        self.shape[self.primary_axis()]
    }

    fn secondary_extent(&self) -> u64 {
        self.shape[1 - self.primary_axis()]
    }

    /// Selections of rows and columns as selections of the primary and the secondary axis, checked.
    fn orient<'a>(&self, rows: &'a Axis, columns: &'a Axis) -> Result<(&'a Axis, &'a Axis)> {
        rows.check(0, self.shape[0])?;
        columns.check(1, self.shape[1])?;
        Ok(if self.by_column { (columns, rows) } else { (rows, columns) })
    }
}

/// What a matrix is made of and how many elements are stored, after checking that its datasets can be one.
///
/// # Errors
/// Those of [`crate::dense::inspect`] for each of the three datasets; [`Error::Structure`] when they are not of
/// one dimension, `indices` or `indptr` hold no integers, their lengths do not fit together or the shape,
/// or `indptr` does not start from 0 or decreases.
pub fn inspect(matrix: &Matrix) -> Result<(Types, u64)> {
    Request::run(&matrix.path, |request| {
        let (pointers, types) = check(request, matrix)?;
        Ok((types, pointers.last().copied().unwrap_or(0)))
    })
}

/// Reads a selection in compressed form, along the axis that the matrix is compressed along.
///
/// Elements with the same row and column are added up, in the type of the result.
///
/// # Errors
/// As [`inspect`] and [`crate::dense::read`]; [`Error::Index`] when all of the secondary axis is read and an
/// index is outside of it.
pub fn read<A: Array>(
    matrix: &Matrix,
    rows: &Axis,
    columns: &Axis,
    target: Types,
    control: &Control<'_>,
) -> Result<Compressed<A>> {
    let (primary, secondary) = matrix.orient(rows, columns)?;
    Request::run(&matrix.path, |request| {
        let opened = Opened::new(request, matrix)?;
        if secondary.is_all(matrix.secondary_extent()) {
            return whole::read(&opened, primary, target, control);
        }
        let mut pointers: Vec<u64> = memory::zeros(primary.len() + 1)?;
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        let mut canonical = true;
        let mut windows = opened.windows(primary, secondary, target.data)?;
        while let Some(window) = windows.next(Hits::WithValues, control)? {
            for &(position, count) in &window.segments {
                pointers[position + 1] += count as u64;
            }
            append_indices(&mut indices, &window.secondary, target.indices)?;
            memory::append(&mut values, &window.values)?;
            canonical &= window.increasing;
        }
        for position in 0..primary.len() {
            pointers[position + 1] += pointers[position];
        }
        if !canonical {
            canonical::make(&mut pointers, &mut indices, &mut values, target, control)?;
        }
        indices.shrink_to_fit();
        values.shrink_to_fit();
        let (indices, values) = (A::from_vec(indices, target.indices)?, A::from_vec(values, target.data)?);
        Ok(Compressed { pointers, indices, values })
    })
}

/// Reads a selection in compressed form, along the axis that the matrix is *not* compressed along.
///
/// # Errors
/// As [`read`].
pub fn read_transposed<A: Array>(
    matrix: &Matrix,
    rows: &Axis,
    columns: &Axis,
    target: Types,
    control: &Control<'_>,
) -> Result<Compressed<A>> {
    let (primary, secondary) = matrix.orient(rows, columns)?;
    Request::run(&matrix.path, |request| {
        transpose::read(&Opened::new(request, matrix)?, primary, secondary, target, control)
    })
}

/// Reads a selection into a dense array of native elements in which the primary axis changes slowest: column
/// by column, if the matrix is compressed by column. `out` must hold zeros.
///
/// # Errors
/// As [`read`].
pub fn read_dense(
    matrix: &Matrix,
    rows: &Axis,
    columns: &Axis,
    target: ElementType,
    out: &mut [u8],
    control: &Control<'_>,
) -> Result<()> {
    let (primary, secondary) = matrix.orient(rows, columns)?;
    let row_bytes = secondary.len().checked_mul(target.size());
    if row_bytes.and_then(|bytes| bytes.checked_mul(primary.len())) != Some(out.len()) {
        return Err(Error::Internal(format!("a buffer of {} bytes", out.len())));
    }
    let mut is_zero = true;
    Request::run(&matrix.path, |request| {
        if !std::mem::replace(&mut is_zero, false) {
            // The file has changed after a part of it was read.
            out.fill(0);
        }
        let opened = Opened::new(request, matrix)?;
        let mut windows = opened.windows(primary, secondary, target)?;
        while let Some(window) = windows.next(Hits::WithValues, control)? {
            add_dense(&window, row_bytes.unwrap_or(0), target, out, control)?;
        }
        Ok(())
    })
}

/// Adds the elements of a window to the columns (or rows) that they belong to.
fn add_dense(
    window: &Window,
    row_bytes: usize,
    target: ElementType,
    out: &mut [u8],
    control: &Control<'_>,
) -> Result<()> {
    /// Segments of neighbouring columns, their elements, and that part of the array.
    struct Part<'a> {
        segments: Range<usize>,
        first_hit: usize,
        first_position: usize,
        out: &'a mut [u8],
    }
    // Enough parts to keep all cores busy to the end.
    let per_part = window.secondary.len().div_ceil(4 * pool::num_threads()?).max(1);
    let mut parts = Vec::new();
    let (mut rest, mut cut) = (out, 0);
    let (mut begin, mut hits, mut first_hit) = (0, 0, 0);
    for (number, &(position, count)) in window.segments.iter().enumerate() {
        hits += count;
        let last = number + 1 == window.segments.len();
        if hits - first_hit >= per_part || last {
            let first_position = window.segments[begin].0;
            let (_, from_first) = std::mem::take(&mut rest).split_at_mut((first_position - cut) * row_bytes);
            let (mine, after) = from_first.split_at_mut((position + 1 - first_position) * row_bytes);
            parts.push(Mutex::new(Part {
                segments: begin..number + 1,
                first_hit,
                first_position,
                out: mine,
            }));
            (rest, cut) = (after, position + 1);
            (begin, first_hit) = (number + 1, hits);
        }
    }
    pool::for_each(control, parts.len(), |(): &mut (), number| {
        let mut part = parts[number].lock().unwrap_or_else(PoisonError::into_inner);
        let Part { segments, first_hit, first_position, out } = &mut *part;
        let mut hit = *first_hit;
        for &(position, count) in &window.segments[segments.clone()] {
            let row = &mut out[(position - *first_position) * row_bytes..][..row_bytes];
            let values = &window.values[hit * target.size()..][..count * target.size()];
            add(row, &window.secondary[hit..hit + count], values, target);
            hit += count;
        }
        Ok(())
    })
}

/// Adds `values` to the elements of `row` at `positions`.
fn add(row: &mut [u8], positions: &[u64], values: &[u8], target: ElementType) {
    macro_rules! add_as {
        ($t:ty, $add:expr) => {{
            let (row, _) = row.as_chunks_mut::<{ size_of::<$t>() }>();
            let (values, _) = values.as_chunks::<{ size_of::<$t>() }>();
            for (&position, value) in positions.iter().zip(values) {
                let element = &mut row[position as usize];
                *element = $add(<$t>::from_ne_bytes(*element), <$t>::from_ne_bytes(*value)).to_ne_bytes();
            }
        }};
    }
    with_addition!(target, add_as);
}

/// Applies a macro to the native type of an element type, and how numbers of it are added: as numpy does,
/// wrapping, and booleans by `or`.
macro_rules! with_addition {
    ($target:expr, $apply:ident) => {
        match ($target.kind(), $target.size()) {
            (Kind::Bool, _) => $apply!(u8, |a: u8, b: u8| a | b),
            (Kind::Int, 1) => $apply!(i8, i8::wrapping_add),
            (Kind::Int, 2) => $apply!(i16, i16::wrapping_add),
            (Kind::Int, 4) => $apply!(i32, i32::wrapping_add),
            (Kind::Int, _) => $apply!(i64, i64::wrapping_add),
            (Kind::UInt, 1) => $apply!(u8, u8::wrapping_add),
            (Kind::UInt, 2) => $apply!(u16, u16::wrapping_add),
            (Kind::UInt, 4) => $apply!(u32, u32::wrapping_add),
            (Kind::UInt, _) => $apply!(u64, u64::wrapping_add),
            (Kind::Float, 2) => $apply!(half::f16, |a: half::f16, b: half::f16| a + b),
            (Kind::Float, 4) => $apply!(f32, |a: f32, b: f32| a + b),
            (Kind::Float, _) => $apply!(f64, |a: f64, b: f64| a + b),
            // Refused before anything is read.
            (Kind::Complex | Kind::Text(_) | Kind::String, _) => {}
        }
    };
}
use with_addition;

/// Appends positions in the type of the result.
fn append_indices(bytes: &mut Vec<u8>, positions: &[u64], target: ElementType) -> Result<()> {
    if let Some(&largest) = positions.iter().max() {
        check_index_type(largest, target)?;
    }
    let len = bytes.len();
    let more = positions.len() * target.size();
    memory::reserve_more(bytes, more)?;
    memory::resize(bytes, len + more, 0)?;
    Kernel::new(ElementType::U64, target)?.convert(bytemuck::cast_slice(positions), &mut bytes[len..]);
    Ok(())
}

/// Checks that the type of the result can hold an index.
fn check_index_type(index: u64, target: ElementType) -> Result<()> {
    let bits = target.size() as u32 * 8 - u32::from(target.kind() == Kind::Int);
    if bits < 64 && index >> bits != 0 {
        return Err(Error::Structure(format!("an index of dtype '{target}' cannot hold {index}")));
    }
    Ok(())
}

/// What is done with indices, of whichever width they come.
trait Indices<T> {
    fn run<I: Copy + Ord + Into<u64>>(self, indices: &[I]) -> Result<T>;
}

/// The datasets of a matrix, open for the length of a request.
struct Opened<'r> {
    matrix: &'r Matrix,
    indices: ChunkReader<'r>,
    data: ChunkReader<'r>,
    pointers: Arc<[u64]>,
    types: Types,
}

impl<'r> Opened<'r> {
    fn new(request: &'r Request, matrix: &'r Matrix) -> Result<Self> {
        let (pointers, types) = check(request, matrix)?;
        let indices = request.reader(&matrix.indices)?;
        let data = request.reader(&matrix.data)?;
        Ok(Self { matrix, indices, data, pointers, types })
    }

    /// Where the elements of each selected position are, as `(first, count)`.
    fn stretches(&self, primary: &Axis) -> Result<Vec<(u64, usize)>> {
        let stretch = |index: u64| {
            let (begin, end) = (self.pointers[index as usize], self.pointers[index as usize + 1]);
            (begin, (end - begin) as usize)
        };
        let mut stretches = memory::with_capacity(primary.len())?;
        stretches.extend((0..primary.len()).filter_map(|position| primary.get(position)).map(stretch));
        Ok(stretches)
    }

    fn windows<'o>(
        &'o self,
        primary: &Axis,
        secondary: &'o Axis,
        target: ElementType,
    ) -> Result<window::Windows<'o>> {
        window::Windows::new(self, self.stretches(primary)?, secondary, target)
    }

    /// Calls `work` with indices of a decoded chunk, as 32- or 64-bit integers. What is negative comes out as
    /// one of the largest numbers there are. `room` is used where they have to be converted.
    fn with_indices<T>(
        &self,
        decoded: &Decoded<'_>,
        first: usize,
        len: usize,
        room: &mut Vec<u64>,
        work: impl Indices<T>,
    ) -> Result<T> {
        let dataset = self.indices.dataset();
        let kernel = Kernel::new(dataset.element, ElementType::U64)?;
        let size = dataset.element.size();
        let outside = || Error::Internal("indices outside of their chunk".into());
        let values = match decoded.values() {
            Some(Values::AsStored(values)) => values,
            Some(Values::Narrow(values)) => {
                let wanted = values.get(first * 4..(first + len) * 4).ok_or_else(outside)?;
                if let Ok(narrow) = bytemuck::try_cast_slice::<u8, u32>(wanted) {
                    return work.run(narrow);
                }
                memory::resize(room, len, 0)?;
                let kernel = Kernel::new(ElementType::U32, ElementType::U64)?;
                kernel.convert(wanted, bytemuck::cast_slice_mut(room));
                return work.run(room);
            }
            Some(Values::InPlanes(_) | Values::Boxed(_)) => {
                return Err(Error::Internal("indices that do not stand there as they are".into()));
            }
            None => {
                let mut fill = [0u64];
                kernel.convert(&dataset.fill_value()?, bytemuck::cast_slice_mut(&mut fill));
                room.clear();
                memory::resize(room, len, fill[0])?;
                return work.run(room);
            }
        };
        let wanted = values.get(first * size..(first + len) * size).ok_or_else(outside)?;
        if size == 8
            && dataset.element.is_native()
            && let Ok(wide) = bytemuck::try_cast_slice::<u8, u64>(wanted)
        {
            return work.run(wide);
        }
        memory::resize(room, len, 0)?;
        kernel.convert(wanted, bytemuck::cast_slice_mut(room));
        work.run(room)
    }

    /// The error for an index outside of the matrix.
    fn outside(&self, index: u64, position: u64) -> Error {
        let axis = 1 - self.matrix.primary_axis();
        // Negative numbers came here by way of sign extension.
        let shown = match self.types.indices.kind() {
            Kind::Int => (index as i64).to_string(),
            _ => index.to_string(),
        };
        Error::Index(format!(
            "index {shown} at position {position} of {} is outside of axis {axis}, whose extent is {}",
            self.indices.place(),
            self.matrix.secondary_extent()
        ))
    }
}

/// Checks that three datasets can be a matrix.
fn check(request: &Request, matrix: &Matrix) -> Result<(Arc<[u64]>, Types)> {
    let pointers = pointers(request, matrix)?;
    let count = pointers.last().copied().unwrap_or(0);
    for name in [&matrix.data, &matrix.indices] {
        if request.dataset(name)?.shape != [count] {
            return Err(Error::Structure(format!(
                "{} should be 1-dimensional and have length equal to the number of non-zero elements ({count})",
                Place::dataset(&matrix.path, name)
            )));
        }
    }
    let types = Types {
        data: request.dataset(&matrix.data)?.element,
        indices: request.dataset(&matrix.indices)?.element,
    };
    if !types.data.is_real() {
        return Err(Error::ElementType(format!(
            "{} holds values of dtype '{}', of which there are no sparse matrices here",
            Place::dataset(&matrix.path, &matrix.data),
            types.data
        )));
    }
    if !types.indices.is_integer() {
        return Err(Error::Structure(format!(
            "{} should contain integers",
            Place::dataset(&matrix.path, &matrix.indices)
        )));
    }
    Ok((pointers, types))
}

/// Reads and checks the pointers; known from then on, for as long as the file does not change.
fn pointers(request: &Request, matrix: &Matrix) -> Result<Arc<[u64]>> {
    let name = Place::dataset(&matrix.path, &matrix.indptr);
    let pointers = request.pointers(&matrix.indptr, || {
        let dataset = request.dataset(&matrix.indptr)?;
        let (&[count], true) = (dataset.shape.as_slice(), dataset.element.is_integer()) else {
            return Err(Error::Structure(format!("{name} should be 1-dimensional and contain integers")));
        };
        // Before any memory is asked for: the shape says how long they must be.
        check_pointer_count(count, matrix)?;
        let mut bytes: Vec<u64> =
            memory::zeros(to_len(count)?).map_err(|error| Error::from(error).at(&name))?;
        let reader = request.reader(&matrix.indptr)?;
        let plan = Plan::new(reader.grid().clone(), &[Axis::all(count)?])?;
        let kernel = Kernel::new(dataset.element, ElementType::U64)?;
        let output = Output::new(bytemuck::cast_slice_mut(&mut bytes), &plan, kernel)?;
        reader.read(&plan, &output, &Control::default())?;
        drop(output);
        if bytes.first().is_some_and(|&first| first != 0) {
            return Err(Error::Structure(format!("{name}: the first entry should be zero")));
        }
        // A negative pointer comes out as one of the largest numbers there are.
        if !bytes.is_sorted() || bytes.last().is_some_and(|&last| i64::try_from(last).is_err()) {
            return Err(Error::Structure(format!("{name}: entries should be ordered")));
        }
        Ok(bytes.into())
    })?;
    check_pointer_count(pointers.len() as u64, matrix)?;
    Ok(pointers)
}

fn check_pointer_count(count: u64, matrix: &Matrix) -> Result<()> {
    if matrix.primary_extent().checked_add(1) == Some(count) {
        return Ok(());
    }
    let axis = if matrix.by_column { "columns" } else { "rows" };
    Err(Error::Structure(format!(
        "{} should have length equal to the number of {axis} + 1 ({}), not {count}",
        Place::dataset(&matrix.path, &matrix.indptr),
        u128::from(matrix.primary_extent()) + 1
    )))
}
