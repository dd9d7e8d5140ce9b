//! The signals of the application preset: while it runs, SIGINT and SIGTERM stop it, and SIGPIPE is
//! blocked.
//!
//! A handler gets nothing but the signal's number, so the handles of the running schedulers are in
//! a fixed table of atomics. A scheduler that leaves the table waits until no handler on another
//! thread reads it: `HANDLERS` counts them.
//!
//! | word | who may change it |
//! |---|---|
//! | `RUNNING[place]` | the guard that has the place, at its beginning and its end, under `INSTALLED` |
//! | `CAUGHT[place]` | from 0 to a signal's number: a handler, before it stops the scheduler. To 0: the guard, before it enters `RUNNING` |
//! | `HANDLERS` | each handler, when it begins and when it ends |

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering::SeqCst};

use crate::engine::sys::{self, SIGINT, SIGPIPE, SIGTERM, SavedAction};
use crate::engine::threads::{ForkSafeMutex, Remote, this_process};

/// More application schedulers than this running at once is unheard of; further ones are not
/// stopped by signals.
const PLACES: usize = 64;

static RUNNING: [AtomicPtr<c_void>; PLACES] = [const { AtomicPtr::new(null_mut()) }; PLACES];
/// The first signal that has come since the place was taken; 0 for none.
static CAUGHT: [AtomicI32; PLACES] = [const { AtomicI32::new(0) }; PLACES];
static HANDLERS: Handlers = Handlers(AtomicU64::new(0));

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
static INSTALLED: ForkSafeMutex<Installed> =
    ForkSafeMutex::new(Installed { guards: 0, places: 0, saved: [None, None] });

struct Installed {
    guards: usize,
    /// A bit for each place that is taken.
    places: u64,
    /// For each of [`SIGNALS`].
    saved: [Option<SavedAction>; 2],
}

const SIGNALS: [c_int; 2] = [SIGINT, SIGTERM];

/// The signals are handled while this lives.
pub struct Guard {
    /// Index in the table; `None` if it was full.
    place: Option<usize>,
    /// The handle in the table.
    _remote: Remote,
    holds_sigpipe: bool,
}

impl Guard {
    /// Handles those signals whose action is SIG_DFL. The guard must stay on this thread.
    pub fn new(remote: &Remote) -> Guard {
        let remote = remote.clone();
        let mut installed = INSTALLED.lock();
        let free = installed.places.trailing_ones() as usize;
        let place = (free < PLACES).then_some(free);
        if let Some(place) = place {
            installed.places |= 1 << place;
            CAUGHT[place].store(0, SeqCst);
            RUNNING[place].store(remote.as_raw(), SeqCst);
        }
        installed.guards += 1;
        if installed.guards == 1 {
            for (signal, saved) in SIGNALS.into_iter().zip(&mut installed.saved) {
                if sys::has_default_action(signal) {
                    *saved = sys::handle_signal(signal, on_signal);
                }
            }
        }
        drop(installed);
        let holds_sigpipe = sys::has_default_action(SIGPIPE) && sys::block_signal(SIGPIPE);
        Guard { place, _remote: remote, holds_sigpipe }
    }

    /// The first signal that has stopped the scheduler; 0 for none. Whoever has seen the stop of a
    /// signal is told of it.
    pub fn caught(&self) -> c_int {
        self.place.map_or(0, |place| CAUGHT[place].load(SeqCst))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut installed = INSTALLED.lock();
        installed.guards -= 1;
        if installed.guards == 0 {
            for saved in installed.saved.iter_mut().filter_map(Option::take) {
                sys::restore_signal(&saved, on_signal);
            }
        }
        // After that: a signal finds this scheduler, or the action that was there before.
        if let Some(place) = self.place {
            RUNNING[place].store(null_mut(), SeqCst);
            installed.places &= !(1 << place);
        }
        drop(installed);
        if self.holds_sigpipe {
            sys::drop_and_unblock_signal(SIGPIPE);
        }
        if self.place.is_some() {
            // A handler that has read the place ends within a few instructions. One that interrupts
            // this thread ends before the next line.
            while HANDLERS.running() != 0 {
                std::hint::spin_loop();
            }
        }
    }
}

/// Stops all application schedulers.
extern "C" fn on_signal(signal: c_int) {
    let errno = sys::errno();
    HANDLERS.enter();
    for (place, caught) in RUNNING.iter().zip(&CAUGHT) {
        let remote = place.load(SeqCst);
        if remote.is_null() {
            continue;
        }
        let _ = caught.compare_exchange(0, signal, SeqCst, SeqCst); // The first one counts.
        // SAFETY: the guard has a handle as long as it is in the table, and leaving waits for
        // HANDLERS.
        let stopped = unsafe { Remote::borrow_raw(remote, Remote::stop) };
        let _ = stopped; // An error means that it is gone, which needs no stop.
    }
    HANDLERS.leave();
    sys::set_errno(errno);
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
