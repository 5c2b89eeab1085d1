//! Worker threads: how many there are, how work is handed to them, and how it is stopped.

use std::cell::Cell;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// How often a caller that waits asks whether to stop.
const POLL: Duration = Duration::from_millis(20);

/// No more jobs than these are few.
const FEW_JOBS: usize = 16;

/// More threads than this are a mistake, and would take a long time to start.
const MOST_THREADS: usize = 1024;

/// The environment variable that sets the number of threads.
pub const THREADS_VARIABLE: &str = "FILEBACKEDARRAY_NUM_THREADS";

/// A request's means to be stopped.
///
/// The closure runs on the thread that made the request, every few milliseconds while it waits, and
/// never while any lock of this crate is held. When it returns true the request ends with
/// [`Error::Interrupted`] as soon as the chunks at hand are done.
pub struct Control<'a> {
    poll: &'a dyn Fn() -> bool,
    report: Option<&'a dyn Fn(u64, u64)>,
    stop: AtomicBool,
    work: Work,
}

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
        Self { poll, report: None, stop: AtomicBool::new(false), work: Work::default() }
    }

    /// The same, and calls `report` before it asks, with how much of the work is done and how much there is.
    pub fn with_report(poll: &'a dyn Fn() -> bool, report: &'a dyn Fn(u64, u64)) -> Self {
        Self { report: Some(report), ..Self::new(poll) }
    }

    /// How much is done, for the report.
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    /// Reports how much is done.
    pub fn report(&self) {
        if let Some(report) = self.report {
            report(self.work.done.load(Ordering::Relaxed), self.work.expected.load(Ordering::Relaxed));
        }
    }

    fn ask(&self) {
        self.report();
        if (self.poll)() {
            self.stop.store(true, Ordering::Relaxed);
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
    stretches: Vec<Stretch>,
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
        let stretch = |number| Stretch { next: AtomicUsize::new(cut(number)), end: cut(number + 1) };
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
        own.iter().chain(others).find_map(|stretch| {
            let one_more = |next| (next < stretch.end).then_some(next + 1);
            stretch.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()
        })
    }

    /// Does one job, a panic of which is an error like others.
    fn run<S>(&self, job: usize, scratch: &mut S, work: &impl Fn(&mut S, usize) -> Result<()>) {
        match catch_unwind(AssertUnwindSafe(|| work(scratch, job))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(job, error),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("panic");
                self.fail(job, Error::Internal(text.to_owned()));
            }
        }
    }
}

/// Calls `work` for each number below `jobs` on the pool's threads, each with a `Scratch` of its own.
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

/// The same with so many threads at most. One is the caller's own, which is the fastest for work that is done
/// before another one would have woken up.
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
    run(Progress::new(&control.stop, jobs, workers), workers, control, jobs, &work)
}

/// The same, in which no job is begun before all lower ones were: a job may wait for them.
///
/// # Errors
/// As [`for_each`].
pub fn for_each_in_order<Scratch: Default>(
    control: &Control<'_>,
    jobs: usize,
    work: impl Fn(&mut Scratch, usize) -> Result<()> + Sync,
) -> Result<()> {
    let workers = num_threads()?.min(jobs).max(1);
    run(Progress::new(&control.stop, jobs, 1), workers, control, jobs, &work)
}

/// Does all jobs with so many workers.
fn run<Scratch: Default>(
    progress: Progress<'_>,
    workers: usize,
    control: &Control<'_>,
    jobs: usize,
    work: &(impl Fn(&mut Scratch, usize) -> Result<()> + Sync),
) -> Result<()> {
    let work_here = || {
        let mut scratch = Scratch::default();
        let mut asked = Instant::now();
        while let Some(job) = progress.take(0) {
            progress.run(job, &mut scratch, work);
            if asked.elapsed() >= POLL {
                control.ask();
                asked = Instant::now();
            }
        }
    };
    if workers == 1 {
        work_here();
    } else {
        let pool = pool()?;
        // Of a few jobs the caller does some itself, before another thread has woken up. Of many it does none: two
        // threads of the pool have been measured to be faster than one of them and the caller.
        let joins = jobs <= FEW_JOBS;
        let running = Mutex::new(workers - usize::from(joins));
        let all_done = Condvar::new();
        let (progress, running, all_done) = (&progress, &running, &all_done);
        // What is limited is limited to these workers: they have nobody help them.
        let share = limit().map(|_| ONE);
        pool.in_place_scope(|scope| {
            for worker in usize::from(joins)..workers {
                scope.spawn(move |_| {
                    let _limit = Limit::set(share);
                    let mut scratch = Scratch::default();
                    while let Some(job) = progress.take(worker) {
                        progress.run(job, &mut scratch, work);
                    }
                    let mut left = running.lock().unwrap_or_else(PoisonError::into_inner);
                    *left -= 1;
                    if *left == 0 {
                        all_done.notify_all();
                    }
                });
            }
            if joins {
                let _limit = Limit::set(share);
                work_here();
            }
            let mut left = running.lock().unwrap_or_else(PoisonError::into_inner);
            while *left > 0 {
                left = all_done.wait_timeout(left, POLL).unwrap_or_else(PoisonError::into_inner).0;
                if *left > 0 {
                    drop(left);
                    control.ask();
                    left = running.lock().unwrap_or_else(PoisonError::into_inner);
                }
            }
        });
    }
    if control.stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    match progress.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Calls `work` with each number below `parts`: on this thread, and on those of the pool that have nothing else to do.
/// For a job that is too long to be one thread's alone.
pub fn share(parts: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work_off = || {
        while let Ok(part) =
            next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| (next < parts).then_some(next + 1))
        {
            work(part);
        }
    };
    let helpers = num_threads().unwrap_or(1).min(parts).saturating_sub(1);
    match pool() {
        Ok(pool) if helpers > 0 => pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| work_off());
            }
            work_off();
        }),
        _ => work_off(),
    }
}

/// The pool, and how many threads there should be.
struct State {
    threads: Option<usize>,
    pool: Option<Arc<ThreadPool>>,
    /// The process that the pool's threads live in.
    process: u32,
}

static STATE: Mutex<State> = Mutex::new(State { threads: None, pool: None, process: 0 });

/// Holds the pool's state, so that a child process of `fork` finds it whole.
pub(crate) fn hold() -> impl Sized + 'static {
    lock()
}

fn lock() -> std::sync::MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

const ONE: NonZero<usize> = NonZero::<usize>::MIN;

thread_local! {
    /// How many threads this thread's requests may take, where that is fewer than there are.
    static LIMIT: Cell<Option<NonZero<usize>>> = const { Cell::new(None) };
}

fn limit() -> Option<NonZero<usize>> {
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
struct Limit(Option<NonZero<usize>>);

impl Limit {
    fn set(limit: Option<NonZero<usize>>) -> Self {
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
    let threads = lock().num_threads()?;
    Ok(limit().map_or(threads, |limit| threads.min(limit.get())))
}

/// A number of threads that one may ask for.
fn checked(threads: usize) -> Result<NonZero<usize>> {
    NonZero::new(threads).filter(|threads| threads.get() <= MOST_THREADS).ok_or_else(|| {
        Error::Structure(format!(
            "the number of threads should be between 1 and {MOST_THREADS}, not {threads}"
        ))
    })
}

/// Sets the number of threads that decode; the number before.
///
/// # Errors
/// [`Error::Structure`] for 0, or more than 1024.
pub fn set_num_threads(threads: usize) -> Result<usize> {
    let threads = checked(threads)?;
    let mut state = lock();
    let before = state.num_threads();
    state.threads = Some(threads.get());
    before
}

impl State {
    /// As was set, or as the environment says, or else all cores that this process may use: affinity
    /// and the limits of a control group are respected.
    fn num_threads(&mut self) -> Result<usize> {
        if let Some(threads) = self.threads {
            return Ok(threads);
        }
        let threads = match std::env::var(THREADS_VARIABLE) {
            Ok(text) => {
                text.trim().parse().ok().filter(|threads| (1..=MOST_THREADS).contains(threads)).ok_or_else(
                    || {
                        Error::Structure(format!(
                            "{THREADS_VARIABLE} should be a number between 1 and {MOST_THREADS}, not '{text}'"
                        ))
                    },
                )?
            }
            Err(_) => std::thread::available_parallelism().map_or(1, NonZero::get),
        };
        self.threads = Some(threads);
        Ok(threads)
    }
}

/// A pool of the right size in this process.
fn pool() -> Result<Arc<ThreadPool>> {
    let mut state = lock();
    let threads = state.num_threads()?;
    let process = std::process::id();
    if state.process != process {
        // After a fork the threads are the parent's alone; ending the pool would wait for them for ever.
        std::mem::forget(state.pool.take());
        state.process = process;
    }
    if let Some(pool) = state.pool.as_ref().filter(|pool| pool.current_num_threads() == threads) {
        return Ok(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("filebackedarray-{number}"))
        .build()
        .map_err(|error| Error::OutOfMemory(format!("cannot start {threads} threads: {error}")))?;
    let pool = Arc::new(pool);
    state.pool = Some(Arc::clone(&pool));
    Ok(pool)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
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
    fn a_limit_is_one_threads_own() {
        use std::collections::HashSet;
        use std::thread::{self, ThreadId};

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

    #[test]
    fn numbers_of_threads_are_checked() {
        assert!(matches!(set_num_threads(0), Err(Error::Structure(_))));
        assert!(matches!(set_num_threads(1 << 20), Err(Error::Structure(_))));
    }
}
