//! Products: of float64 or of int64, whichever the arrays are of.

use filebackedarray::product::{Left, Number, Right};
use filebackedarray::{Axis, Control, ElementType, Result};
use numpy::{Element, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::errors::raise;
use crate::request;

/// The right-hand side.
#[derive(FromPyObject)]
pub(crate) enum Factor<'py> {
    Floats(PyReadonlyArray2<'py, f64>),
    Integers(PyReadonlyArray2<'py, i64>),
}

/// Where the result goes.
#[derive(FromPyObject)]
pub(crate) enum Product<'py> {
    Floats(PyReadwriteArray2<'py, f64>),
    Integers(PyReadwriteArray2<'py, i64>),
}

/// What is multiplied of a matrix.
pub(crate) fn left<'a>(selection: &'a [Axis], transposed: bool, dtype: &str) -> PyResult<Left<'a>> {
    let [rows, columns] = selection else {
        return Err(PyValueError::new_err("a selection of two axes is multiplied"));
    };
    let via = ElementType::from_numpy(dtype).map_err(raise)?;
    Ok(Left { rows, columns, transposed, via })
}

/// Calls one of two engines.
pub(crate) fn multiply<T: Send>(
    py: Python<'_>,
    right: Factor<'_>,
    out: Product<'_>,
    progress: Option<Py<PyAny>>,
    floats: impl FnOnce(&mut Right<'_, f64>, &Control<'_>) -> Result<T> + Send,
    integers: impl FnOnce(&mut Right<'_, i64>, &Control<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    match (right, out) {
        (Factor::Floats(right), Product::Floats(out)) => run(py, &right, out, progress, floats),
        (Factor::Integers(right), Product::Integers(out)) => run(py, &right, out, progress, integers),
        _ => Err(PyTypeError::new_err("both arrays should be of float64, or of int64")),
    }
}

fn run<N: Number + Element, T: Send>(
    py: Python<'_>,
    right: &PyReadonlyArray2<'_, N>,
    mut out: PyReadwriteArray2<'_, N>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&mut Right<'_, N>, &Control<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    let width = right.as_array().ncols();
    let mut right = Right { values: right.as_slice()?, width, out: out.as_slice_mut()? };
    request::run_reporting(py, progress, |control| work(&mut right, control))
}
