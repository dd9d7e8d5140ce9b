//! A scheduler's I/O: the reactor, the wait function, and how often they are polled.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};

use super::latency::WakeupLatency;
use crate::engine::io::Reactor;
use crate::engine::sys::Result;
use crate::engine::threads::Ownership;

/// While tasks are ready, I/O is polled once every task that was ready at the last poll has run,
/// since newly ready tasks queue behind those anyway: no more often than this...
pub const MIN_POLL_INTERVAL_NS: u64 = 50_000;
/// ... and no less often than this.
const MAX_POLL_INTERVAL_NS: u64 = 1_000_000;

/// A function that waits when nothing is ready, called with the scheduler's address. See `mj_wait_fn`
/// for what it may do.
pub type WaitFunction = unsafe extern "C" fn(*mut c_void, u64, *mut c_void) -> c_int;

/// The built-in wait functions. A program's wait function may call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// epoll_wait(2), for descriptors and for wake-ups from other threads. The default.
    Epoll,
    /// poll(2) on the scheduler's backend descriptor: an example of a wait function that embeds the
    /// scheduler in another loop.
    Poll,
    /// Sleeps until the timeout or a stop. Descriptors are polled afterwards.
    Sleep,
}

impl Builtin {
    /// Whether it readies the tasks whose descriptors are ready.
    pub fn watches_descriptors(self) -> bool {
        self != Builtin::Sleep
    }
}

/// A scheduler's I/O state.
pub struct Io {
    /// Borrowed only for the length of one call into it.
    pub reactor: RefCell<Reactor>,
    /// The exported address of the built-in wait function that was set, and which one it is.
    pub builtin: Cell<Option<(WaitFunction, Builtin)>>,
    /// Whether the last call of the wait function failed: only the first failure in a row is
    /// logged.
    pub wait_failed: Cell<bool>,
    /// Whether it has been said in this run that only other threads can wake a task.
    pub has_told_of_others: Cell<bool>,
    pub latency: WakeupLatency,
    /// In nanoseconds: when I/O was last polled.
    polled_at_ns: Cell<u64>,
    /// In turns: when all tasks that were ready at the last poll have run.
    poll_epoch_end: Cell<u64>,
    /// In turns: when the wait function was last called.
    polled_at_turn: Cell<u64>,
    /// The scheduler's number in the table of owned descriptors.
    number: u64,
}

impl Io {
    pub fn new(wake_up_fd: c_int) -> Result<Io> {
        Ok(Io {
            reactor: RefCell::new(Reactor::create(wake_up_fd)?),
            builtin: Cell::new(None),
            wait_failed: Cell::new(false),
            has_told_of_others: Cell::new(false),
            latency: WakeupLatency::default(),
            polled_at_ns: Cell::new(0),
            poll_epoch_end: Cell::new(0),
            polled_at_turn: Cell::new(u64::MAX),
            number: Ownership::next_scheduler(),
        })
    }

    /// Whether it is time to poll I/O, though tasks are ready.
    pub fn poll_is_due(&self, now_ns: u64, turns: u64) -> bool {
        let interval_ns = if turns >= self.poll_epoch_end.get() {
            MIN_POLL_INTERVAL_NS
        } else {
            MAX_POLL_INTERVAL_NS
        };
        now_ns.saturating_sub(self.polled_at_ns.get()) >= interval_ns
    }

    /// Records a call of the wait function: after how many turns, and with how many tasks ready.
    pub fn polled(&self, now_ns: u64, turns: u64, ready: usize) {
        self.polled_at_ns.set(now_ns);
        self.poll_epoch_end.set(turns + ready as u64);
        self.polled_at_turn.set(turns);
    }

    /// Whether a task has run since the wait function was last called.
    pub fn is_stale(&self, turns: u64) -> bool {
        self.polled_at_turn.get() != turns
    }

    #[inline(always)]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The count of turns has been reset.
    pub fn reset(&self) {
        self.poll_epoch_end.set(0);
        self.polled_at_turn.set(u64::MAX);
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        Ownership::let_go_all(self.number);
    }
}
