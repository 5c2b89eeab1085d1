//! What is kept from one request to the next, each within a budget of bytes: facts about files, and decoded
//! chunks of which a request wanted only a part.

mod chunks;
mod facts;

pub use chunks::set_budget;
pub(crate) use chunks::{Chunks, Kept};
pub(crate) use facts::{Key, dataset, has_index, index, may_look_up, number, pointers};

/// Holds the caches, so that a child process of `fork` finds them whole.
pub(crate) fn hold() -> impl Sized + 'static {
    (facts::hold(), chunks::hold())
}
