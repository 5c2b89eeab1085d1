//! Requests: the engine works without the GIL, and asks now and then whether Ctrl-C was pressed.

use std::cell::Cell;

use filebackedarray::{Control, Result};
use pyo3::prelude::*;

use crate::errors::raise;

/// Runs `work` without the GIL; a signal's exception ends it.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Control<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    run_reporting(py, None, work)
}

/// The same, and calls `progress` now and then with how much is done and how much there is to do; what it raises ends the
/// request.
pub(crate) fn run_reporting<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Control<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| {
        let raised = Cell::new(None);
        let report = |done: u64, expected: u64| {
            if let Some(progress) = &progress {
                Python::attach(|py| {
                    if let Err(exception) = progress.call1(py, (done, expected)) {
                        raised.set(Some(exception));
                    }
                });
            }
        };
        let poll = || {
            let before = raised.take();
            if before.is_some() {
                raised.set(before);
                return true;
            }
            Python::attach(|py| match py.check_signals() {
                Ok(()) => false,
                Err(exception) => {
                    raised.set(Some(exception));
                    true
                }
            })
        };
        let control = Control::with_report(&poll, &report);
        let result = work(&control);
        if result.is_ok() {
            control.report();
        }
        // The handler may raise something else than KeyboardInterrupt; and what it raises when the last
        // chunk is just done must not be lost.
        match raised.take() {
            Some(exception) => Err(exception),
            None => result.map_err(raise),
        }
    })
}
