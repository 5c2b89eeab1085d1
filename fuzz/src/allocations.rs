//! Counts what is allocated, and refuses pieces that are too large: a length that a file claims must not become memory
//! before it is checked, nor end the process where there is none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, which remembers the largest piece that it was asked for.
pub struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// Larger pieces than this are refused.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Remembers the length of a piece; whether it may be had.
fn may_have(len: usize) -> bool {
    LARGEST.fetch_max(len, Ordering::Relaxed);
    len <= MOST.load(Ordering::Relaxed)
}

/// From now on there is no memory for a piece of more than so many bytes.
#[allow(dead_code)] // Not by the fuzzer.
pub fn refuse_above(bytes: usize) {
    MOST.store(bytes, Ordering::Relaxed);
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_have(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !may_have(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !may_have(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a target, which may not allocate more at once than it says.
pub fn run_bounded(name: &str, data: &[u8]) {
    LARGEST.store(0, Ordering::Relaxed);
    let most = filebackedarray::fuzzing::run(name, data);
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= most, "{name}: {largest} bytes at once, where {most} should do");
}
