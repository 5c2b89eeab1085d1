//! Scratches that wait for the next request.
//!
//! Their memory has been paid for: a small read would otherwise spend most of its time on the page faults of
//! buffers for a chunk or two, and on the tables of the decoders.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Scratch;

/// Larger ones are let go of.
const MOST_BYTES: usize = 8 << 20;

/// More than these are let go of.
const MOST: usize = 64;

static SPARES: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

fn lock() -> MutexGuard<'static, Vec<Scratch>> {
    SPARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the spares, so that a child process of `fork` finds them whole.
pub(crate) fn hold() -> impl Sized + 'static {
    lock()
}

/// A worker's scratch, which another worker may have had before.
#[derive(Default)]
pub struct Lent {
    scratch: Option<Scratch>,
}

impl Lent {
    /// The scratch.
    pub fn get(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_with(|| lock().pop().unwrap_or_default())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(scratch) = self.scratch.take().filter(|scratch| scratch.memory() <= MOST_BYTES) else {
            return;
        };
        let mut spares = lock();
        if spares.len() < MOST {
            spares.push(scratch);
        }
    }
}
