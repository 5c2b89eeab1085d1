//! Requests: the engine works without the GIL, and asks now and then whether Ctrl-C was pressed.

use std::cell::RefCell;

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
        let raised = RefCell::new(None);
        let report = |done: u64, expected: u64| {
            if let Some(progress) = &progress {
                Python::attach(|py| {
                    if let Err(exception) = progress.call1(py, (done, expected)) {
                        raised.replace(Some(exception));
                    }
                });
            }
        };
        let poll = || {
            if raised.borrow().is_none() {
                Python::attach(|py| raised.replace(py.check_signals().err()));
            }
            raised.borrow().is_some()
        };
        let control = Control::with_report(&poll, &report);
        let result = control.watch(|| work(&control));
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
