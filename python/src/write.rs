//! New versions of files.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use filebackedarray::write::{self, Array, Compression, FileOptions, Mode, SinkId, SinkOptions, Value};
use filebackedarray::{ElementType, Error};
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arrays::View;
use crate::errors::raise;
use crate::request;

/// Bytes of incomplete chunks that wait in memory, unless said otherwise.
const WAITING_BYTES: usize = 64 << 20;

/// A new version of a file.
#[pyclass(frozen)]
pub(crate) struct Writer(Mutex<write::Writer>);

impl Writer {
    fn lock(&self) -> MutexGuard<'_, write::Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value that one of the tuples of `_core.pyi` stands for.
fn value(described: &Bound<'_, PyTuple>) -> PyResult<Value> {
    let kind: String = described.get_item(0)?.extract()?;
    match kind.as_str() {
        "null" => {
            let (_, dtype): (String, String) = described.extract()?;
            Ok(Value::Null(ElementType::from_numpy(&dtype).map_err(raise)?))
        }
        "array" => {
            let (_, dtype, utf8, shape, bytes): (String, String, bool, Vec<u64>, Vec<u8>) =
                described.extract()?;
            let element = ElementType::from_numpy(&dtype).map_err(raise)?;
            Ok(Value::Array(Array { element, utf8, shape, bytes }))
        }
        "strings" => {
            let (_, utf8, shape, values): (String, bool, Vec<u64>, Vec<Vec<u8>>) = described.extract()?;
            Ok(Value::Strings { shape, values, utf8 })
        }
        other => Err(PyValueError::new_err(format!("values of kind '{other}'"))),
    }
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (path, mode, user_block_size=0, user_block=None, page_size=None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        mode: &str,
        user_block_size: u64,
        user_block: Option<&[u8]>,
        page_size: Option<u64>,
    ) -> PyResult<Self> {
        let mode = match mode {
            "x" => Mode::New,
            "w" => Mode::Replace,
            "a" => Mode::Add,
            other => {
                return Err(PyValueError::new_err(format!("mode '{other}'; there are 'x', 'w' and 'a'")));
            }
        };
        let options = FileOptions { user_block: user_block_size, page: page_size };
        let writer =
            request::run(py, |_| write::Writer::open(&path, mode, &options, user_block.unwrap_or_default()))?;
        Ok(Self(Mutex::new(writer)))
    }

    /// The file that it will be.
    #[getter]
    fn target(&self, py: Python<'_>) -> PathBuf {
        py.detach(|| self.lock().target().to_owned())
    }

    /// What is of this name: "group", "dataset", "other", or `None`.
    fn kind(&self, py: Python<'_>, name: &[u8]) -> PyResult<Option<&'static str>> {
        request::run(py, |_| Ok(self.lock().kind(name)?.map(filebackedarray::ObjectKind::name)))
    }

    fn create_group(&self, py: Python<'_>, name: &[u8]) -> PyResult<()> {
        request::run(py, |_| self.lock().create_group(name))
    }

    fn copy(&self, py: Python<'_>, source: PathBuf, name: &[u8]) -> PyResult<()> {
        request::run(py, |_| self.lock().copy(&source, name))
    }

    fn delete(&self, py: Python<'_>, name: &[u8]) -> PyResult<()> {
        request::run(py, |_| self.lock().delete(name))
    }

    fn write_attribute(
        &self,
        py: Python<'_>,
        object: &[u8],
        name: &[u8],
        described: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let value = value(described)?;
        request::run(py, |_| self.lock().write_attribute(object, name, &value))
    }

    fn write_dataset(&self, py: Python<'_>, name: &[u8], described: &Bound<'_, PyTuple>) -> PyResult<()> {
        let value = value(described)?;
        request::run(py, |_| self.lock().write_dataset(name, &value))
    }

    #[pyo3(signature = (name, shape, dtype, chunks, maxshape=None, compression=None, level=None, shuffle=true, fill=None, utf8=true, memory=None))]
    #[allow(clippy::too_many_arguments)]
    fn create_dataset(
        &self,
        py: Python<'_>,
        name: &[u8],
        shape: Vec<u64>,
        dtype: &str,
        chunks: Vec<u64>,
        maxshape: Option<Vec<Option<u64>>>,
        compression: Option<String>,
        level: Option<u32>,
        shuffle: bool,
        fill: Option<Vec<u8>>,
        utf8: bool,
        memory: Option<usize>,
    ) -> PyResult<usize> {
        let most = maxshape.unwrap_or_else(|| shape.iter().copied().map(Some).collect());
        let options = SinkOptions {
            shape,
            most,
            element: ElementType::from_numpy(dtype).map_err(raise)?,
            utf8,
            chunk: chunks,
            compression: Compression { codec: compression, level, shuffle },
            fill,
            budget: memory.unwrap_or(WAITING_BYTES),
        };
        Ok(request::run(py, |_| self.lock().create_dataset(name, options))?.0)
    }

    fn write_block(
        &self,
        py: Python<'_>,
        dataset: usize,
        start: Vec<u64>,
        block: &Bound<'_, PyUntypedArray>,
    ) -> PyResult<()> {
        let view = View::new(block)?;
        request::run(py, move |control| {
            self.lock().write_block(SinkId(dataset), &start, &view.block()?, control)
        })
    }

    fn append(&self, py: Python<'_>, dataset: usize, block: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let view = View::new(block)?;
        request::run(py, move |control| self.lock().append(SinkId(dataset), &view.block()?, control))
    }

    fn shape<'py>(&self, py: Python<'py>, dataset: usize) -> PyResult<Bound<'py, PyTuple>> {
        let shape = request::run(py, |_| self.lock().shape(SinkId(dataset)))?;
        PyTuple::new(py, shape)
    }

    fn set_scale(&self, py: Python<'_>, dataset: &[u8], name: &[u8]) -> PyResult<()> {
        request::run(py, |_| self.lock().set_scale(dataset, name))
    }

    fn attach_scales(
        &self,
        py: Python<'_>,
        dataset: &[u8],
        rank: usize,
        scales: Vec<(usize, Vec<u8>)>,
    ) -> PyResult<()> {
        request::run(py, |_| self.lock().attach_scales(dataset, rank, &scales))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        request::run(py, |control| self.lock().finish(control))
    }

    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        request::run(py, |_| {
            self.lock().discard();
            Ok::<_, Error>(())
        })
    }
}
