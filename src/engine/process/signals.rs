//! The signals of the application preset: while it runs, SIGINT and SIGTERM stop it, and SIGPIPE has
//! no effect on its thread.
//!
//! All by handlers, which exec() takes away: no signal is blocked, since a mask would be inherited by
//! the threads and programs that a task starts. A handler decides what is meant: a signal that is not
//! for a scheduler of this process, or on SIGPIPE of this thread, has its default effect. So a child of
//! fork() that has not gone on with the run, and another thread, have what they would have without.
//!
//! A handler gets nothing but the signal's number, so each run has a [`Place`] in a table of atomics
//! that only grows. A run that leaves its place waits until no handler on another thread reads it:
//! `HANDLERS` counts them. Without that the handle could be freed under a handler. A handler reads
//! with all signals blocked, so that the wait is not for a handler of the program, which may take any
//! time, or never return, by siglongjmp(3).
//!
//! | word | who may change it |
//! |---|---|
//! | `Place::taken` | from false to true: who is to run there. To false: the same, when nobody reads the place |
//! | `Place::thread`, `Place::remote` | who has the place, at the beginning and the end, under `INSTALLED` |
//! | `Place::seen` | a handler, which adds its signal before it stops the scheduler. To 0: who has the place, before `remote` is set |
//! | `Place::caught` | from 0 to a signal's number: as `seen` |
//! | `Chunk::next` | from null to a chunk, for good: who finds no free place |
//! | `HANDLERS` | each handler, when it begins and when it ends |

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::SeqCst,
};

use crate::engine::context::{sanitizer, switch};
use crate::engine::sys::{self, Error, Result, SIGINT, SIGPIPE, SIGTERM, SavedAction};
use crate::engine::threads::{Lock, Remote, this_process};

/// Where the handlers find a run.
struct Place {
    taken: AtomicBool,
    /// The thread that runs it, as the address of its thread-local variable.
    thread: AtomicPtr<c_void>,
    /// The scheduler's handle; null while there is no run.
    remote: AtomicPtr<c_void>,
    /// The signals that have come since the run began, a bit for each.
    seen: AtomicU64,
    /// The first of them; 0 for none.
    caught: AtomicI32,
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
            thread: AtomicPtr::new(null_mut()),
            remote: AtomicPtr::new(null_mut()),
            seen: AtomicU64::new(0),
            caught: AtomicI32::new(0),
        }
    }

    /// Takes a free one; an error without memory for more.
    fn take() -> Result<&'static Place> {
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

    /// Calls a function with the scheduler's handle, if one of this process runs here.
    fn with_own(&self, function: impl FnOnce(&Remote) -> bool) -> bool {
        let own = |remote: &Remote| remote.is_of_this_process() && function(remote);
        // SAFETY: only between `HANDLERS.enter` and `leave`: the guard has a handle as long as it is
        // in the place, and waits for HANDLERS before it is dropped.
        unsafe { Remote::borrow_raw(self.remote.load(SeqCst), own) }.unwrap_or(false)
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

/// The installed handlers, shared by all guards: the last one restores the previous actions.
static INSTALLED: Lock<Installed> =
    Lock::in_static(Installed { guards: 0, saved: [None, None, None] });

struct Installed {
    guards: usize,
    /// For each of [`SIGNALS`].
    saved: [Option<SavedAction>; 3],
}

type Handler = extern "C" fn(c_int);

const SIGNALS: [(c_int, Handler); 3] =
    [(SIGINT, on_stop), (SIGTERM, on_stop), (SIGPIPE, on_closed_pipe)];

/// The signals are handled while this lives.
pub struct Guard {
    place: &'static Place,
    /// The handle in the place.
    _remote: Remote,
    has_left: bool,
}

impl Guard {
    /// Handles those signals whose action is SIG_DFL. The guard must stay on this thread.
    pub fn new(remote: &Remote) -> Result<Guard> {
        let place = Place::take()?;
        let remote = remote.clone();
        let mut installed = INSTALLED.lock();
        place.seen.store(0, SeqCst);
        place.caught.store(0, SeqCst);
        place.thread.store(this_thread(), SeqCst);
        place.remote.store(remote.as_raw(), SeqCst);
        installed.guards += 1;
        // Each time: a child of fork() may have put the default actions back itself.
        for ((signal, handler), saved) in SIGNALS.into_iter().zip(&mut installed.saved) {
            if sys::has_default_action(signal) {
                *saved = sys::handle_signal(signal, handler);
            }
        }
        drop(installed);
        Ok(Guard { place, _remote: remote, has_left: false })
    }

    /// Ends it. Returns the first signal that came while it lived; 0 for none.
    pub fn end(mut self) -> c_int {
        self.leave();
        self.place.caught.load(SeqCst)
    }

    fn leave(&mut self) {
        self.has_left = true;
        let mut installed = INSTALLED.lock();
        installed.guards -= 1;
        if installed.guards == 0 {
            for ((_, handler), saved) in SIGNALS.into_iter().zip(&mut installed.saved) {
                if let Some(saved) = saved.take() {
                    sys::restore_signal(&saved, handler);
                }
            }
        }
        // After that: a signal finds this scheduler, or the action that was there before.
        self.place.remote.store(null_mut(), SeqCst);
        drop(installed);
        // A handler that has read the place is done with it within a few instructions of its thread,
        // which may have less priority than this one. One that interrupts this thread is done
        // before the next line.
        while HANDLERS.running() != 0 {
            sys::sleep_ns(50_000);
        }
        sanitizer::acquire(&HANDLERS);
        self.place.thread.store(null_mut(), SeqCst);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.has_left {
            self.leave();
        }
        self.place.taken.store(false, SeqCst);
    }
}

/// Whether one of the runs of this process has a use for a signal.
fn offer(use_it: impl Fn(&Place, &Remote) -> bool) -> bool {
    let mask = sys::block_all_signals();
    HANDLERS.enter();
    // All of them, also those behind one that has.
    let used = places().filter(|place| place.with_own(|remote| use_it(place, remote))).count() > 0;
    HANDLERS.leave();
    sys::restore_signal_mask(&mask);
    used
}

/// SIGINT, SIGTERM: stops all application schedulers that this signal has not stopped yet. If there
/// are none, it has its default effect.
extern "C" fn on_stop(signal: c_int) {
    let errno = sys::errno();
    let used = offer(|place, remote| {
        let is_first = place.seen.fetch_or(1 << signal, SeqCst) & 1 << signal == 0;
        if is_first {
            let _ = place.caught.compare_exchange(0, signal, SeqCst, SeqCst); // The first one counts.
            let _ = remote.stop(); // An error means that it is gone, which needs no stop.
        }
        is_first
    });
    if !used {
        sys::default_effect_of_sent(signal);
    }
    sys::set_errno(errno);
}

/// SIGPIPE: a thread that runs an application scheduler goes on; its call returns EPIPE. For the
/// others the signal has its default effect. (The kernel sends it to the thread that writes.)
extern "C" fn on_closed_pipe(signal: c_int) {
    let errno = sys::errno();
    let this_thread = this_thread();
    if !offer(|place, _| place.thread.load(SeqCst) == this_thread) {
        sys::default_effect_of_sent(signal);
    }
    sys::set_errno(errno);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::{Guard, HANDLERS, Handlers, offer};
    use crate::engine::sys;
    use crate::engine::threads::Remote;

    static INTERRUPTIONS: AtomicU64 = AtomicU64::new(0);

    extern "C" fn interrupts(_: i32) {
        INTERRUPTIONS.fetch_add(1 + u64::from(HANDLERS.running()), SeqCst);
    }

    #[test]
    fn no_handler_of_the_program_is_waited_for() {
        let guard = Guard::new(&Remote::new().unwrap()).unwrap();
        let saved = sys::handle_signal(sys::SIGUSR1, interrupts).unwrap();
        let used = offer(|_, _| {
            sys::raise(sys::SIGUSR1);
            INTERRUPTIONS.load(SeqCst) == 0
        });
        assert!(used, "interrupted");
        assert_eq!(INTERRUPTIONS.load(SeqCst), 1, "once, when no handler was at work");
        sys::restore_signal(&saved, interrupts);
        assert_eq!(guard.end(), 0);
    }

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
