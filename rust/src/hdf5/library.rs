//! The right to call libhdf5, which one thread has at a time.
//!
//! A thread that waits for it asks every 20 ms whether its request was stopped, and has its turn before those that come
//! later: neither a long call of another thread nor many short ones make it wait any longer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdf5_metno_sys::h5::{H5dont_atexit, H5open};
use hdf5_metno_sys::h5e::{H5E_DEFAULT, H5Eset_auto2};
use hdf5_metno_sys::h5i::hid_t;

use super::access::Opening;
use super::id::Close;
use crate::error::{Error, Result};
use crate::pool;

/// How often a thread that waits asks whether to go on.
const POLL: Duration = Duration::from_millis(20);

/// The right to call libhdf5.
pub(crate) struct Library {
    // Before the turn, since fields are dropped in their order.
    _opening: Opening,
    _turn: Turn,
}

/// The turn of this thread, which the next one has when this is dropped.
struct Turn;

/// Who may call libhdf5.
struct State {
    is_set_up: bool,
    is_taken: bool,
    waiting: usize,
    /// Whoever had the right has left it to one of those that wait.
    is_left: bool,
    /// What nobody needs any more, to be closed by whoever has the right.
    unneeded: Vec<(hid_t, Close)>,
}

static STATE: Mutex<State> =
    Mutex::new(State { is_set_up: false, is_taken: false, waiting: 0, is_left: false, unneeded: Vec::new() });

/// One of those that wait may go on.
static LEFT: Condvar = Condvar::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    /// Waits for the right, and sets the library up when it is first taken.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the request that this thread works for was stopped.
    pub(crate) fn lock() -> Result<Self> {
        let mut state = turn(state(), pool::is_stopped)?;
        if !state.is_set_up {
            // SAFETY: nobody else calls libhdf5. The library must not clean up when the process ends, while other
            // threads may still read; and it must not print its errors, which are returned instead.
            unsafe {
                H5dont_atexit();
                H5open();
                H5Eset_auto2(H5E_DEFAULT, None, std::ptr::null_mut());
            }
            state.is_set_up = true;
        }
        Ok(Self { _opening: Opening::nothing(), _turn: Turn })
    }

    /// Closes identifiers, in this order: now, or when whoever calls libhdf5 has done so. Never waits.
    pub(super) fn close(ids: impl IntoIterator<Item = (hid_t, Close)>) {
        let mut state = state();
        state.unneeded.extend(ids);
        if !state.is_taken {
            state.is_taken = true;
            drop(state);
            drop(Turn);
        }
    }
}

/// Waits until this thread has the right, behind those that wait already; unless `give_up` says so meanwhile.
fn turn(
    mut state: MutexGuard<'static, State>,
    give_up: impl Fn() -> bool,
) -> Result<MutexGuard<'static, State>> {
    if state.is_taken {
        state.waiting += 1;
        while !state.is_left {
            let (waited, timeout) = LEFT.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if state.is_left || !timeout.timed_out() {
                continue;
            }
            // Asking may run anything.
            drop(state);
            let gives_up = give_up();
            state = self::state();
            if gives_up {
                state.waiting -= 1;
                if state.is_left {
                    pass_on(&mut state);
                }
                return Err(Error::Interrupted);
            }
        }
        state.is_left = false;
        state.waiting -= 1;
    }
    state.is_taken = true;
    Ok(state)
}

/// Leaves the right to one of those that wait, or to whoever comes first.
fn pass_on(state: &mut State) {
    state.is_left = state.waiting > 0;
    state.is_taken = state.is_left;
    if state.is_left {
        LEFT.notify_one();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = state();
        while !state.unneeded.is_empty() {
            let unneeded = std::mem::take(&mut state.unneeded);
            drop(state);
            for (id, close) in unneeded {
                // SAFETY: this thread still has the right; whoever opened the identifier has left it to be closed here.
                unsafe { close(id) };
            }
            state = self::state();
        }
        pass_on(&mut state);
    }
}

/// The right, held for `fork`: no other thread is inside of libhdf5, nor in the midst of taking or leaving the right.
struct Held {
    state: MutexGuard<'static, State>,
    process: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // Those that waited are the parent's.
            self.state.waiting = 0;
        }
        pass_on(&mut self.state);
    }
}

/// Holds libhdf5 for `fork`.
pub(crate) fn hold() -> impl Sized + 'static {
    loop {
        // Nothing stops this.
        if let Ok(state) = turn(state(), || false) {
            return Held { state, process: std::process::id() };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::pool::Control;

    #[test]
    fn one_thread_has_the_right_at_a_time_and_all_have_a_turn() {
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // Takes it again and again, with hardly a moment between.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _library = Library::lock().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(1));
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
            let others: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            let _library = Library::lock().unwrap();
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            turns.fetch_add(1, Ordering::Relaxed);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            for other in others {
                other.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(turns.into_inner(), 60);
    }

    #[test]
    fn a_thread_that_waits_can_be_stopped() {
        let library = Library::lock().unwrap();
        let started = Instant::now();
        thread::spawn(|| {
            let interrupted = Control::new(&|| true).watch(Library::lock);
            assert!(matches!(interrupted, Err(Error::Interrupted)));
        })
        .join()
        .unwrap();
        assert!(started.elapsed() < Duration::from_millis(200));
        drop(library);
        // It has left nothing behind.
        drop(Library::lock().unwrap());
        drop(hold());
        drop(Library::lock().unwrap());
    }
}
