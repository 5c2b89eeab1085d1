//! The memory of numpy's arrays.
//!
//! What `numpy.empty` returns is uninitialised, so it is never seen as bytes here but as places that bytes
//! can be written to.

use std::mem::MaybeUninit;

use filebackedarray::sparse::Array;
use filebackedarray::{Error, Result};
use numpy::{PyArray1, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The bytes of a one-dimensional array, which it keeps alive.
pub(crate) struct NumpyBytes {
    array: Py<PyArray1<u8>>,
    data: *mut MaybeUninit<u8>,
    len: usize,
}

// SAFETY: the array is kept alive by a reference, its memory is not tied to a thread, and it is handed to
// Python only when the engine is done with it.
unsafe impl Send for NumpyBytes {}

impl NumpyBytes {
    fn new(array: &Bound<'_, PyArray1<u8>>) -> PyResult<Self> {
        if !array.is_c_contiguous() {
            return Err(PyValueError::new_err("the array should be contiguous"));
        }
        // Fails unless the array is writeable and nobody in Rust holds it.
        array.try_readwrite()?;
        Ok(Self { data: array.data().cast(), len: array.len(), array: array.clone().unbind() })
    }

    /// The places to write to.
    pub(crate) fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the array is contiguous and alive; its bytes need not be initialised to be seen so.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }

    /// The array.
    pub(crate) fn into_array(self, py: Python<'_>) -> Bound<'_, PyArray1<u8>> {
        self.array.into_bound(py)
    }
}

/// The memory of an array that the caller made.
pub(crate) fn uninitialised(array: &Bound<'_, PyArray1<u8>>) -> PyResult<NumpyBytes> {
    NumpyBytes::new(array)
}

impl Array for NumpyBytes {
    fn allocate(bytes: usize) -> Result<Self> {
        // numpy's own allocator: it asks for huge pages, and counts the memory as an array's.
        Python::attach(|py| {
            let array = py.import("numpy")?.call_method1("empty", (bytes, "u1"))?;
            Self::new(array.cast::<PyArray1<u8>>()?)
        })
        .map_err(|error| Error::OutOfMemory(error.to_string()))
    }

    fn from_vec(bytes: Vec<u8>) -> Self {
        Python::attach(|py| {
            let array = PyArray1::from_vec(py, bytes);
            Self { data: array.data().cast(), len: array.len(), array: array.unbind() }
        })
    }

    fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        Self::bytes(self)
    }
}
