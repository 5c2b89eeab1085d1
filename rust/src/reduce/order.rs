//! What many threads make is taken in the order of its numbers, so that it does not depend on how many they are.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Takes parts one after the other, each with `take`, whoever brings them.
pub(crate) struct InOrder<P, F> {
    state: Mutex<State<P, F>>,
    turned: Condvar,
    /// How many parts may lie and wait for the one before them; who brings more waits himself.
    room: usize,
}

struct State<P, F> {
    next: usize,
    waiting: BTreeMap<usize, P>,
    take: F,
    /// A part will never come.
    broken: bool,
}

impl<P, F: FnMut(P) -> Result<()>> InOrder<P, F> {
    pub(crate) fn new(room: usize, take: F) -> Self {
        let state = State { next: 0, waiting: BTreeMap::new(), take, broken: false };
        Self { state: Mutex::new(state), turned: Condvar::new(), room }
    }

    fn lock(&self) -> MutexGuard<'_, State<P, F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes part `number` and brings it. The parts must be begun in the order of their numbers, or those who wait would
    /// wait for ever.
    ///
    /// # Errors
    /// Those of `make` and of taking a part.
    pub(crate) fn bring(&self, number: usize, make: impl FnOnce() -> Result<P>) -> Result<()> {
        /// Tells the others when a part fails to come, even by a panic.
        struct Promise<'a, P, F: FnMut(P) -> Result<()>>(Option<&'a InOrder<P, F>>);
        impl<P, F: FnMut(P) -> Result<()>> Drop for Promise<'_, P, F> {
            fn drop(&mut self) {
                if let Some(order) = self.0 {
                    order.lock().broken = true;
                    order.turned.notify_all();
                }
            }
        }
        let mut promise = Promise(Some(self));
        let part = make()?;
        let mut state = self.lock();
        while number > state.next && state.waiting.len() >= self.room && !state.broken {
            state = self.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.broken {
            promise.0 = None;
            // Another part's error is the one to report.
            return Ok(());
        }
        state.waiting.insert(number, part);
        loop {
            let State { next, waiting, take, .. } = &mut *state;
            let Some(part) = waiting.remove(next) else { break };
            *next += 1;
            take(part)?;
        }
        promise.0 = None;
        drop(state);
        self.turned.notify_all();
        Ok(())
    }

    /// Ends it when `count` parts should have come.
    ///
    /// # Errors
    /// [`Error::Internal`] when some have not.
    pub(crate) fn finish(self, count: usize) -> Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.next == count { Ok(()) } else { Err(Error::Internal("a sweep is not complete".into())) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::{self, Control};

    #[test]
    fn parts_are_taken_in_order() {
        for room in [0, 1, 100] {
            let mut taken = Vec::new();
            let order = InOrder::new(room, |part| {
                taken.push(part);
                Ok(())
            });
            pool::for_each_in_order(&Control::default(), 200, |(): &mut (), number| {
                order.bring(number, || {
                    // Some take longer than those after them.
                    std::thread::sleep(Duration::from_micros(if number % 7 == 0 { 500 } else { 10 }));
                    Ok(number)
                })
            })
            .unwrap();
            order.finish(200).unwrap();
            assert_eq!(taken, (0..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nobody_waits_for_a_part_that_fails_to_come() {
        for panics in [false, true] {
            let mut taken = 0;
            let order = InOrder::new(0, |_: usize| {
                taken += 1;
                Ok(())
            });
            let result = pool::for_each_in_order(&Control::default(), 50, |(): &mut (), number| {
                order.bring(number, || match number {
                    20 if panics => panic!("twenty"),
                    20 => Err(Error::Index("twenty".into())),
                    _ => Ok(number),
                })
            });
            assert!(result.is_err_and(|error| error.to_string().contains("twenty")));
            assert!(order.finish(50).is_err());
            assert_eq!(taken, 20);
        }
    }
}
