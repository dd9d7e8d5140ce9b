//! The mailbox: messages and stop requests from other threads and signal handlers to a scheduler,
//! and the wake-up protocol. Checked with loom: `make loom`.
//!
//! # The protocol
//!
//! | `sleep` | is | goes to | by whom |
//! |---|---|---|---|
//! | awake | the loop looks at the mailbox in each iteration | asleep, with the next number | the owner, before a wait, and at the end of a run |
//! | asleep | nobody looks before the descriptor is readable | rung | a poster, after its write to the descriptor, if the number is still the same |
//! | | | awake | the owner, after a wait, and when a run begins |
//! | rung | asleep, and the descriptor was written to since | awake | the owner, as above |
//!
//! | other words | are | set by |
//! |---|---|---|
//! | `stop` | true: the loop ends at its next look | any thread and signal handler; taken back by the owner, at the end of the run |
//! | the inbox | closed: the scheduler is gone | the owner, for good |
//!
//! The owner is the thread that runs the scheduler, or the one that destroys it.
//!
//! *No lost wake-up.* A poster first pushes its message and then reads `sleep`; the owner first
//! sets it to asleep and then checks the inbox. Each has a SeqCst fence between the two steps, so at
//! least one sees the other's store: the owner does not go to sleep, or is woken.
//!
//! *Posters are independent.* Every poster that finds the owner asleep writes to the descriptor,
//! even if another one is about to: only one that has written says so, and spares others the system
//! call. A poster that stops for ever between its steps delays only the wake-up for its own message.
//! Each sleep has a number, so that a late poster does not say it of a later sleep, before which the
//! owner has cleared the descriptor.
//!
//! A request to stop is rare, and makes the descriptor readable in any case.
//!
//! *Late and repeated wake-ups are harmless.* The owner clears the descriptor before it checks the
//! mailbox, so a later message makes it readable again.

use std::ptr::NonNull;

use super::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Relaxed, SeqCst},
    fence, step,
};
use super::inbox::{Batch, Closed, Inbox, Message};

/// Messages and the stop request.
pub struct Mailbox {
    inbox: Inbox,
    stop: AtomicBool,
    /// The number of the latest sleep, and in the low bits 0 for awake, [`ASLEEP`] or [`RUNG`].
    sleep: AtomicU64,
}

const ASLEEP: u64 = 1;
const RUNG: u64 = 2;
const STATE: u64 = 3;
const NEXT_SLEEP: u64 = 4;

impl Mailbox {
    /// The mailbox of a scheduler that does not run yet.
    pub fn new() -> Mailbox {
        Mailbox { inbox: Inbox::new(), stop: AtomicBool::new(false), sleep: AtomicU64::new(ASLEEP) }
    }

    // ---- for all threads, and for signal handlers

    /// Posts a message; `notify` writes to the wake-up descriptor, and returns whether it has.
    pub fn post(
        &self,
        message: NonNull<Message>,
        notify: impl FnOnce() -> bool,
    ) -> Result<(), Closed> {
        self.inbox.push(message)?;
        self.wake(notify);
        Ok(())
    }

    /// Whether the scheduler is gone.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Requests a stop of the run.
    pub fn stop(&self, notify: impl FnOnce()) -> Result<(), Closed> {
        if self.inbox.is_closed() {
            return Err(Closed);
        }
        self.stop.swap(true, AcqRel);
        // Also if the owner is awake: a program's wait function may be about to block.
        notify();
        Ok(())
    }

    fn wake(&self, notify: impl FnOnce() -> bool) {
        step();
        fence(SeqCst);
        let sleep = self.sleep.load(Relaxed);
        if sleep & STATE == ASLEEP {
            step();
            if !notify() {
                return;
            }
            step();
            // Fails if the owner has woken up, or another poster was faster.
            let _ = self.sleep.compare_exchange(sleep, sleep - ASLEEP + RUNG, AcqRel, Relaxed);
        }
    }

    /// Whether the owner waits, or there is none.
    pub fn is_asleep(&self) -> bool {
        self.sleep.load(Relaxed) & STATE != 0
    }

    /// Whether a stop was requested.
    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    // ---- for the owner

    /// The owner is about to wait. Returns false, and stays awake, if there is a message or a stop
    /// request.
    pub fn prepare_to_sleep(&self) -> bool {
        self.begin_sleep();
        let may_wait = self.is_idle();
        if !may_wait {
            self.set_awake();
        }
        may_wait
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Whether there is no message and no stop request.
    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty() && !self.is_stopped()
    }

    /// Undoes `set_awake` at the start of a run that failed to start.
    pub fn undo_enter(&self) {
        self.begin_sleep();
    }

    /// The owner, which is awake, falls asleep: it sees what was posted before, or the poster sees this.
    fn begin_sleep(&self) {
        self.sleep.fetch_add(NEXT_SLEEP + ASLEEP, AcqRel);
        fence(SeqCst);
    }

    /// The owner checks the mailbox again from now on.
    pub fn set_awake(&self) {
        self.sleep.fetch_and(!STATE, AcqRel);
    }

    /// Ends a run: clears the stop request, and marks the owner as asleep. `clear_wake_up_fd`
    /// clears the descriptor; messages are left for the next run, and make it readable again.
    /// Acquires the writes of the thread that requested the stop.
    pub fn end_run(&self, clear_wake_up_fd: impl FnOnce(), notify: impl FnOnce()) {
        self.begin_sleep();
        clear_wake_up_fd();
        self.stop.swap(false, AcqRel);
        if !self.inbox.is_empty() {
            notify();
        }
    }

    /// Takes all messages, in the order of each poster.
    pub fn take(&self) -> Batch {
        self.inbox.take()
    }

    /// Closes the mailbox, and takes all messages.
    pub fn close(&self) -> Batch {
        self.inbox.close()
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/mailbox.rs"]
mod models;
