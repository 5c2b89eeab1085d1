//! From the engine's errors to Python's exceptions: the table in `docs/architecture.md`.

use filebackedarray::Error;
use pyo3::exceptions::{
    PyIndexError, PyKeyError, PyKeyboardInterrupt, PyMemoryError, PyNotImplementedError, PyOSError,
    PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;

/// The exception for an error.
pub(crate) fn raise(error: Error) -> PyErr {
    // As Python's own `open` does, with `errno` and `filename`: Python chooses the class by the first.
    if let Some((errno, text, path)) = error.system() {
        return PyOSError::new_err((errno, text, path.as_os_str().to_owned()));
    }
    let message = error.to_string();
    match error {
        Error::FileNotFound(_)
        | Error::Io { .. }
        | Error::IsDirectory { .. }
        | Error::Locked { .. }
        | Error::Unreadable { .. }
        | Error::Damaged { .. }
        | Error::Writing { .. }
        | Error::Unwritable { .. }
        | Error::Exists { .. }
        | Error::Occupied { .. }
        | Error::Changing { .. }
        | Error::Changed { .. } => PyOSError::new_err(message),
        Error::NotFound { .. } => PyKeyError::new_err(message),
        Error::Index(_) => PyIndexError::new_err(message),
        Error::Structure(_) => PyValueError::new_err(message),
        Error::ElementType(_) => PyTypeError::new_err(message),
        Error::Filter { .. } => PyNotImplementedError::new_err(message),
        // Out of memory, mostly; or a signal's exception, which must not be lost.
        Error::Caller(raised) => raised
            .downcast::<PyErr>()
            .map_or_else(|_| PyRuntimeError::new_err(message), |exception| *exception),
        Error::OutOfMemory(_) => PyMemoryError::new_err(message),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Internal(_) => PyRuntimeError::new_err(message),
    }
}
