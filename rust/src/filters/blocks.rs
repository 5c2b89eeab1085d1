//! Chunks that were compressed in blocks: one after the other, or those of a long chunk by several threads at once.

use std::sync::{Mutex, PoisonError};

use super::{Codecs, Complaint};
use crate::pool;

/// Minimum number of bytes that several threads decode together: those of less are decoded before another thread has woken
/// up.
#[cfg(not(test))]
const SHARED: usize = 4 << 20;
#[cfg(test)]
const SHARED: usize = 1 << 10;

/// Number of bytes that a thread decodes at a time, of whole blocks. It bounds the number of parts where a file says that
/// its blocks have a byte each.
#[cfg(not(test))]
const PART: usize = 256 << 10;
#[cfg(test)]
const PART: usize = 96;

/// Where the blocks that are left stand in the input.
pub(super) trait Blocks: Clone + Send {
    /// Goes past the next block, which decodes to `len` bytes.
    fn skip(&mut self, len: usize) -> Result<(), Complaint>;

    /// Decodes the next block into `target`, which it fills, and goes past it.
    fn decode(&mut self, target: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint>;
}

/// Decodes `blocks` into `output`, each into `block` bytes but the last, which has what is left.
///
/// The blocks of a long chunk are decoded by all threads that have nothing else to do. The result is that of decoding one
/// after the other.
///
/// # Errors
/// The complaint about the first block that cannot be decoded; one that nobody gets to see where the request is stopped.
pub(super) fn decode<B: Blocks>(
    mut blocks: B,
    output: &mut [u8],
    block: usize,
    codecs: &mut Codecs,
) -> Result<(), Complaint> {
    let block = block.max(1);
    let part = (PART / block).max(1).saturating_mul(block);
    if output.len() < SHARED || output.len() <= part || codecs.alone || pool::num_threads().unwrap_or(1) == 1
    {
        return in_turn(&mut blocks, output, block, codecs);
    }
    let mut parts = Vec::with_capacity(output.len().div_ceil(part));
    for target in output.chunks_mut(part) {
        let first = blocks.clone();
        let mut lens = target.chunks(block).map(<[u8]>::len);
        let found = lens.try_for_each(|len| blocks.skip(len));
        parts.push(Mutex::new(Some((first, target))));
        if found.is_err() {
            // The last part: it comes to the same complaint, unless a block before has another.
            break;
        }
    }
    // A thread has its own decoders, and leaves them to the next one that comes.
    let idle = Mutex::new(vec![std::mem::take(codecs)]);
    let failure: Mutex<Option<(usize, Complaint)>> = Mutex::new(None);
    pool::share(parts.len(), &|number| {
        if pool::is_stopped() {
            *lock(&failure) = Some((0, "its decoding was stopped".into()));
        }
        let is_in_vain = lock(&failure).as_ref().is_some_and(|&(lowest, _)| lowest <= number);
        let Some((mut blocks, target)) = lock(&parts[number]).take().filter(|_| !is_in_vain) else { return };
        let mut codecs = lock(&idle).pop().unwrap_or_default();
        let outcome = in_turn(&mut blocks, target, block, &mut codecs);
        lock(&idle).push(codecs);
        if let Err(complaint) = outcome {
            let mut failure = lock(&failure);
            if failure.as_ref().is_none_or(|&(lowest, _)| number < lowest) {
                *failure = Some((number, complaint));
            }
        }
    });
    *codecs = lock(&idle).pop().unwrap_or_default();
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some((_, complaint)) => Err(complaint),
    }
}

fn in_turn<B: Blocks>(
    blocks: &mut B,
    output: &mut [u8],
    block: usize,
    codecs: &mut Codecs,
) -> Result<(), Complaint> {
    output.chunks_mut(block).try_for_each(|target| blocks.decode(target, codecs))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::error::Error;
    use crate::pool::Control;

    /// Blocks behind their lengths in a byte, each a byte to repeat; 0xff is none.
    #[derive(Clone)]
    struct Runs<'i>(&'i [u8]);

    impl Blocks for Runs<'_> {
        fn skip(&mut self, _len: usize) -> Result<(), Complaint> {
            self.0 = self.0.get(2..).ok_or("cut")?;
            Ok(())
        }

        fn decode(&mut self, target: &mut [u8], _: &mut Codecs) -> Result<(), Complaint> {
            let &[len, value, ref rest @ ..] = self.0 else { return Err("cut".into()) };
            self.0 = rest;
            if value == 0xff {
                return Err(format!("no value at {}", rest.len()).into());
            }
            if usize::from(len) != target.len() {
                return Err(format!("{len} instead of {}", target.len()).into());
            }
            target.fill(value);
            Ok(())
        }
    }

    /// What decoding comes to, on so many threads and by the slow twin.
    fn both(input: &[u8], len: usize, block: usize, threads: usize) -> [Result<Vec<u8>, Complaint>; 2] {
        let before = pool::limit_threads(Some(threads)).unwrap();
        let mut output = vec![0; len];
        let shared = decode(Runs(input), &mut output, block, &mut Codecs::default()).map(|()| output);
        pool::limit_threads(before).unwrap();
        let mut output = vec![0; len];
        let alone = in_turn(&mut Runs(input), &mut output, block, &mut Codecs::default()).map(|()| output);
        [shared, alone]
    }

    #[test]
    fn a_stopped_request_decodes_no_more_of_a_chunk() {
        /// Blocks that take a millisecond each.
        #[derive(Clone)]
        struct Slow<'c>(&'c AtomicUsize);

        impl Blocks for Slow<'_> {
            fn skip(&mut self, _len: usize) -> Result<(), Complaint> {
                Ok(())
            }

            fn decode(&mut self, _: &mut [u8], _: &mut Codecs) -> Result<(), Complaint> {
                self.0.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
                Ok(())
            }
        }

        for jobs in [1, 2] {
            let (begun, started) = (AtomicUsize::new(0), Instant::now());
            let poll = || started.elapsed() > Duration::from_millis(30);
            let control = Control::new(&poll);
            let result = control.watch(|| {
                pool::for_each(&control, jobs, |codecs: &mut Codecs, _| {
                    let mut output = vec![0; 20_000 * PART];
                    decode(Slow(&begun), &mut output, PART, codecs)
                        .map_err(|_| Error::Index("a block".into()))
                })
            });
            assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
            assert!((1..10_000).contains(&begun.load(Ordering::Relaxed)), "{begun:?} blocks");
        }
    }

    #[test]
    fn threads_decode_what_one_decodes() {
        for block in [1, 5, 32, 95, 96, 97, 200] {
            for len in [0, 1, SHARED - 1, SHARED, SHARED + 1, 3 * SHARED + 17] {
                let lens = (0..len).step_by(block).map(|start| block.min(len - start) as u8);
                let good: Vec<u8> = lens.enumerate().flat_map(|(i, len)| [len, (i % 251) as u8]).collect();
                let mut inputs = vec![good.clone()];
                // Cut off in the middle, and damaged in one, two, and almost all blocks.
                for at in [0, good.len() / 3, good.len() / 2 + 1, good.len().saturating_sub(1)] {
                    inputs.push(good[..at.min(good.len())].to_vec());
                    for every in [usize::MAX, (good.len() / 4) | 1, 3] {
                        let mut bad = good.clone();
                        bad.iter_mut().skip(at | 1).step_by((every & !1) | 2).for_each(|value| *value = 0xff);
                        inputs.push(bad.clone());
                        bad.truncate(good.len() - good.len() / 5);
                        inputs.push(bad);
                    }
                }
                for input in &inputs {
                    for threads in [1, 2, 5] {
                        let [shared, alone] = both(input, len, block, threads);
                        assert_eq!(shared, alone, "{len} bytes in blocks of {block}, {threads} threads");
                    }
                }
            }
        }
    }
}
