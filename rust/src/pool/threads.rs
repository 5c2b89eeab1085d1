//! How many threads there are, and to how many one thread's requests are limited.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::queue;
use crate::error::{Error, Result};

/// Maximum number of threads; more are a mistake, and would take a long time to start.
const MOST_THREADS: usize = 1024;

/// The environment variable that sets the number of threads.
pub const THREADS_VARIABLE: &str = "FILEBACKEDARRAY_NUM_THREADS";

/// How many threads there are; 0 before anybody has asked.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many threads this thread's requests may take, where that is fewer than there are.
    static LIMIT: Cell<Option<NonZero<usize>>> = const { Cell::new(None) };
}

/// The limit of the calling thread.
pub(super) fn limit() -> Option<NonZero<usize>> {
    LIMIT.get()
}

/// Limits how many threads the requests of the calling thread take, of which one is itself; the limit before.
/// Those of other threads are not affected. `None` lifts the limit.
///
/// # Errors
/// [`Error::Structure`] for 0, or more than 1024.
pub fn limit_threads(threads: Option<usize>) -> Result<Option<usize>> {
    let threads = threads.map(checked).transpose()?;
    Ok(LIMIT.replace(threads).map(NonZero::get))
}

/// A limit for as long as this lives.
pub(super) struct Limit(Option<NonZero<usize>>);

impl Limit {
    pub(super) fn set(limit: Option<NonZero<usize>>) -> Self {
        Self(LIMIT.replace(limit))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        LIMIT.set(self.0);
    }
}

/// Number of threads that decode for the calling thread: all there are, or to what it is limited.
///
/// # Errors
/// [`Error::Structure`] when the environment sets it to something that is not a number of threads.
pub fn num_threads() -> Result<usize> {
    let threads = all_threads()?;
    Ok(limit().map_or(threads, |limit| threads.min(limit.get())))
}

/// Sets the number of threads that decode; the number before.
///
/// # Errors
/// [`Error::Structure`] for 0, or more than 1024; also when the number before, which the environment set, makes no sense.
pub fn set_num_threads(threads: usize) -> Result<usize> {
    let threads = checked(threads)?;
    let before = all_threads();
    THREADS.store(threads.get(), Ordering::Relaxed);
    queue::resize();
    before
}

/// Number of threads that there are: as was set, or as the environment says, or else all cores that this process may
/// use (its affinity and the limits of its control group are respected).
fn all_threads() -> Result<usize> {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let found = from_environment()?;
            // Somebody else may have set it meanwhile.
            match THREADS.compare_exchange(0, found, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => Ok(found),
                Err(set) => Ok(set),
            }
        }
        threads => Ok(threads),
    }
}

/// Number of threads that there are, for the queue: nobody is in it before the number is known.
pub(super) fn known() -> usize {
    THREADS.load(Ordering::Relaxed).max(1)
}

fn from_environment() -> Result<usize> {
    let Ok(text) = std::env::var(THREADS_VARIABLE) else {
        return Ok(std::thread::available_parallelism().map_or(1, NonZero::get));
    };
    text.trim().parse().ok().filter(|threads| (1..=MOST_THREADS).contains(threads)).ok_or_else(|| {
        Error::Structure(format!(
            "{THREADS_VARIABLE} should be a number between 1 and {MOST_THREADS}, not '{text}'"
        ))
    })
}

/// A number of threads that one may ask for.
fn checked(threads: usize) -> Result<NonZero<usize>> {
    NonZero::new(threads).filter(|threads| threads.get() <= MOST_THREADS).ok_or_else(|| {
        Error::Structure(format!(
            "the number of threads should be between 1 and {MOST_THREADS}, not {threads}"
        ))
    })
}
