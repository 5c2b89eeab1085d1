//! From the engine's errors to Python's exceptions: the table in `docs/architecture.md`.

use filebackedarray::Error;
use pyo3::exceptions::{
    PyFileNotFoundError, PyIndexError, PyKeyError, PyKeyboardInterrupt, PyMemoryError, PyNotImplementedError,
    PyOSError, PyPermissionError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;

/// `errno.ENOENT`, the same number everywhere.
const NO_ENTRY: i32 = 2;

/// The exception for an error.
pub(crate) fn raise(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        // As Python's own `open` does, with `errno` and `filename`.
        Error::FileNotFound(path) => {
            PyFileNotFoundError::new_err((NO_ENTRY, "No such file", path.to_string_lossy().into_owned()))
        }
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            PyPermissionError::new_err(message)
        }
        Error::Io { .. }
        | Error::Unreadable { .. }
        | Error::Damaged { .. }
        | Error::Changing { .. }
        | Error::Changed { .. } => PyOSError::new_err(message),
        Error::NotFound { .. } => PyKeyError::new_err(message),
        Error::Index(_) => PyIndexError::new_err(message),
        Error::Structure(_) => PyValueError::new_err(message),
        Error::ElementType(_) => PyTypeError::new_err(message),
        Error::Filter { .. } => PyNotImplementedError::new_err(message),
        Error::OutOfMemory(_) => PyMemoryError::new_err(message),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Internal(_) => PyRuntimeError::new_err(message),
    }
}
