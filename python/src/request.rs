//! Requests: the engine works without the GIL, and asks now and then whether Ctrl-C was pressed.

use std::cell::Cell;

use filebackedarray::product::Progress;
use filebackedarray::{Control, Result};
use pyo3::prelude::*;

use crate::errors::raise;

/// Runs `work` without the GIL; a signal's exception ends it.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Control<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    run_with_progress(py, None, |control, _| work(control))
}

/// The same for what tells how much of it is done: `callback` is called with it, and its exception ends it too.
pub(crate) fn run_with_progress<T: Send>(
    py: Python<'_>,
    callback: Option<Py<PyAny>>,
    work: impl FnOnce(&Control<'_>, Progress<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| {
        let raised = Cell::new(None);
        let goes_on = |answer: PyResult<()>| match answer {
            Ok(()) => true,
            Err(exception) => {
                raised.set(Some(exception));
                false
            }
        };
        let poll = || Python::attach(|py| !goes_on(py.check_signals()));
        let progress = |done, total| match &callback {
            Some(callback) => Python::attach(|py| goes_on(callback.call1(py, (done, total)).map(drop))),
            None => true,
        };
        let result = work(&Control::new(&poll), &progress);
        // The handler may raise something else than KeyboardInterrupt; and what it raises when the last
        // chunk is just done must not be lost.
        match raised.take() {
            Some(exception) => Err(exception),
            None => result.map_err(raise),
        }
    })
}
