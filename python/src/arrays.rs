//! The memory of numpy's arrays.
//!
//! What `numpy.empty` returns holds whatever it holds: its allocator is not Rust's, so to Rust these are bytes
//! like others, of which nobody knows the values.

use filebackedarray::sparse::Array;
use filebackedarray::write::Block;
use filebackedarray::{ElementType, Error, Result};
use numpy::{PyArray1, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::raise;

/// The memory of a contiguous array, which it keeps alive.
pub(crate) struct Memory {
    array: Py<PyUntypedArray>,
    data: *mut u8,
    len: usize,
}

// SAFETY: the array is kept alive by a reference, its memory is not tied to a thread, and it is handed to
// Python only when the engine is done with it.
unsafe impl Send for Memory {}

impl Memory {
    /// # Errors
    /// `ValueError` when the array is not contiguous or must not be written to.
    pub(crate) fn new(array: &Bound<'_, PyUntypedArray>) -> PyResult<Self> {
        let writeable: bool = array.getattr("flags")?.getattr("writeable")?.extract()?;
        if !(array.is_c_contiguous() && writeable) {
            return Err(PyValueError::new_err("the array should be contiguous and writeable"));
        }
        // SAFETY: a valid array, whose data pointer is read.
        let data = unsafe { (*array.as_array_ptr()).fields.data }.cast();
        Ok(Self { data, len: array.len() * array.dtype().itemsize(), array: array.clone().unbind() })
    }

    /// The array.
    pub(crate) fn into_array(self, py: Python<'_>) -> Bound<'_, PyUntypedArray> {
        self.array.into_bound(py)
    }
}

impl Array for Memory {
    fn allocate(count: usize, element: ElementType) -> Result<Self> {
        // numpy's own allocator: it asks for huge pages, and counts the memory as an array's.
        Python::attach(|py| {
            let array = py.import("numpy")?.call_method1("empty", (count, element.to_string()))?;
            Self::new(array.cast()?)
        })
        .map_err(|error| Error::Caller(error.into()))
    }

    fn from_vec(bytes: Vec<u8>, element: ElementType) -> Result<Self> {
        Python::attach(|py| {
            let array = PyArray1::from_vec(py, bytes).call_method1("view", (element.to_string(),))?;
            Self::new(array.cast()?)
        })
        .map_err(|error: PyErr| Error::Caller(error.into()))
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the array is contiguous and alive, and while the engine works on it nobody else does.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

/// The memory of an array that is only read, whatever its strides, which it keeps alive.
pub(crate) struct View {
    _array: Py<PyUntypedArray>,
    data: *const u8,
    len: usize,
    shape: Vec<u64>,
    strides: Vec<usize>,
    element: ElementType,
}

// SAFETY: as for `Memory`; nobody writes to it here.
unsafe impl Send for View {}

impl View {
    /// # Errors
    /// `ValueError` when the array has elements before its first one (a negative stride), `TypeError` for a dtype that the
    /// engine does not have.
    pub(crate) fn new(array: &Bound<'_, PyUntypedArray>) -> PyResult<Self> {
        let code: String = array.dtype().getattr("str")?.extract()?;
        let element = ElementType::from_numpy(&code).map_err(raise)?;
        let strides: Option<Vec<usize>> =
            array.strides().iter().map(|&stride| usize::try_from(stride).ok()).collect();
        let strides = strides.ok_or_else(|| PyValueError::new_err("the strides should not be negative"))?;
        let shape: Vec<u64> = array.shape().iter().map(|&extent| extent as u64).collect();
        // The last element ends where numpy's own memory does, or before.
        let last: usize =
            array.shape().iter().zip(&strides).map(|(&extent, &step)| extent.saturating_sub(1) * step).sum();
        let len = if array.is_empty() { 0 } else { last + element.size() };
        // SAFETY: a valid array, whose data pointer is read.
        let data = unsafe { (*array.as_array_ptr()).fields.data }.cast();
        Ok(Self { _array: array.clone().unbind(), data, len, shape, strides, element })
    }

    /// The array as the engine has it.
    pub(crate) fn block(&self) -> Result<Block<'_>> {
        let bytes = if self.len == 0 {
            &[]
        } else {
            // SAFETY: the array is alive, and these are its bytes from the first element to the last.
            unsafe { std::slice::from_raw_parts(self.data, self.len) }
        };
        Block::new(bytes, &self.shape, &self.strides, self.element)
    }
}
