//! Decoding all of a dataset for nothing but its faults.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::memory;
use crate::plan::Plan;
use crate::pool::{self, Control};
use crate::reader::{Request, Worker};
use crate::selection::Axis;

/// What became of the chunks of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many were read: those that were ever written, or blocks of a dataset that has no chunks.
    pub chunks: u64,
    /// Where each damaged one begins, and what is the matter with it; in the order of the grid.
    pub damaged: Vec<(Vec<u64>, String)>,
}

/// Reads and decodes each chunk of a dataset, on all threads, and goes on after a damaged one. Checksums are verified,
/// where the file has any. What earlier reads have left decoded in the cache is not believed.
///
/// Of what is not in chunks, and of what libhdf5 reads from elsewhere, the first fault ends it: all that follows has the
/// same.
///
/// # Errors
/// As [`super::read`], of what is not about a chunk's bytes: [`Error::Filter`] when nothing decodes it.
pub fn check(path: &Path, name: &[u8], control: &Control<'_>) -> Result<Checked> {
    Request::run(path, |request| {
        let reader = request.reader(name)?.uncached();
        let shape = reader.grid().shape().iter();
        #[allow(clippy::disallowed_methods, reason = "as many as there are axes")]
        let selection: Vec<Axis> = shape.map(|&extent| Axis::all(extent)).collect::<Result<_>>()?;
        let plan = Plan::new(reader.grid().clone(), &selection).map_err(|error| error.at(reader.place()))?;
        let written = reader.written()?;
        let jobs = written.as_ref().map_or(plan.jobs(), Vec::len);
        let damaged = Mutex::new(Vec::new());
        let work = control.work();
        work.expect(jobs as u64);
        let result = pool::for_each(control, jobs, |worker: &mut Worker, number| {
            let number = match &written {
                Some(written) => written[number],
                None => number,
            };
            let job = plan.job(number);
            if let Err(error) = reader.attempt(&job, worker) {
                let Some(mut complaint) = complaint(&error) else { return Err(error) };
                if reader.is_virtual() {
                    // With the source that it is about.
                    complaint = error.to_string();
                }
                let mut damaged = damaged.lock().unwrap_or_else(PoisonError::into_inner);
                memory::push(&mut damaged, (job.offset.into_vec(), complaint))?;
                if written.is_none() {
                    return Err(error);
                }
            }
            work.advance(1);
            Ok(())
        });
        let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort_unstable();
        match result {
            // Other threads may have met further faults before they stopped.
            Err(error) if written.is_none() && complaint(&error).is_some() => damaged.truncate(1),
            result => result?,
        }
        Ok(Checked { chunks: jobs as u64, damaged })
    })
}

/// What the matter is with a chunk; `None` for an error that is not the chunk's fault.
fn complaint(error: &Error) -> Option<String> {
    match error {
        Error::Damaged { message, .. } | Error::Unreadable { message, .. } | Error::OutOfMemory(message) => {
            Some(message.clone())
        }
        Error::Io { source, .. } => Some(source.to_string()),
        _ => None,
    }
}
