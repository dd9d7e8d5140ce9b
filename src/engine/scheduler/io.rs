//! A scheduler's descriptors, its wait function, and how often they are looked at.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};

use super::latency::WakeupLatency;
use crate::engine::io::Reactor;
use crate::engine::sys::Result;
use crate::engine::time::{Clock, Instant};

/// While tasks are ready, timers are looked at no later than they are due. Descriptors are looked at
/// when every task that was ready at the last look has had a turn, since whoever a look readies
/// comes behind those anyway: no more often than this...
pub const MIN_POLL_INTERVAL_NS: u64 = 50_000;
/// ... and no less often than this.
const MAX_POLL_INTERVAL_NS: u64 = 1_000_000;

/// A function that waits when nothing is ready, called with the scheduler's address. See `mj_wait_fn`
/// for what it may do.
pub type WaitFunction = unsafe extern "C" fn(*mut c_void, u64, *mut c_void) -> c_int;

/// The built-in ones. The program's functions may call them, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// By epoll, for the descriptors that tasks wait for, and for a stop. What a scheduler without
    /// a wait function uses.
    Epoll,
    /// The same by poll(2) on the scheduler's one descriptor: a model for wait functions on other
    /// systems.
    Poll,
    /// Sleeps, and is woken by nothing but a stop. Descriptors are looked at when it is over.
    Sleep,
}

impl Builtin {
    /// Whether it readies the tasks whose descriptors are ready.
    pub fn watches_descriptors(self) -> bool {
        self != Builtin::Sleep
    }
}

/// What waits for the outside.
pub struct Io {
    /// Who waits for which descriptor. Borrowed for the length of one call into it.
    pub reactor: RefCell<Reactor>,
    /// The built-in wait function that was set, by the address that the program knows it by.
    pub builtin: Cell<Option<(WaitFunction, Builtin)>>,
    /// Whether the last call of the wait function failed, which is logged once in a row.
    pub wait_failed: Cell<bool>,
    pub latency: WakeupLatency,
    /// In ticks: when descriptors were last looked at.
    last_poll: Cell<u64>,
    /// In turns: when all tasks that were ready then have had theirs.
    poll_epoch_end: Cell<u64>,
    /// In turns: how many there had been when the wait function was last called.
    polled_at_turn: Cell<u64>,
}

impl Io {
    pub fn new(wake_up_fd: c_int) -> Result<Io> {
        Ok(Io {
            reactor: RefCell::new(Reactor::create(wake_up_fd)?),
            builtin: Cell::new(None),
            wait_failed: Cell::new(false),
            latency: WakeupLatency::default(),
            last_poll: Cell::new(0),
            poll_epoch_end: Cell::new(0),
            polled_at_turn: Cell::new(u64::MAX),
        })
    }

    /// Whether it is time to look at descriptors, though tasks are ready.
    pub fn poll_is_due(&self, clock: &Clock, now: Instant, turns: u64) -> bool {
        let interval_ns = if turns >= self.poll_epoch_end.get() {
            MIN_POLL_INTERVAL_NS
        } else {
            MAX_POLL_INTERVAL_NS
        };
        now.ticks.wrapping_sub(self.last_poll.get()) >= clock.ns_to_ticks(interval_ns)
    }

    /// The wait function has been called, with so many tasks ready and so many turns before.
    pub fn polled(&self, now: Instant, turns: u64, ready: usize) {
        self.last_poll.set(now.ticks);
        self.poll_epoch_end.set(turns + ready as u64);
        self.polled_at_turn.set(turns);
    }

    /// Whether a task has had a turn since the wait function was last called.
    pub fn is_stale(&self, turns: u64) -> bool {
        self.polled_at_turn.get() != turns
    }

    /// Turns are counted anew.
    pub fn reset(&self) {
        self.poll_epoch_end.set(0);
        self.polled_at_turn.set(u64::MAX);
    }
}
