//! The queue of requests, and the threads that help with them.
//!
//! A request is worked off by the thread that made it, its *caller*, and by threads of the pool, its *helpers*, if there are any
//! with nothing else to do. Nobody waits for a helper that has not begun: when the caller has nothing left to do it takes the
//! request out of the queue, and waits for no more than the jobs that helpers have at hand.
//!
//! Helpers go where the fewest threads are at work. They leave a request that has more of them than another one that wants
//! help, and they leave altogether while callers are as many as there should be threads. What a request's jobs share
//! ([`super::share`]) is a part of that request, so that it gets no more than its own.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use super::{POLL, threads};

/// What a helper does for a request: some of its jobs. Whether there may be more when it returns.
pub(super) type Help<'a> = dyn Fn() -> bool + Sync + 'a;

/// Why a request failed beside the errors of its jobs.
pub(super) enum Failure {
    /// A helper panicked.
    Panic(Box<dyn Any + Send>),
    /// This is a child process, and the helpers that had jobs at hand were left behind in the parent.
    Forked,
}

/// All requests that are under way.
struct State {
    /// Each in its place for as long as it is under way.
    requests: Vec<Option<Request>>,
    /// Helpers that were started and have not ended.
    helpers: usize,
    /// Those of them that wait.
    idle: usize,
    /// Threads at work: callers and helpers.
    working: usize,
    /// How often a helper has joined a request.
    turns: u64,
    /// The process that the helpers live in.
    process: u32,
}

/// One request.
struct Request {
    /// Borrowed from the caller's stack: see [`assisted`].
    help: &'static Help<'static>,
    caller: Thread,
    /// The request that this is a part of, or itself.
    root: usize,
    /// Maximum number of helpers; 0 when there is nothing left for them to do.
    room: usize,
    helpers: usize,
    /// Threads at work on the request and on its parts; kept for roots only.
    working: usize,
    /// When a helper joined it last.
    turn: u64,
    failure: Option<Failure>,
}

static STATE: Mutex<State> =
    Mutex::new(State { requests: Vec::new(), helpers: 0, idle: 0, working: 0, turns: 0, process: 0 });

/// Helpers wait for it.
static WANTED: Condvar = Condvar::new();

/// How many callers are at work, to be looked at without the lock: with one alone no helper has anywhere else to go.
static CALLERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The request that this thread works for.
    static ROOT: Cell<Option<usize>> = const { Cell::new(None) };
}

thread_local! {
    /// Says whether what this thread works for was stopped. Borrowed: see [`with_stop`].
    static IS_STOPPED: Cell<Option<&'static dyn Fn() -> bool>> = const { Cell::new(None) };
}

/// Calls `work`, within which [`is_stopped`] asks `is_stopped`.
pub(super) fn with_stop<T>(is_stopped: &dyn Fn() -> bool, work: impl FnOnce() -> T) -> T {
    /// Restores what was asked before.
    struct Before(Option<&'static dyn Fn() -> bool>);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_STOPPED.set(self.0);
        }
    }
    // SAFETY: only the lifetime changes. The reference is in this thread's own variable until `_before` is dropped, which is before
    // this function returns or unwinds; `is_stopped`, the one place that takes it out of there, does not keep it.
    let is_stopped =
        unsafe { std::mem::transmute::<&dyn Fn() -> bool, &'static dyn Fn() -> bool>(is_stopped) };
    let _before = Before(IS_STOPPED.replace(Some(is_stopped)));
    work()
}

/// Whether what the calling thread works for was stopped. On a request's own thread this asks its [`super::Control`], so it
/// must not be called while any lock of this crate is held.
pub(crate) fn is_stopped() -> bool {
    IS_STOPPED.get().is_some_and(|is_stopped| is_stopped())
}

/// Restores what a thread worked for before.
struct WorksFor(Option<usize>);

impl WorksFor {
    fn set(root: usize) -> Self {
        Self(ROOT.replace(Some(root)))
    }
}

impl Drop for WorksFor {
    fn drop(&mut self) {
        ROOT.set(self.0);
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the queue, so that a child process of `fork` finds it whole.
pub(crate) fn hold() -> impl Sized + 'static {
    lock()
}

/// Lets helpers know that their number has changed.
pub(super) fn resize() {
    let _state = lock();
    WANTED.notify_all();
}

/// Calls `work`, while up to `most` other threads call `help` as long as it says that there may be more to do. When this
/// returns, nobody is in `help` any more. `ask` is called every 20 ms while this waits for helpers.
///
/// # Errors
/// A [`Failure`] of a helper.
pub(super) fn assisted(
    most: usize,
    help: &Help<'_>,
    work: impl FnOnce(),
    ask: impl FnMut(),
) -> Result<(), Failure> {
    // SAFETY: only the lifetime changes. The reference is in the queue from `enter` to `leave`, of which `leave` is called before
    // this function returns or unwinds (`Entered::drop`), and does not return before no helper is in `help` and the
    // reference is out of the queue. Helpers copy it under the queue's lock and count themselves under the same lock.
    let help = unsafe { std::mem::transmute::<&Help<'_>, &'static Help<'static>>(help) };
    let (number, root) = enter(most, help);
    let mut entered = Entered { number: Some(number) };
    {
        let _root = WorksFor::set(root);
        work();
    }
    entered.number = None;
    leave(number, ask)
}

/// A request that is in the queue: taken out of it even by a panic.
struct Entered {
    number: Option<usize>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            // The panic that is under way is the one to report.
            let _ = leave(number, || {});
        }
    }
}

/// Puts a request into the queue; its place there, and that of the request that it is a part of.
fn enter(most: usize, help: &'static Help<'static>) -> (usize, usize) {
    let mut state = lock();
    state.forget_parent();
    let free = state.requests.iter().position(Option::is_none);
    let number = free.unwrap_or(state.requests.len());
    let root = ROOT.get().filter(|&root| state.request(root).is_some());
    let request = Request {
        help,
        caller: thread::current(),
        root: root.unwrap_or(number),
        room: most,
        helpers: 0,
        working: 1,
        turn: 0,
        failure: None,
    };
    match state.requests.get_mut(number) {
        Some(place) => *place = Some(request),
        None => state.requests.push(Some(request)),
    }
    if root.is_none() {
        state.working += 1;
        CALLERS.fetch_add(1, Ordering::Relaxed);
    }
    state.call();
    (number, root.unwrap_or(number))
}

/// Takes a request out of the queue when its last helper is done with what it has at hand.
fn leave(number: usize, mut ask: impl FnMut()) -> Result<(), Failure> {
    let mut state = lock();
    if let Some(request) = state.request_mut(number) {
        request.room = 0;
        // Not a caller that this process has of its parent.
        if request.root == number && request.working > 0 {
            state.working -= 1;
            CALLERS.fetch_sub(1, Ordering::Relaxed);
            // With enough callers at work nobody helped the others.
            state.call();
        }
    }
    loop {
        state.forget_parent();
        if state.request(number).is_none_or(|request| request.helpers == 0) {
            let failure = state.requests.get_mut(number).and_then(Option::take).and_then(|done| done.failure);
            return failure.map_or(Ok(()), Err);
        }
        drop(state);
        thread::park_timeout(POLL);
        // Perhaps too often, since anything may have unparked this thread: asking does no harm.
        ask();
        state = lock();
    }
}

/// Whether a helper should leave the request that it works for, since others have fewer threads.
pub(super) fn should_move() -> bool {
    if CALLERS.load(Ordering::Relaxed) < 2 {
        return false;
    }
    let state = lock();
    let own = ROOT.get().and_then(|root| state.request(root)).map_or(0, |root| root.working);
    state.working > threads::known() || state.neediest().is_some_and(|(working, _)| working < own)
}

impl State {
    fn request(&self, number: usize) -> Option<&Request> {
        self.requests.get(number)?.as_ref()
    }

    fn request_mut(&mut self, number: usize) -> Option<&mut Request> {
        self.requests.get_mut(number)?.as_mut()
    }

    /// In a child process of `fork` there are no helpers, and no callers but the thread that forked.
    fn forget_parent(&mut self) {
        let process = std::process::id();
        if self.process == process {
            return;
        }
        if self.process != 0 {
            (self.helpers, self.idle, self.working) = (0, 0, 0);
            CALLERS.store(0, Ordering::Relaxed);
            for request in self.requests.iter_mut().flatten() {
                if request.helpers > 0 {
                    request.failure = Some(Failure::Forked);
                }
                (request.room, request.helpers, request.working) = (0, 0, 0);
            }
        }
        self.process = process;
    }

    /// Has another helper come, if anybody wants one: one that waits, or else a new one, if the system has a thread for it.
    fn call(&mut self) {
        if self.working >= threads::known() || self.neediest().is_none() {
            return;
        }
        if self.idle > 0 {
            WANTED.notify_one();
        } else if self.helpers + 1 < threads::known() {
            let name = format!("filebackedarray-{}", self.helpers);
            self.helpers += usize::from(thread::Builder::new().name(name).spawn(help_on).is_ok());
        }
    }

    /// The request that wants help and has the fewest threads (how many, and its place); of several, the one that has
    /// waited for longest.
    fn neediest(&self) -> Option<(usize, usize)> {
        let wanting = self.requests.iter().enumerate().filter_map(|(number, request)| {
            let request = request.as_ref().filter(|request| request.helpers < request.room)?;
            let root = self.request(request.root)?;
            Some((root.working, root.turn, request.turn, number))
        });
        wanting.min().map(|(working, _, _, number)| (working, number))
    }

    /// Has the calling thread help somebody, unless enough threads are at work.
    fn join(&mut self) -> Option<(usize, usize, &'static Help<'static>)> {
        if self.working >= threads::known() {
            return None;
        }
        let (_, number) = self.neediest()?;
        self.turns += 1;
        let turn = self.turns;
        let request = self.request_mut(number)?;
        request.helpers += 1;
        request.turn = turn;
        let (root, help) = (request.root, request.help);
        self.request_mut(root)?.turn = turn;
        self.count(root, true);
        Some((number, root, help))
    }

    /// Counts a helper that begins to work, or has ended.
    fn count(&mut self, root: usize, begins: bool) {
        let change =
            |working: &mut usize| *working = working.saturating_add_signed(if begins { 1 } else { -1 });
        change(&mut self.working);
        if let Some(root) = self.request_mut(root) {
            change(&mut root.working);
        }
    }
}

/// What a helper does all its life.
fn help_on() {
    let mut state = lock();
    loop {
        if state.helpers >= threads::known() {
            state.helpers -= 1;
            return;
        }
        let Some((number, root, help)) = state.join() else {
            state.idle += 1;
            state = WANTED.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            continue;
        };
        // Whoever comes calls two others, so that all come soon and the caller loses little time by calling.
        state.call();
        state.call();
        drop(state);
        let outcome = {
            let _root = WorksFor::set(root);
            catch_unwind(AssertUnwindSafe(help))
        };
        state = lock();
        state.count(root, false);
        let Some(request) = state.request_mut(number) else { continue };
        request.helpers -= 1;
        match outcome {
            Ok(more) if more => {}
            Ok(_) => request.room = 0,
            Err(panic) => {
                request.room = 0;
                request.failure.get_or_insert(Failure::Panic(panic));
            }
        }
        if request.helpers == 0 {
            request.caller.unpark();
        }
    }
}
