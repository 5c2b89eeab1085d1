//! Statistics: views as Python describes them, and results as it takes them.

use std::sync::{Mutex, PoisonError};

use filebackedarray::reduce::{self, Blocks, Compressed, Indices, Statistics, Use, View, Wanted};
use filebackedarray::{ElementType, Grid, PerAxis};
use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::raise;
use crate::selection::axes;

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

/// What came of a block, to be merged once.
#[pyclass(frozen)]
pub(crate) struct Folded(Mutex<Option<reduce::Folded>>);

impl Folded {
    fn new(folded: reduce::Folded) -> Self {
        Self(Mutex::new(Some(folded)))
    }

    fn take(&self) -> PyResult<reduce::Folded> {
        let folded = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        folded.ok_or_else(|| PyValueError::new_err("this block was merged before"))
    }
}

/// Indices of stored elements.
#[derive(FromPyObject)]
enum Positions<'py> {
    Narrow(PyReadonlyArray1<'py, i32>),
    Wide(PyReadonlyArray1<'py, i64>),
}

/// A block of a compressed matrix: its first row and column, its shape, whether it is compressed by column, and pointers,
/// indices and the bytes of values.
type Block<'py> =
    ([usize; 2], [usize; 2], bool, PyReadonlyArray1<'py, u64>, Positions<'py>, PyReadonlyArray1<'py, u8>);

fn with_block<T>(block: &Block<'_>, work: impl FnOnce(&Compressed<'_>) -> T) -> PyResult<T> {
    let (origin, shape, by_column, pointers, indices, values) = block;
    let indices = match indices {
        Positions::Narrow(indices) => Indices::Narrow(indices.as_slice()?),
        Positions::Wide(indices) => Indices::Wide(indices.as_slice()?),
    };
    Ok(work(&Compressed {
        origin: *origin,
        shape: *shape,
        by_column: *by_column,
        pointers: pointers.as_slice()?,
        indices,
        values: values.as_slice()?,
    }))
}

/// Statistics of an array whose values Python makes block by block.
#[pyclass(frozen)]
pub(crate) struct Sweep {
    blocks: Blocks,
    target: ElementType,
}

#[pymethods]
impl Sweep {
    #[new]
    #[pyo3(signature = (shape, chunk, selection, dtype, views, *, skip_nan, masked=false, block_bytes=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        shape: Vec<u64>,
        chunk: Vec<u64>,
        selection: Vec<Bound<'_, PyAny>>,
        dtype: &str,
        views: Vec<(Vec<Bound<'_, PyAny>>, Bound<'_, PyAny>)>,
        skip_nan: bool,
        masked: bool,
        block_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let selection = axes(&selection)?;
        let target = ElementType::from_numpy(dtype).map_err(raise)?;
        let views = self::views(&views)?;
        let blocks = Grid::new(&shape, &chunk)
            .and_then(|grid| Blocks::new(grid, &selection, target, views, [skip_nan, masked], block_bytes))
            .map_err(raise)?;
        Ok(Self { blocks, target })
    }

    /// A sweep of an array whose parts lie anywhere.
    #[staticmethod]
    #[pyo3(signature = (shape, dtype, views, *, skip_nan, sparse=false))]
    fn of_parts(
        shape: Vec<usize>,
        dtype: &str,
        views: Vec<(Vec<Bound<'_, PyAny>>, Bound<'_, PyAny>)>,
        skip_nan: bool,
        sparse: bool,
    ) -> PyResult<Self> {
        let target = ElementType::from_numpy(dtype).map_err(raise)?;
        let views = self::views(&views)?;
        let blocks = Blocks::of_parts(&shape, target, views, skip_nan, sparse).map_err(raise)?;
        Ok(Self { blocks, target })
    }

    fn __len__(&self) -> usize {
        self.blocks.len()
    }

    /// The boxes of a unit: for each axis the first position and the one past the last.
    fn unit(&self, number: usize) -> PyResult<Vec<Vec<(usize, usize)>>> {
        let regions = self.blocks.unit(number).map_err(raise)?;
        let bounds = |region: PerAxis<std::ops::Range<usize>>| {
            region.into_iter().map(|range| (range.start, range.end)).collect()
        };
        Ok(regions.into_iter().map(bounds).collect())
    }

    /// Folds a box of a unit.
    #[pyo3(signature = (number, region, values, missing=None, before=None))]
    fn fold(
        &self,
        py: Python<'_>,
        number: usize,
        region: Vec<(usize, usize)>,
        values: PyReadonlyArray1<'_, u8>,
        missing: Option<PyReadonlyArray1<'_, bool>>,
        before: Option<&Bound<'_, Folded>>,
    ) -> PyResult<Folded> {
        let region = region.into_iter().map(|(start, end)| start..end).collect();
        let values = values.as_slice()?;
        let missing = missing.as_ref().map(PyReadonlyArray1::as_slice).transpose()?;
        let before = before.map(|before| before.get().take()).transpose()?;
        py.detach(|| self.blocks.fold(number, &region, values, missing, before))
            .map(Folded::new)
            .map_err(raise)
    }

    /// Folds the stored elements of a block; None if they have to be taken in their turn.
    fn fold_sparse(&self, py: Python<'_>, block: Block<'_>) -> PyResult<Option<Folded>> {
        let folded = with_block(&block, |block| py.detach(|| self.blocks.fold_compressed(block)))?;
        folded.map(|folded| folded.map(Folded::new)).map_err(raise)
    }

    /// Takes the stored elements of a block.
    fn take_sparse(&self, py: Python<'_>, block: Block<'_>) -> PyResult<()> {
        with_block(&block, |block| py.detach(|| self.blocks.take_compressed(block)))?.map_err(raise)
    }

    /// Merges what came of a block.
    fn merge(&self, py: Python<'_>, folded: &Bound<'_, Folded>) -> PyResult<()> {
        let folded = folded.get().take()?;
        py.detach(|| self.blocks.merge(folded)).map_err(raise)
    }

    /// Takes all values of which the engine has made the statistics, for each view with the place of the first.
    fn take_statistics(&self, parts: Vec<(Vec<usize>, Bound<'_, PyDict>)>) -> PyResult<()> {
        let parts =
            parts.iter().map(|(origin, arrays)| Ok((PerAxis::from_slice(origin), statistics(arrays)?)));
        self.blocks.take_statistics(&parts.collect::<PyResult<Vec<_>>>()?).map_err(raise)
    }

    /// The statistics of all that was merged.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = py.detach(|| self.blocks.finish()).map_err(raise)?;
        results(py, found, self.target)
    }
}

/// Results as [`results`] has made them, perhaps with their axes in another order.
fn statistics(arrays: &Bound<'_, PyDict>) -> PyResult<Statistics> {
    let get = |name: &str| arrays.get_item(name);
    let doubles = |name: &str| -> PyResult<Option<Vec<f64>>> {
        let Some(array) = get(name)? else { return Ok(None) };
        Ok(Some(array.extract::<PyReadonlyArrayDyn<'_, f64>>()?.as_array().iter().copied().collect()))
    };
    let bytes = |name: &str| -> PyResult<Option<Vec<u8>>> {
        let Some(array) = get(name)? else { return Ok(None) };
        array.call_method0("tobytes")?.extract().map(Some)
    };
    let count = get("count")?.ok_or_else(|| PyValueError::new_err("statistics have a count"))?;
    let moments = match (doubles("mean")?, doubles("mean_low")?, doubles("m2")?) {
        (Some(mean), Some(low), Some(m2)) => Some([mean, low, m2]),
        _ => None,
    };
    let nonzero = match get("nonzero")? {
        Some(array) => {
            Some(array.extract::<PyReadonlyArrayDyn<'_, u64>>()?.as_array().iter().copied().collect())
        }
        None => None,
    };
    Ok(Statistics {
        shape: count.getattr("shape")?.extract()?,
        count: doubles("count")?.unwrap_or_default(),
        sum: None,
        total: doubles("high")?.zip(doubles("low")?),
        moments,
        extremes: bytes("min")?.zip(bytes("max")?),
        nonzero,
    })
}
