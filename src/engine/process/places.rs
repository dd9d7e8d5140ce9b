//! Where the handlers of signals find who has a use for them: the runs of application schedulers, and the
//! schedulers whose tasks wait for signals.
//!
//! A handler gets nothing but the signal, so each of these has a [`Place`] in a table of atomics that only
//! grows. Who leaves a place waits until no handler on another thread reads it: `HANDLERS` counts them.
//! Without that the handle could be freed under a handler. A handler reads with all signals blocked, so that
//! the wait is not for a handler of the program, which may take any time, or never return, by siglongjmp(3).
//!
//! | word | who may change it |
//! |---|---|
//! | `Place::taken` | from false to true: who is to have it. To false: the same, when nobody reads the place |
//! | `Place::remote`, and `thread` or `arrivals` | who has the place, at the beginning and the end |
//! | `Place::wanted` | who has the place |
//! | `Place::seen` | a handler, which adds its signal before it stops the scheduler. To 0: who has the place, before `remote` is set |
//! | `Place::caught` | from 0 to a signal's number: as `seen` |
//! | `LATEST` | each handler, to the next number, which is the ordinal of its signal |
//! | `TAKEN` | upwards: who takes a signal for a task, or to send it again, to its ordinal |
//! | `Chunk::next` | from null to a chunk, for good: who finds no free place |
//! | `HANDLERS` | each handler, when it begins and when it ends |
//!
//! *Whether a signal is left*, one that no task has been told of, is known by its ordinal: it is greater than all that
//! were taken. One that comes while a task takes an earlier one is greater, too. A child of fork() goes on with the
//! numbers of its parent, and gets none of its signals.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::SeqCst,
};

use crate::engine::context::{sanitizer, switch};
use crate::engine::sys::{self, Error, LAST_SIGNAL, Result, Signal};
use crate::engine::threads::{Arrival, Arrivals, Remote, this_process};

/// Where the handlers find a run, or the tasks of a scheduler.
pub struct Place {
    taken: AtomicBool,
    /// The scheduler's handle; null while there is nothing to find.
    remote: AtomicPtr<c_void>,
    /// The signals that it has a use for, as [`bit`]s.
    wanted: AtomicU64,
    /// For its tasks: where the signals go.
    arrivals: AtomicPtr<Arrivals>,
    /// For a run: its thread, as the address of its thread-local variable.
    thread: AtomicPtr<c_void>,
    /// The signals that have come since the run began, as bits.
    seen: AtomicU64,
    /// The first of them; 0 for none.
    caught: AtomicI32,
}

/// A signal's bit. Of no other number is one wanted.
pub fn bit(signal: c_int) -> u64 {
    1 << ((signal - 1) & 63)
}

/// A part of the table. Those behind the first are allocated, and stay.
struct Chunk {
    places: [Place; PLACES],
    next: AtomicPtr<Chunk>,
}

/// More application schedulers than this running at once are rare.
const PLACES: usize = 64;

static TABLE: Chunk = Chunk::new();
static HANDLERS: Handlers = Handlers(AtomicU64::new(0));

/// The ordinal of the latest signal.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// For each signal, from 1 on, the greatest ordinal of those that were taken.
static TAKEN: [AtomicU64; LAST_SIGNAL as usize] =
    [const { AtomicU64::new(0) }; LAST_SIGNAL as usize];

impl Chunk {
    const fn new() -> Chunk {
        Chunk { places: [const { Place::free() }; PLACES], next: AtomicPtr::new(null_mut()) }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // SAFETY: null, or a chunk that was complete before it was linked, and is never freed.
        unsafe { self.next.load(Acquire).as_ref() }
    }

    /// The chunk behind this one, which is made if there is none.
    fn next_or_new(&self) -> Result<&'static Chunk> {
        if let Some(next) = self.next() {
            return Ok(next);
        }
        let memory = sys::allocate::<Chunk>(1);
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for one.
        unsafe { memory.write(Chunk::new()) };
        if self.next.compare_exchange(null_mut(), memory, SeqCst, SeqCst).is_err() {
            // SAFETY: another thread was faster, and nobody has seen this one.
            unsafe { sys::free(memory.cast()) };
        }
        self.next_or_new()
    }
}

/// All places. Safe in a signal handler.
fn places() -> impl Iterator<Item = &'static Place> {
    std::iter::successors(Some(&TABLE), |chunk| chunk.next()).flat_map(|chunk| &chunk.places)
}

impl Place {
    const fn free() -> Place {
        Place {
            taken: AtomicBool::new(false),
            remote: AtomicPtr::new(null_mut()),
            wanted: AtomicU64::new(0),
            arrivals: AtomicPtr::new(null_mut()),
            thread: AtomicPtr::new(null_mut()),
            seen: AtomicU64::new(0),
            caught: AtomicI32::new(0),
        }
    }

    /// Takes a free one; an error without memory for more.
    pub fn take() -> Result<&'static Place> {
        let mut chunk = &TABLE;
        loop {
            let is_mine =
                |place: &&Place| place.taken.compare_exchange(false, true, SeqCst, SeqCst).is_ok();
            match chunk.places.iter().find(is_mine) {
                Some(place) => return Ok(place),
                None => chunk = chunk.next_or_new()?,
            }
        }
    }

    /// Its holder is a run on this thread, which signals stop. The handle stays alive until the place
    /// is [left](Self::leave).
    pub fn begin_run(&self, remote: &Remote) {
        self.seen.store(0, SeqCst);
        self.caught.store(0, SeqCst);
        self.thread.store(this_thread(), SeqCst);
        self.remote.store(remote.as_raw(), SeqCst);
    }

    /// Its holder is a scheduler whose tasks wait for signals. The handle stays alive, and so do the
    /// arrivals, until the place is left.
    pub fn begin_tasks(&self, remote: &Remote, arrivals: *mut Arrivals) {
        self.set_arrivals(arrivals);
        self.remote.store(remote.as_raw(), SeqCst);
    }

    /// Has the signals go elsewhere. While the handle is there, only in a child of fork() that has not gone on with the
    /// run.
    pub fn set_arrivals(&self, arrivals: *mut Arrivals) {
        self.arrivals.store(arrivals, SeqCst);
    }

    /// Its holder has a use for more signals.
    pub fn want(&self, signals: u64) {
        self.wanted.fetch_or(signals, SeqCst);
    }

    /// It has none for some any more: after this no handler is at work that has found it has.
    pub fn forgo(&self, signals: u64) {
        self.wanted.fetch_and(!signals, SeqCst);
        await_handlers();
    }

    /// Its holder leaves it. Returns the first signal that has stopped the run; 0 for none.
    pub fn leave(&self) -> c_int {
        self.remote.store(null_mut(), SeqCst);
        self.forgo(u64::MAX);
        self.thread.store(null_mut(), SeqCst);
        self.arrivals.store(null_mut(), SeqCst);
        let caught = self.caught.swap(0, SeqCst);
        self.taken.store(false, SeqCst);
        caught
    }

    /// Calls a function with the scheduler's handle, if there is one of this process that has a use for
    /// the signal.
    fn with_own(&self, signal: c_int, function: impl FnOnce(&Remote) -> bool) -> bool {
        if self.wanted.load(SeqCst) & bit(signal) == 0 {
            return false;
        }
        let own = |remote: &Remote| remote.is_of_this_process() && function(remote);
        // SAFETY: only between `HANDLERS.enter` and `leave`: who has the place has a handle as long as it is
        // in there, and waits for HANDLERS before it is dropped.
        unsafe { Remote::borrow_raw(self.remote.load(SeqCst), own) }.unwrap_or(false)
    }

    /// Tells the tasks that wait for a signal.
    fn tell(&self, arrival: &Arrival, remote: &Remote) -> bool {
        // SAFETY: as `remote`.
        let Some(arrivals) = (unsafe { self.arrivals.load(SeqCst).as_ref() }) else { return false };
        arrivals.add(arrival, || {
            // SAFETY: the message of the arrivals, which are there until the scheduler is gone, and in the
            // mailbox once at most. An error means that it is gone.
            let _ = unsafe { remote.post((&arrivals.message).into()) };
        });
        true
    }

    /// Lets the run have a signal. SIGPIPE: its thread goes on, and the call returns EPIPE. (The kernel sends
    /// it to the thread that writes.) Others stop it, once each.
    fn stop(&self, signal: c_int, remote: &Remote) -> bool {
        let thread = self.thread.load(SeqCst);
        if signal == sys::SIGPIPE || thread.is_null() {
            return thread == this_thread();
        }
        let is_first = self.seen.fetch_or(bit(signal), SeqCst) & bit(signal) == 0;
        if is_first {
            let _ = self.caught.compare_exchange(0, signal, SeqCst, SeqCst); // The first one counts.
            let _ = remote.stop(); // An error means that it is gone, which needs no stop.
        }
        is_first
    }
}

/// This thread's token for `Place::thread`.
fn this_thread() -> *mut c_void {
    switch::thread().cast_mut().cast()
}

/// The number of running handlers in the lower half, and the process in the upper half. A child of
/// `fork()` has no other threads, so handlers of its parent's threads do not count there.
struct Handlers(AtomicU64);

impl Handlers {
    fn running(&self) -> u32 {
        Handlers::of_this_process(self.0.load(SeqCst))
    }

    fn enter(&self) {
        self.change(|running| running + 1);
    }

    fn leave(&self) {
        sanitizer::release(self); // For who waits for it.
        // 0 in the child, if fork() was called in a handler.
        self.change(|running| running.saturating_sub(1));
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        let process = u64::from(this_process()) << 32;
        let change = |before| process | u64::from(change(Handlers::of_this_process(before)));
        let _ = self.0.fetch_update(SeqCst, SeqCst, |before| Some(change(before)));
    }

    fn of_this_process(word: u64) -> u32 {
        if (word >> 32) as u32 == this_process() { word as u32 } else { 0 }
    }
}

/// Waits until no handler on another thread reads the table. It is done with it within a few instructions of
/// its thread, which may have less priority than this one. One that interrupts this thread is done before
/// the next line.
fn await_handlers() {
    while HANDLERS.running() != 0 {
        sys::sleep_ns(50_000);
    }
    sanitizer::acquire(&HANDLERS);
}

/// Whether a signal is left: neither it nor a later one was taken. From now on it has been.
pub fn take_left(arrival: &Arrival) -> bool {
    let index =
        usize::try_from(arrival.signal.number).ok().and_then(|number| number.checked_sub(1));
    let taken = index.and_then(|index| TAKEN.get(index));
    taken.is_some_and(|taken| taken.fetch_max(arrival.ordinal, SeqCst) < arrival.ordinal)
}

/// How many handlers read the table.
#[cfg(test)]
pub fn running_handlers() -> u32 {
    HANDLERS.running()
}

/// In a handler: whether anybody in this process has had a use for a signal. Tasks come first: what they wait
/// for stops no run.
pub fn offer(signal: &Signal) -> bool {
    offer_and(signal, || ())
}

/// [`offer`], and then something else before the handlers' table is left.
pub fn offer_and(signal: &Signal, then: impl FnOnce()) -> bool {
    let number = signal.number;
    let mask = sys::block_all_signals();
    HANDLERS.enter();
    let arrival = Arrival { signal: *signal, ordinal: LATEST.fetch_add(1, SeqCst) + 1 };
    let used = use_all(number, |place, remote| place.tell(&arrival, remote))
        || use_all(number, |place, remote| place.stop(number, remote));
    then();
    HANDLERS.leave();
    sys::restore_signal_mask(&mask);
    used
}

/// Calls a function for each that wants a signal, also those behind one that has had a use for it.
fn use_all(signal: c_int, use_it: impl Fn(&Place, &Remote) -> bool) -> bool {
    places().filter(|place| place.with_own(signal, |remote| use_it(place, remote))).count() > 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::Handlers;

    #[test]
    fn handlers_of_a_parent_do_not_count() {
        let handlers = Handlers(AtomicU64::new(0));
        handlers.enter();
        handlers.enter();
        assert_eq!(handlers.running(), 2);
        // As in a child of fork(): the number of this process is another one.
        handlers.0.fetch_add(1 << 32, SeqCst);
        assert_eq!(handlers.running(), 0);
        handlers.leave();
        assert_eq!(handlers.running(), 0);
        handlers.enter();
        assert_eq!(handlers.running(), 1);
        handlers.leave();
        assert_eq!(handlers.running(), 0);
    }
}
