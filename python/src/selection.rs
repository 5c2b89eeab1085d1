//! Selections as Python hands them over: for each axis `(start, length, step)`, or an array of indices.

use filebackedarray::Axis;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyTypeError;
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
