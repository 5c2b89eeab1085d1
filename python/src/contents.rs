//! What is in a file, as tuples.

use std::path::PathBuf;

use filebackedarray::{Object, Values, contents};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::request;

/// Kind, identity, shape, dtype, members of compounds with their dtypes, note.
fn tuple<'py>(py: Python<'py>, object: &Object) -> PyResult<Bound<'py, PyTuple>> {
    let shape = object.shape.as_ref().map(|shape| PyTuple::new(py, shape)).transpose()?;
    let fields = object
        .fields
        .iter()
        .map(|field| (PyBytes::new(py, &field.name), field.element.map(|element| element.to_string())));
    (
        object.kind.name(),
        PyBytes::new(py, &object.identity),
        shape,
        object.element.map(|element| element.to_string()),
        PyList::new(py, fields)?,
        object.note.as_str(),
    )
        .into_pyobject(py)
}

#[pyfunction]
pub(crate) fn describe<'py>(py: Python<'py>, path: PathBuf, name: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    let object = request::run(py, |_| contents::object(&path, name))?;
    tuple(py, &object)
}

#[pyfunction]
pub(crate) fn members<'py>(py: Python<'py>, path: PathBuf, group: &[u8]) -> PyResult<Bound<'py, PyList>> {
    let members = request::run(py, |_| contents::members(&path, group))?;
    let members: PyResult<Vec<_>> = members
        .iter()
        .map(|member| Ok((PyBytes::new(py, &member.name), tuple(py, &member.object)?)))
        .collect();
    PyList::new(py, members?)
}

/// Values of a member or an attribute: what kind they are, their dtype (empty if not numbers), and they.
fn values<'py>(py: Python<'py>, values: &Values) -> PyResult<(&'static str, String, Bound<'py, PyAny>)> {
    let strings = |values: &[Vec<u8>]| PyList::new(py, values.iter().map(|value| PyBytes::new(py, value)));
    Ok(match values {
        Values::Numbers(element, bytes) => {
            ("numbers", element.to_string(), PyBytes::new(py, bytes).into_any())
        }
        Values::Strings(values) => ("strings", String::new(), strings(values)?.into_any()),
        Values::References(names) => {
            let names: PyResult<Vec<_>> = names.iter().map(|names| strings(names)).collect();
            ("references", String::new(), PyList::new(py, names?)?.into_any())
        }
        Values::Other(what) => ("other", String::new(), what.into_pyobject(py)?.into_any()),
    })
}

/// Names, what kind of values, shapes, dtypes (empty if not numbers) and values.
#[pyfunction]
pub(crate) fn attributes<'py>(
    py: Python<'py>,
    path: PathBuf,
    name: &[u8],
    wanted: Vec<Vec<u8>>,
) -> PyResult<Bound<'py, PyList>> {
    let attributes = request::run(py, |_| contents::attributes(&path, name, &wanted))?;
    let tuples: PyResult<Vec<_>> = attributes
        .iter()
        .map(|attribute| {
            let (kind, dtype, values) = values(py, &attribute.values)?;
            let shape = PyTuple::new(py, &attribute.shape)?;
            Ok((PyBytes::new(py, &attribute.name), kind, shape, dtype, values))
        })
        .collect();
    PyList::new(py, tuples?)
}

/// The dtype (empty if not numbers) and the values.
#[pyfunction]
pub(crate) fn read_field<'py>(
    py: Python<'py>,
    path: PathBuf,
    dataset: &[u8],
    field: &[u8],
) -> PyResult<(String, Bound<'py, PyAny>)> {
    let found = request::run(py, |_| contents::field(&path, dataset, field))?;
    let (_, dtype, values) = values(py, &found)?;
    Ok((dtype, values))
}
