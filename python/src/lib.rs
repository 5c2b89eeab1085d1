//! Python bindings of the engine: converts arguments, lets go of the GIL, maps errors. Nothing else.

#![deny(unsafe_code)]
#![allow(missing_docs)] // What Python sees is documented in `_core.pyi`.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value.

// The one module with unsafe code: the memory of numpy's arrays.
#[allow(unsafe_code)]
mod arrays;
mod contents;
mod errors;
mod product;
mod reduce;
mod request;
mod selection;
mod snapshot;
mod write;

use std::path::PathBuf;

use filebackedarray::product::multiply_dense as multiply;
use filebackedarray::sparse::{self, Array, Matrix, Outcome, Types};
use filebackedarray::{ElementType, dense, fork};
use numpy::{PyArray1, PyReadwriteArray1, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::arrays::Memory;
use crate::errors::raise;
use crate::product::{Factor, Product};
use crate::selection::axes;

/// Shape, dtype and chunk shape (`None` without chunks) of a dataset.
#[pyfunction]
fn inspect<'py>(py: Python<'py>, path: PathBuf, name: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    let dataset = request::run(py, |_| dense::inspect(&path, name))?;
    let shape = PyTuple::new(py, &dataset.shape)?;
    let chunks = dataset.chunk_shape().map(|chunk| PyTuple::new(py, chunk)).transpose()?;
    (shape, dataset.element.to_string(), chunks).into_pyobject(py)
}

/// How a dataset is stored, and what R says of its values.
#[pyfunction]
fn facts<'py>(py: Python<'py>, path: PathBuf, name: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let facts = request::run(py, |_| dense::facts(&path, name))?;
    let filters = facts.filters.into_iter().map(|step| (step.id, step.name, step.values));
    let described = PyDict::new(py);
    described.set_item("chunks", facts.chunk.map(|chunk| PyTuple::new(py, chunk)).transpose()?)?;
    described.set_item("filters", PyList::new(py, filters.collect::<Vec<_>>())?)?;
    described.set_item("storage_size", facts.stored)?;
    described.set_item("value_size", facts.value_size)?;
    described.set_item("from_r", facts.marks.from_r)?;
    described.set_item("logical", facts.marks.logical)?;
    described.set_item("missing_strings", facts.marks.missing_strings)?;
    Ok(described)
}

#[pyfunction]
fn read_path(py: Python<'_>, path: PathBuf, name: &[u8]) -> PyResult<String> {
    request::run(py, |_| dense::read_path(&path, name))
}

#[pyfunction]
fn read_dense(
    py: Python<'_>,
    path: PathBuf,
    name: &[u8],
    selection: Vec<Bound<'_, PyAny>>,
    dtype: &str,
    out: &Bound<'_, PyUntypedArray>,
) -> PyResult<()> {
    let selection = axes(&selection)?;
    let target = ElementType::from_numpy(dtype).map_err(raise)?;
    let mut out = Memory::new(out)?;
    request::run(py, move |control| dense::read(&path, name, &selection, target, out.bytes(), control))
}

/// Shape of the blocks in which a dataset is read: its chunks, if it has any.
#[pyfunction]
fn read_blocks<'py>(py: Python<'py>, path: PathBuf, name: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, request::run(py, |_| dense::blocks(&path, name))?)
}

/// Elements at some points: for each axis an array of indices, one for each point, or `(selection,)`.
#[pyfunction]
fn read_points(
    py: Python<'_>,
    path: PathBuf,
    name: &[u8],
    along: Vec<Bound<'_, PyAny>>,
    dtype: &str,
    out: &Bound<'_, PyUntypedArray>,
) -> PyResult<()> {
    let along = along.iter().map(selection::along).collect::<PyResult<Vec<_>>>()?;
    let target = ElementType::from_numpy(dtype).map_err(raise)?;
    let mut out = Memory::new(out)?;
    request::run(py, move |control| dense::read_points(&path, name, &along, target, out.bytes(), control))
}

/// Statistics of a selection, of all views in one sweep.
#[pyfunction]
#[pyo3(signature = (path, name, selection, dtype, views, skip_nan, progress=None))]
#[allow(clippy::too_many_arguments)]
fn reduce_dense<'py>(
    py: Python<'py>,
    path: PathBuf,
    name: &[u8],
    selection: Vec<Bound<'py, PyAny>>,
    dtype: &str,
    views: Vec<(Vec<Bound<'py, PyAny>>, Bound<'py, PyAny>)>,
    skip_nan: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let selection = axes(&selection)?;
    let target = ElementType::from_numpy(dtype).map_err(raise)?;
    let views = reduce::views(&views)?;
    let results = request::run_reporting(py, progress, move |control| {
        dense::reduce(&path, name, &selection, target, &views, skip_nan, control)
    })?;
    reduce::results(py, results, target)
}

/// How many chunks of a dataset were decoded, and where each damaged one begins and what is the matter with it.
#[pyfunction]
#[pyo3(signature = (path, name, progress=None))]
fn check_dense<'py>(
    py: Python<'py>,
    path: PathBuf,
    name: &[u8],
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let checked = request::run_reporting(py, progress, move |control| dense::check(&path, name, control))?;
    let damaged = checked.damaged.iter().map(|(offset, message)| Ok((PyTuple::new(py, offset)?, message)));
    (checked.chunks, damaged.collect::<PyResult<Vec<_>>>()?).into_pyobject(py)
}

#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn multiply_dense(
    py: Python<'_>,
    path: PathBuf,
    name: &[u8],
    selection: [Bound<'_, PyAny>; 2],
    transposed: bool,
    dtype: &str,
    right: Factor<'_>,
    out: Product<'_>,
    progress: Option<Py<PyAny>>,
) -> PyResult<()> {
    let selection = axes(&selection)?;
    let left = product::left(&selection, transposed, dtype)?;
    product::multiply(
        py,
        right,
        out,
        progress,
        |right, control| multiply(&path, name, &left, right, control),
        |right, control| multiply(&path, name, &left, right, control),
    )
}

/// The bytes of variable-length strings, in C order.
#[pyfunction]
fn read_strings<'py>(
    py: Python<'py>,
    path: PathBuf,
    name: &[u8],
    selection: Vec<Bound<'_, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let selection = axes(&selection)?;
    let strings = request::run(py, move |control| dense::read_strings(&path, name, &selection, control))?;
    PyList::new(py, strings.iter().map(|string| PyBytes::new(py, string)))
}

/// A compressed sparse matrix in a file.
#[pyclass(frozen)]
struct SparseMatrix(Matrix);

#[pymethods]
impl SparseMatrix {
    #[new]
    fn new(
        path: PathBuf,
        data: Vec<u8>,
        indices: Vec<u8>,
        indptr: Vec<u8>,
        shape: [u64; 2],
        by_column: bool,
    ) -> Self {
        Self(Matrix { path, data, indices, indptr, shape, by_column })
    }

    /// The dtypes of values and indices, and how many elements are stored.
    fn inspect(&self, py: Python<'_>) -> PyResult<(String, String, u64)> {
        let (types, count) = request::run(py, |_| sparse::inspect(&self.0))?;
        Ok((types.data.to_string(), types.indices.to_string(), count))
    }

    fn read<'py>(
        &self,
        py: Python<'py>,
        selection: [Bound<'py, PyAny>; 2],
        dtype: &str,
        index_dtype: &str,
        by_column: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let selection = axes(&selection)?;
        let target = Types {
            data: ElementType::from_numpy(dtype).map_err(raise)?,
            indices: ElementType::from_numpy(index_dtype).map_err(raise)?,
        };
        let (rows, columns) = (&selection[0], &selection[1]);
        let result = request::run(py, |control| {
            if by_column == self.0.by_column {
                sparse::read::<Memory>(&self.0, rows, columns, target, control)
            } else {
                sparse::read_transposed(&self.0, rows, columns, target, control)
            }
        })?;
        let pointers = PyArray1::from_vec(py, result.pointers);
        (pointers, result.indices.into_array(py), result.values.into_array(py)).into_pyobject(py)
    }

    #[pyo3(signature = (selection, dtype, views, skip_nan, progress=None))]
    fn reduce<'py>(
        &self,
        py: Python<'py>,
        selection: [Bound<'py, PyAny>; 2],
        dtype: &str,
        views: Vec<(Vec<Bound<'py, PyAny>>, Bound<'py, PyAny>)>,
        skip_nan: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let selection = axes(&selection)?;
        let target = ElementType::from_numpy(dtype).map_err(raise)?;
        let views = reduce::views(&views)?;
        let results = request::run_reporting(py, progress, |control| {
            sparse::reduce(&self.0, &selection[0], &selection[1], target, &views, skip_nan, control)
        })?;
        reduce::results(py, results, target)
    }

    /// Whether it was multiplied: not where duplicates have to be added up in a narrow type first.
    #[allow(clippy::too_many_arguments)]
    fn multiply(
        &self,
        py: Python<'_>,
        selection: [Bound<'_, PyAny>; 2],
        transposed: bool,
        dtype: &str,
        right: Factor<'_>,
        out: Product<'_>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<bool> {
        let selection = axes(&selection)?;
        let left = product::left(&selection, transposed, dtype)?;
        let outcome = product::multiply(
            py,
            right,
            out,
            progress,
            |right, control| sparse::multiply(&self.0, &left, right, control),
            |right, control| sparse::multiply(&self.0, &left, right, control),
        )?;
        Ok(outcome == Outcome::Done)
    }

    fn read_dense(
        &self,
        py: Python<'_>,
        selection: [Bound<'_, PyAny>; 2],
        dtype: &str,
        mut out: PyReadwriteArray1<'_, u8>,
    ) -> PyResult<()> {
        let selection = axes(&selection)?;
        let target = ElementType::from_numpy(dtype).map_err(raise)?;
        let out = out.as_slice_mut()?;
        request::run(py, |control| {
            sparse::read_dense(&self.0, &selection[0], &selection[1], target, out, control)
        })
    }
}

#[pyfunction]
fn get_num_threads() -> PyResult<usize> {
    filebackedarray::num_threads().map_err(raise)
}

#[pyfunction]
fn set_num_threads(threads: usize) -> PyResult<usize> {
    filebackedarray::set_num_threads(threads).map_err(raise)
}

#[pyfunction]
fn limit_threads(threads: Option<usize>) -> PyResult<Option<usize>> {
    filebackedarray::limit_threads(threads).map_err(raise)
}

#[pyfunction]
fn set_cache_budget(bytes: usize) -> usize {
    filebackedarray::set_cache_budget(bytes)
}

/// Most bytes of memory that this process may have; None if the system does not tell.
#[pyfunction]
fn memory_limit() -> Option<u64> {
    filebackedarray::memory_limit()
}

/// Bytes of memory that can be had now without swapping; None if the system does not tell.
#[pyfunction]
fn available_memory() -> Option<u64> {
    filebackedarray::available_memory()
}

#[pyfunction]
fn before_fork() {
    fork::before();
}

#[pyfunction]
fn after_fork() {
    fork::after();
}

/// Names a folder of libhdf5's plugins, for filters that nothing else decodes.
#[pyfunction]
fn add_plugins(folder: PathBuf) {
    filebackedarray::add_plugins(&folder);
}

/// From now on, nothing in a file leads this process to another one.
#[pyfunction]
fn only_this_file() -> PyResult<()> {
    filebackedarray::only_this_file().map_err(raise)
}

/// Which file a path leads to, of which nothing is read.
#[pyfunction]
fn file_of(py: Python<'_>, path: PathBuf) -> PyResult<(u64, u64)> {
    request::run(py, |_| filebackedarray::file_of(&path))
}

/// Keeps this process from everything but reading a file; what the system offers for that.
#[pyfunction]
fn confine(path: PathBuf) -> PyResult<((u64, u64), bool, bool)> {
    let confined = filebackedarray::confine(&path).map_err(raise)?;
    Ok((confined.file, confined.files, confined.calls))
}

#[pymodule(gil_used = false)]
mod _core {
    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::contents::{attributes, describe, members, read_field};

    #[pymodule_export]
    use crate::reduce::{Folded, Sweep};

    #[pymodule_export]
    use crate::snapshot::{Snapshot, bind_snapshot, current_snapshot};

    #[pymodule_export]
    use crate::write::Writer;

    #[pymodule_export]
    use super::{
        SparseMatrix, add_plugins, after_fork, available_memory, before_fork, check_dense, confine, facts,
        file_of, get_num_threads, inspect, limit_threads, memory_limit, multiply_dense, only_this_file,
        read_blocks, read_dense, read_path, read_points, read_strings, reduce_dense, set_cache_budget,
        set_num_threads,
    };

    /// numpy's functions are looked up here, while the package is imported: later, a signal in the midst of that would be a
    /// panic.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        py.import("numpy")?;
        std::panic::catch_unwind(|| numpy::dtype::<u8>(py)).map(drop).map_err(|_| {
            PyImportError::new_err("numpy's C interface could not be had; import the package again")
        })
    }

    /// Whether the engine was built with optimisations.
    #[pymodule_export]
    const OPTIMISED: bool = !cfg!(debug_assertions);
}
