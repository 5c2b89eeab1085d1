//! Statistics: views as Python describes them, and results as it takes them.

use filebackedarray::ElementType;
use filebackedarray::reduce::{Statistics, Use, View, Wanted};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The views of a sweep: for each axis "keep", "reduce", or the group of each index and the number of groups; and which
/// statistics are wanted.
pub(crate) fn views(views: &[(Vec<Bound<'_, PyAny>>, Bound<'_, PyAny>)]) -> PyResult<Vec<View>> {
    let view = |(axes, wanted): &(Vec<Bound<'_, PyAny>>, Bound<'_, PyAny>)| {
        let axes = axes.iter().map(usage).collect::<PyResult<_>>()?;
        let mut flags = Wanted::default();
        for name in wanted.try_iter()? {
            let name: String = name?.extract()?;
            match name.as_str() {
                "sum" => flags.sum = true,
                "moments" => flags.moments = true,
                "extremes" => flags.extremes = true,
                "nonzero" => flags.nonzero = true,
                _ => return Err(PyValueError::new_err(format!("there is no statistic '{name}'"))),
            }
        }
        Ok(View { axes, wanted: flags })
    };
    views.iter().map(view).collect()
}

fn usage(axis: &Bound<'_, PyAny>) -> PyResult<Use> {
    if let Ok(name) = axis.extract::<String>() {
        return match name.as_str() {
            "keep" => Ok(Use::Keep),
            "reduce" => Ok(Use::Reduce),
            _ => Err(PyValueError::new_err(format!("an axis is kept, reduced or grouped, not '{name}'"))),
        };
    }
    let (labels, groups): (PyReadonlyArray1<'_, u32>, usize) = axis.extract()?;
    Ok(Use::Group { labels: labels.as_array().to_vec(), groups })
}

/// The results of a sweep as a dictionary of arrays for each view.
pub(crate) fn results(
    py: Python<'_>,
    results: Vec<Statistics>,
    target: ElementType,
) -> PyResult<Vec<Bound<'_, PyDict>>> {
    results.into_iter().map(|statistics| result(py, statistics, target)).collect()
}

fn result(py: Python<'_>, statistics: Statistics, target: ElementType) -> PyResult<Bound<'_, PyDict>> {
    let Statistics { shape, count, sum, total, moments, extremes, nonzero } = statistics;
    let arrays = PyDict::new(py);
    let put = |name: &str, array: Bound<'_, PyAny>| {
        arrays.set_item(name, array.call_method1("reshape", (shape.clone(),))?)
    };
    put("count", PyArray1::from_vec(py, count).into_any())?;
    if let Some(sum) = sum {
        let dtype = if target.is_unsigned() { "u8" } else { "i8" };
        put("sum", PyArray1::from_vec(py, sum).call_method1("view", (dtype,))?)?;
    }
    let total = total.map(|(high, low)| [("high", high), ("low", low)]);
    let moments = moments.map(|[mean, low, m2]| [("mean", mean), ("mean_low", low), ("m2", m2)]);
    for (name, values) in total.into_iter().flatten().chain(moments.into_iter().flatten()) {
        put(name, PyArray1::from_vec(py, values).into_any())?;
    }
    if let Some((min, max)) = extremes {
        put("min", PyArray1::from_vec(py, min).call_method1("view", (target.to_string(),))?)?;
        put("max", PyArray1::from_vec(py, max).call_method1("view", (target.to_string(),))?)?;
    }
    if let Some(nonzero) = nonzero {
        put("nonzero", PyArray1::from_vec(py, nonzero).into_any())?;
    }
    Ok(arrays)
}
