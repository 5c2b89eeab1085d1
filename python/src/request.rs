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
    py.detach(|| {
        let raised = Cell::new(None);
        let poll = || {
            Python::attach(|py| match py.check_signals() {
                Ok(()) => false,
                Err(exception) => {
                    raised.set(Some(exception));
                    true
                }
            })
        };
        let result = work(&Control::new(&poll));
        // The handler may raise something else than KeyboardInterrupt; and what it raises when the last
        // chunk is just done must not be lost.
        match raised.take() {
            Some(exception) => Err(exception),
            None => result.map_err(raise),
        }
    })
}
