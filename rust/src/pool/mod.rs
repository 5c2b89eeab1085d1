//! Worker threads: how many there are, how a request's jobs are handed to them, and how it is stopped.

// The one place with unsafe code: jobs that are borrowed from their caller's stack.
#[allow(unsafe_code)]
mod queue;
mod threads;

use std::any::Any;
use std::cell::Cell;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use queue::{hold, is_stopped};
pub use threads::{THREADS_VARIABLE, limit_threads, num_threads, set_num_threads};

use crate::error::{Error, Result};
use queue::Failure;
use threads::{Limit, limit};

/// How often a caller asks whether to stop.
const POLL: Duration = Duration::from_millis(20);

/// How long a helper works for one request before it looks whether another one needs it more.
const SLICE: Duration = Duration::from_millis(2);

/// A request's means to be stopped.
///
/// The closure runs on the thread that made the request, every few milliseconds while it waits, and
/// never while any lock of this crate is held. When it returns true the request ends with
/// [`Error::Interrupted`] as soon as the chunks at hand are done.
pub struct Control<'a> {
    poll: &'a dyn Fn() -> bool,
    report: Option<&'a dyn Fn(u64, u64)>,
    stop: Apart<AtomicBool>,
    work: Apart<Work>,
    /// When it was last asked: a request may be a long row of short pieces of work, none of which takes as long as it is
    /// from one time to the next.
    asked: Cell<Instant>,
}

/// A value in cache lines of its own: threads that change it do not slow down those that read what stands beside it.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// How much of a request is done.
#[derive(Default)]
pub(crate) struct Work {
    done: AtomicU64,
    expected: AtomicU64,
}

impl Work {
    /// There is so much to do, of which nothing is done yet.
    pub(crate) fn expect(&self, work: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.expected.store(work, Ordering::Relaxed);
    }

    /// So much more of it is done.
    pub(crate) fn advance(&self, work: u64) {
        self.done.fetch_add(work, Ordering::Relaxed);
    }
}

impl<'a> Control<'a> {
    /// Stops when `poll` returns true.
    pub fn new(poll: &'a dyn Fn() -> bool) -> Self {
        Self {
            poll,
            report: None,
            stop: Apart::default(),
            work: Apart::default(),
            asked: Cell::new(Instant::now()),
        }
    }

    /// The same, and calls `report` before it asks, with how much of the work is done and how much there is.
    pub fn with_report(poll: &'a dyn Fn() -> bool, report: &'a dyn Fn(u64, u64)) -> Self {
        Self { report: Some(report), ..Self::new(poll) }
    }

    /// How much is done, for the report.
    pub(crate) fn work(&self) -> &Work {
        &self.work.0
    }

    /// Reports how much is done.
    pub fn report(&self) {
        if let Some(report) = self.report {
            let Apart(Work { done, expected }) = &self.work;
            report(done.load(Ordering::Relaxed), expected.load(Ordering::Relaxed));
        }
    }

    /// Calls `work`, whose waits for libhdf5, on this thread and on those that help it, end when this is stopped.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        let is_stopped = || {
            self.ask_now_and_then();
            self.stop.0.load(Ordering::Relaxed)
        };
        queue::with_stop(&is_stopped, work)
    }

    /// Asks, unless it did so less than 20 ms ago.
    fn ask_now_and_then(&self) {
        if self.asked.get().elapsed() >= POLL {
            self.ask();
        }
    }

    fn ask(&self) {
        self.asked.set(Instant::now());
        self.report();
        if (self.poll)() {
            self.stop.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Default for Control<'_> {
    /// Never stops.
    fn default() -> Self {
        Self::new(&|| false)
    }
}

/// The part of a [`Control`] that workers see.
struct Progress<'a> {
    stop: &'a AtomicBool,
    /// The jobs that nobody has taken, cut into as many stretches as there are workers. Neighbouring jobs
    /// write to neighbouring memory: two workers that took them in turn would wait for each other's page
    /// faults.
    stretches: Vec<Apart<Stretch>>,
    failed: AtomicBool,
    /// The failure of the lowest job: which error is reported should not depend on timing more than it must.
    failure: Mutex<Option<(usize, Error)>>,
}

/// Consecutive jobs, of which the next is taken first.
struct Stretch {
    next: AtomicUsize,
    end: usize,
}

impl<'a> Progress<'a> {
    fn new(stop: &'a AtomicBool, jobs: usize, stretches: usize) -> Self {
        let cut = |number: usize| (jobs as u128 * number as u128 / stretches as u128) as usize;
        let stretch = |number| Apart(Stretch { next: AtomicUsize::new(cut(number)), end: cut(number + 1) });
        Self {
            stop,
            stretches: (0..stretches).map(stretch).collect(),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    fn fail(&self, job: usize, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_ref().is_none_or(|&(lowest, _)| job < lowest) {
            *failure = Some((job, error));
        }
        self.failed.store(true, Ordering::Relaxed);
    }

    /// A worker's next job: of its own stretch, and when that is done, of another's.
    fn take(&self, worker: usize) -> Option<usize> {
        if self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let (others, own) = self.stretches.split_at(worker.min(self.stretches.len() - 1));
        own.iter().chain(others).find_map(|Apart(stretch)| {
            let one_more = |next| (next < stretch.end).then_some(next + 1);
            stretch.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()
        })
    }

    /// Does one job, a panic of which is an error like others.
    fn run<S>(&self, job: usize, scratch: &mut S, work: &impl Fn(&mut S, usize) -> Result<()>) {
        match catch_unwind(AssertUnwindSafe(|| work(scratch, job))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(job, error),
            Err(panic) => self.fail(job, panicked(&*panic)),
        }
    }
}

/// The error that a panic is.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
    Error::Internal(text.to_owned())
}

/// Says now and then that some time has passed.
struct Ticker {
    every: Duration,
    last: Instant,
}

impl Ticker {
    fn new(every: Duration) -> Self {
        Self { every, last: Instant::now() }
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now.duration_since(self.last) >= self.every;
        if due {
            self.last = now;
        }
        due
    }
}

/// Calls `work` for each number below `jobs`, on the calling thread and on others that have nothing else to do, each with a
/// `Scratch` of its own.
///
/// # Errors
/// The error of a job (of the lowest that failed), or [`Error::Interrupted`].
pub fn for_each<Scratch: Default>(
    control: &Control<'_>,
    jobs: usize,
    work: impl Fn(&mut Scratch, usize) -> Result<()> + Sync,
) -> Result<()> {
    for_each_with(num_threads()?, control, jobs, work)
}

/// Does what [`for_each`] does, on so many threads at most. One is the caller's own, which is the fastest for work that is
/// done before another one would have woken up.
///
/// # Errors
/// As [`for_each`].
pub fn for_each_with<Scratch: Default>(
    threads: usize,
    control: &Control<'_>,
    jobs: usize,
    work: impl Fn(&mut Scratch, usize) -> Result<()> + Sync,
) -> Result<()> {
    let workers = threads.min(num_threads()?).min(jobs).max(1);
    run(&Progress::new(&control.stop.0, jobs, workers), workers, control, &work)
}

/// Does what [`for_each`] does, but begins no job before all lower ones were begun: a job may wait for them.
///
/// # Errors
/// As [`for_each`].
pub fn for_each_in_order<Scratch: Default>(
    control: &Control<'_>,
    jobs: usize,
    work: impl Fn(&mut Scratch, usize) -> Result<()> + Sync,
) -> Result<()> {
    let workers = num_threads()?.min(jobs).max(1);
    run(&Progress::new(&control.stop.0, jobs, 1), workers, control, &work)
}

/// Does all jobs: the caller, and as many helpers as there are workers beside it.
fn run<Scratch: Default>(
    progress: &Progress<'_>,
    workers: usize,
    control: &Control<'_>,
    work: &(impl Fn(&mut Scratch, usize) -> Result<()> + Sync),
) -> Result<()> {
    // What is limited is limited to these workers: they have no others help them.
    let share = limit().map(|limit| NonZero::new(limit.get() / workers).unwrap_or(NonZero::<usize>::MIN));
    let work_here = || {
        let _limit = Limit::set(share);
        let mut scratch = Scratch::default();
        control.ask_now_and_then();
        while let Some(job) = progress.take(0) {
            progress.run(job, &mut scratch, work);
            control.ask_now_and_then();
        }
    };
    let mut outcome = Ok(());
    if workers == 1 {
        work_here();
    } else {
        // A helper that comes later goes on with what one before it has left.
        let left: Mutex<Vec<usize>> = Mutex::new((1..workers).rev().collect());
        let left = || left.lock().unwrap_or_else(PoisonError::into_inner);
        let help = || {
            let Some(worker) = left().pop() else { return false };
            let _limit = Limit::set(share);
            let mut scratch = Scratch::default();
            let mut slices = Ticker::new(SLICE);
            let is_stopped = || progress.stop.load(Ordering::Relaxed);
            queue::with_stop(&is_stopped, || {
                while let Some(job) = progress.take(worker) {
                    progress.run(job, &mut scratch, work);
                    if slices.is_due() && queue::should_move() {
                        left().push(worker);
                        return true;
                    }
                }
                false
            })
        };
        outcome = queue::assisted(workers - 1, &help, work_here, || control.ask());
    }
    if control.stop.0.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    let mut failure = progress.failure.lock().unwrap_or_else(PoisonError::into_inner);
    match (failure.take(), outcome) {
        (Some((_, error)), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(Failure::Panic(panic))) => Err(panicked(&*panic)),
        (None, Err(Failure::Forked)) => Err(Error::Internal(
            "this process was forked in the midst of a request, whose threads the child does not have".into(),
        )),
    }
}

/// Calls `work` with each number below `parts`: on this thread, and on those of the pool that have nothing else to do.
/// For a job that is too long to be one thread's alone.
///
/// # Panics
/// Where `work` does; also in a child process that was forked meanwhile.
pub fn share(parts: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let take = || {
        let one_more = |next| (next < parts).then_some(next + 1);
        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()
    };
    let work_off = || {
        while let Some(part) = take() {
            work(part);
        }
    };
    let helpers = num_threads().unwrap_or(1).min(parts).saturating_sub(1);
    if helpers == 0 {
        return work_off();
    }
    let help = || {
        let mut slices = Ticker::new(SLICE);
        while let Some(part) = take() {
            work(part);
            if slices.is_due() && queue::should_move() {
                return true;
            }
        }
        false
    };
    match queue::assisted(helpers, &help, work_off, || {}) {
        Ok(()) => {}
        Err(Failure::Panic(panic)) => resume_unwind(panic),
        Err(Failure::Forked) => resume_unwind(Box::new("this process was forked in the midst of a request")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let counts: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        for_each(&Control::default(), counts.len(), |(): &mut (), job| {
            counts[job].fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_part_is_done_once() {
        for parts in [0, 1, 7, 100] {
            let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            let count = |part: usize| {
                counts[part].fetch_add(1, Ordering::Relaxed);
            };
            share(parts, &count);
            // By jobs that themselves are on the pool.
            for_each(&Control::default(), 20, |(): &mut (), _| {
                share(parts, &count);
                Ok(())
            })
            .unwrap();
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 21));
        }
        let result = for_each(&Control::default(), 3, |(): &mut (), _| {
            share(9, &|part| assert!(part != 5, "five"));
            Ok(())
        });
        assert!(matches!(result, Err(Error::Internal(text)) if text.contains("five")));
    }

    #[test]
    fn errors_and_panics_are_reported() {
        let result = for_each(&Control::default(), 50, |(): &mut (), job| {
            if job == 7 { Err(Error::Index("seven".into())) } else { Ok(()) }
        });
        assert!(matches!(result, Err(Error::Index(text)) if text == "seven"));
        let result = for_each(&Control::default(), 50, |(): &mut (), job| {
            assert!(job != 3, "three");
            Ok(())
        });
        assert!(matches!(result, Err(Error::Internal(text)) if text.contains("three")));
    }

    #[test]
    fn a_request_can_be_stopped() {
        let asked = std::cell::Cell::new(0);
        let poll = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let started = Instant::now();
        let result = for_each(&Control::new(&poll), 10_000, |(): &mut (), _| {
            std::thread::sleep(Duration::from_millis(5));
            Ok(())
        });
        assert!(matches!(result, Err(Error::Interrupted)));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_row_of_short_pieces_can_be_stopped() {
        for threads in [1, usize::MAX] {
            let started = Instant::now();
            let poll = || started.elapsed() > Duration::from_millis(50);
            let control = Control::new(&poll);
            let pieces = std::iter::repeat_with(|| {
                for_each_with(threads, &control, 3, |(): &mut (), _| {
                    thread::sleep(Duration::from_micros(100));
                    Ok(())
                })
            });
            let stopped = pieces.take_while(Result::is_ok).take(20_000).count();
            assert!(stopped < 20_000, "{threads} threads");
            assert!(started.elapsed() < Duration::from_secs(2));
        }
    }

    #[test]
    fn a_limit_is_one_threads_own() {
        use std::collections::HashSet;
        use std::thread::ThreadId;

        /// The threads that do jobs which are shared besides.
        fn who_works() -> HashSet<ThreadId> {
            let seen = Mutex::new(HashSet::new());
            let note = |_: usize| {
                seen.lock().unwrap().insert(thread::current().id());
                thread::sleep(Duration::from_micros(200));
            };
            share(20, &note);
            for jobs in [3, 40] {
                for_each(&Control::default(), jobs, |(): &mut (), _| {
                    share(3, &note);
                    Ok(())
                })
                .unwrap();
            }
            seen.into_inner().unwrap()
        }

        thread::spawn(|| {
            assert_eq!(limit_threads(Some(1)).unwrap(), None);
            assert_eq!(num_threads().unwrap(), 1);
            assert_eq!(who_works(), HashSet::from([thread::current().id()]));
            thread::spawn(|| assert_eq!(limit_threads(None).unwrap(), None)).join().unwrap();
            assert_eq!(limit_threads(Some(1024)).unwrap(), Some(1));
            assert!(!who_works().is_empty());
            assert!(matches!(limit_threads(Some(0)), Err(Error::Structure(_))));
            assert_eq!(limit_threads(None).unwrap(), Some(1024));
        })
        .join()
        .unwrap();
    }

    /// Sets the number of threads for one test, beside which no other one sets it.
    fn with_threads(threads: usize, test: impl FnOnce()) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let before = set_num_threads(threads).unwrap();
        test();
        set_num_threads(before).unwrap();
    }

    /// Does so many jobs of 2 ms each, counting those that are begun.
    fn doze(control: &Control<'_>, jobs: usize, begun: &AtomicUsize) -> Result<()> {
        for_each(control, jobs, |(): &mut (), _| {
            begun.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
            Ok(())
        })
    }

    /// Calls `beside` while another thread has a request under way that would take seconds, which is stopped then.
    fn beside_a_long_request(beside: impl FnOnce(&AtomicUsize)) {
        let (begun, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let long = scope.spawn(|| {
                let poll = || stop.load(Ordering::Relaxed);
                doze(&Control::new(&poll), 100_000, &begun)
            });
            while begun.load(Ordering::Relaxed) < 20 {
                thread::sleep(Duration::from_millis(1));
            }
            beside(&begun);
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(long.join().unwrap(), Err(Error::Interrupted)));
        });
    }

    #[test]
    fn nobody_waits_for_a_stranger() {
        with_threads(3, || {
            beside_a_long_request(|_| {
                for jobs in [2, 20] {
                    let started = Instant::now();
                    doze(&Control::default(), jobs, &AtomicUsize::new(0)).unwrap();
                    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
                }
                // An interrupt ends it when the jobs at hand are done, a panic is nobody else's.
                let started = Instant::now();
                let result = doze(&Control::new(&|| true), 100_000, &AtomicUsize::new(0));
                assert!(matches!(result, Err(Error::Interrupted)));
                assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
                let result = for_each(&Control::default(), 100, |(): &mut (), job| {
                    assert!(job != 3, "three");
                    Ok(())
                });
                assert!(matches!(result, Err(Error::Internal(text)) if text.contains("three")));
                // What a job of one request shares does not wait for another request either.
                let started = Instant::now();
                share(20, &|_| thread::sleep(Duration::from_millis(2)));
                assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
            });
        });
    }

    #[test]
    fn requests_side_by_side_have_as_many_threads() {
        // Of five threads two are the callers; the other three have to go from one request to the other and back.
        with_threads(5, || {
            beside_a_long_request(|first| {
                let (second, before) = (AtomicUsize::new(0), first.load(Ordering::Relaxed));
                doze(&Control::default(), 1000, &second).unwrap();
                let first = first.load(Ordering::Relaxed) - before;
                assert!((600..1600).contains(&first), "{first} jobs beside 1000 others");
            });
        });
    }

    #[test]
    fn no_more_threads_are_at_work_than_there_should_be() {
        with_threads(4, || {
            let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |(): &mut (), _| {
                most.fetch_max(working.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(300));
                working.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            };
            for_each(&Control::default(), 400, work).unwrap();
            assert_eq!(most.swap(0, Ordering::Relaxed), 4);
            for_each_with(2, &Control::default(), 100, work).unwrap();
            assert_eq!(most.swap(0, Ordering::Relaxed), 2);
            // With as many callers as threads nobody helps, but for a slice in which helpers have not noticed.
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| for_each(&Control::default(), 400, work).unwrap());
                }
                thread::sleep(Duration::from_millis(20));
                most.store(0, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
                assert!(most.load(Ordering::Relaxed) <= 4);
            });
        });
    }

    #[test]
    fn nobody_is_left_in_a_request_that_is_over() {
        // Each job adds to a counter on its caller's stack, which must be complete and never touched again.
        fn nested(depth: usize, seed: usize) -> usize {
            let counts: Vec<AtomicUsize> = (0..17).map(|_| AtomicUsize::new(0)).collect();
            let result = for_each(&Control::default(), counts.len(), |(): &mut (), job| {
                let done = AtomicUsize::new(0);
                share(5, &|_| {
                    done.fetch_add(1, Ordering::Relaxed);
                });
                let inner = if depth > 0 && job % 5 == 0 { nested(depth - 1, seed + job) } else { 1 };
                assert!(!seed.is_multiple_of(7) || job != 11, "eleven");
                counts[job].fetch_add(done.into_inner() + inner.min(1), Ordering::Relaxed);
                Ok(())
            });
            assert_eq!(result.is_err(), seed.is_multiple_of(7));
            let total = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            assert!(result.is_err() || total == 6 * 17);
            total
        }
        with_threads(4, || {
            thread::scope(|scope| {
                for caller in 0..6 {
                    scope.spawn(move || {
                        for round in 0..100 {
                            assert!(nested(2, caller * 100 + round) > 0);
                        }
                    });
                }
                for threads in (1..6).cycle().take(60) {
                    set_num_threads(threads).unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            });
        });
    }

    #[test]
    fn numbers_of_threads_are_checked() {
        assert!(matches!(set_num_threads(0), Err(Error::Structure(_))));
        assert!(matches!(set_num_threads(1 << 20), Err(Error::Structure(_))));
    }
}
