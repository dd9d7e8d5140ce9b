//! Who runs a scheduler, and who else may wake its tasks. Checked with loom: `make loom`.
//!
//! | field | who may change it |
//! |---|---|
//! | `thread` | 0 to a thread's token: that thread, to run the scheduler; back to 0: the same |
//! | `wakers` | anybody who has a reference, by one up and one down |
//!
//! A run whose tasks are all parked goes on while there is a waker.
//!
//! *It does not outlast the last one.* Who takes the last waker away first lowers the count, and then reads
//! `thread`, to tell a run by the wake-up descriptor; who begins a run first sets `thread`, and then reads the
//! count. Each has a SeqCst fence between the two steps, so at least one sees what the other has done.
//!
//! *What a waker has left is not overlooked.* It leaves a message first and goes away then. The loop reads the
//! count first, and looks at the inbox again before it ends for want of wakers.

use super::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

pub struct Owner {
    /// The thread that runs the scheduler, by a token that is not 0; 0 for none.
    thread: AtomicUsize,
    /// How many there are that may wake a task: handles of the program, ends of channels between threads,
    /// futures. A job is sure to end, so its scheduler counts it by itself.
    wakers: AtomicUsize,
}

impl Owner {
    pub fn new() -> Owner {
        Owner { thread: AtomicUsize::new(0), wakers: AtomicUsize::new(0) }
    }

    /// Makes a thread the owner; false if there is one.
    pub fn enter(&self, thread: usize) -> bool {
        let entered = self.thread.compare_exchange(0, thread, AcqRel, Relaxed).is_ok();
        fence(SeqCst);
        entered
    }

    /// The thread does not run the scheduler any more.
    pub fn leave(&self) {
        self.thread.store(0, Release);
    }

    /// Whether a thread runs the scheduler.
    pub fn is_there(&self) -> bool {
        self.thread.load(Acquire) != 0
    }

    /// Whether a thread that is not this one runs the scheduler.
    pub fn is_elsewhere(&self, this_thread: usize) -> bool {
        let thread = self.thread.load(Acquire);
        thread != 0 && thread != this_thread
    }

    pub fn add_waker(&self) {
        self.wakers.fetch_add(1, Relaxed);
    }

    /// Undoes [`add_waker`](Self::add_waker). Returns whether the owner has to look again if any is left.
    pub fn remove_waker(&self, this_thread: usize) -> bool {
        if self.wakers.fetch_sub(1, AcqRel) > 1 {
            return false;
        }
        fence(SeqCst);
        self.is_elsewhere(this_thread)
    }

    pub fn has_wakers(&self) -> bool {
        self.wakers.load(Acquire) > 0
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/owner.rs"]
mod models;
