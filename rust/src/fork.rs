//! `fork`: a child process gets a copy of this one's memory, but only of the thread that forked.
//!
//! A lock that another thread held at that moment would stay locked in the child for ever. So whoever forks
//! calls [`before`] first, which waits until nobody holds any, and [`after`] in both processes.

use std::any::Any;
use std::cell::RefCell;

use crate::{cache, filters, hdf5, pool};

thread_local! {
    /// The thread that forks is the same in parent and child.
    static HELD: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Takes all locks of this crate.
pub fn before() {
    // What is set once is set by now: nobody is in the midst of it.
    hdf5::provide(filters::undo);
    HELD.with_borrow_mut(|held| {
        held.push(Box::new(hdf5::hold()));
        held.push(Box::new(cache::hold()));
        held.push(Box::new(filters::hold()));
        held.push(Box::new(pool::hold()));
    });
}

/// Lets go of them.
pub fn after() {
    HELD.with_borrow_mut(Vec::clear);
}
