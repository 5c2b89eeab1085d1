//! Selections as Python hands them over: for each axis `(start, length, step)`, or an array of indices.

use filebackedarray::Axis;
use filebackedarray::dense::Along;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;

use crate::errors::raise;

/// The selection of each axis.
pub(crate) fn axes(selection: &[Bound<'_, PyAny>]) -> PyResult<Vec<Axis>> {
    selection.iter().map(axis).collect()
}

fn axis(selected: &Bound<'_, PyAny>) -> PyResult<Axis> {
    if let Ok((start, len, step)) = selected.extract() {
        return Ok(Axis::Range { start, len, step });
    }
    let indices: PyReadonlyArray1<'_, u64> = selected
        .extract()
        .map_err(|_| PyTypeError::new_err("a selection is (start, length, step) or an array of uint64"))?;
    Axis::from_indices(indices.as_array().to_vec()).map_err(raise)
}

/// What is taken along an axis by points: the index of each, in an array of int64, or a selection for all of them.
pub(crate) fn along(taken: &Bound<'_, PyAny>) -> PyResult<Along> {
    let Ok(points) = taken.extract::<PyReadonlyArray1<'_, i64>>() else {
        return axis(taken).map(Along::Every);
    };
    let index = |&point: &i64| u64::try_from(point).map_err(|_| PyIndexError::new_err("a point is below 0"));
    points.as_array().iter().map(index).collect::<PyResult<_>>().map(Along::Points)
}
