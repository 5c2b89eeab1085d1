//! The states of files that one operation reads, for Python to bind to its threads, to send and to keep.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use filebackedarray::{Content, Identity, Stamp};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::raise;

const NANOSECONDS: i128 = 1_000_000_000;

/// Size in bytes and time of modification in nanoseconds.
type Portable = Option<(u64, i128)>;

fn portable(content: Content) -> Portable {
    content.map(|(length, (seconds, nanoseconds))| {
        (length, i128::from(seconds) * NANOSECONDS + i128::from(nanoseconds))
    })
}

fn content(portable: Portable) -> PyResult<Content> {
    let Some((length, time)) = portable else { return Ok(None) };
    let seconds = i64::try_from(time.div_euclid(NANOSECONDS))
        .map_err(|_| PyValueError::new_err(format!("{time} is no time in nanoseconds")))?;
    let stamp: Stamp = (seconds, time.rem_euclid(NANOSECONDS) as i64);
    Ok(Some((length, stamp)))
}

/// The states of files that one operation has read.
#[pyclass(frozen)]
pub(crate) struct Snapshot(Arc<filebackedarray::Snapshot>);

#[pymethods]
impl Snapshot {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Paths with sizes and times of modification, `None` for a file that was looked for and not there.
    fn states(&self) -> Vec<(OsString, Portable)> {
        let states = self.0.contents().into_iter();
        states.map(|(path, content)| (path.into_os_string(), portable(content))).collect()
    }

    /// Notes states that later requests have to find.
    fn expect(&self, states: Vec<(PathBuf, Portable)>) -> PyResult<()> {
        let states: PyResult<Vec<_>> =
            states.into_iter().map(|(path, portable)| Ok((path, content(portable)?))).collect();
        self.0.expect(states?).map_err(raise)
    }

    /// Fails if a request found a file in another state than those before it, also if its error was dealt with.
    fn verify(&self) -> PyResult<()> {
        self.0.verify().map_err(raise)
    }

    /// The state in which a file was found, as numbers that mean something on this machine.
    fn identity(&self, path: PathBuf) -> Option<[i128; 7]> {
        self.0.identity(&path).map(Identity::to_numbers)
    }

    /// Notes the state in which another process of this machine found a file.
    fn note(&self, path: PathBuf, identity: [i128; 7]) -> PyResult<()> {
        let identity = Identity::from_numbers(identity)
            .ok_or_else(|| PyValueError::new_err("these numbers are no identity of a file"))?;
        self.0.note(&path, Some(identity)).map_err(raise)
    }
}

/// Binds a snapshot to the calling thread; the one before.
#[pyfunction]
#[pyo3(signature = (snapshot))]
pub(crate) fn bind_snapshot(snapshot: Option<&Bound<'_, Snapshot>>) -> Option<Snapshot> {
    let snapshot = snapshot.map(|snapshot| Arc::clone(&snapshot.get().0));
    filebackedarray::bind_snapshot(snapshot).map(Snapshot)
}

/// The snapshot that is bound to the calling thread.
#[pyfunction]
pub(crate) fn current_snapshot() -> Option<Snapshot> {
    filebackedarray::current_snapshot().map(Snapshot)
}
