//! The mailbox: messages and stop requests from other threads and signal handlers to a scheduler,
//! and the wake-up protocol. Checked with loom: `make loom`.
//!
//! # The protocol
//!
//! | state | is | set by |
//! |---|---|---|
//! | awake | `asleep` is false: the loop looks at the mailbox in each iteration | the owner, after a wait |
//! | asleep | `asleep` is true: nobody looks before the descriptor is readable | the owner, before a wait, and between runs |
//! | stopped | `stop` is true: the loop ends at its next look | any thread and signal handler; taken back by the owner, at the end of the run |
//! | closed | the inbox is closed: the scheduler is gone | the owner, for good |
//!
//! The owner is the thread that runs the scheduler, or the one that destroys it.
//!
//! *No lost wake-up.* A poster first pushes its message and then reads `asleep`; the owner first
//! sets `asleep` and then checks the inbox. Each has a SeqCst fence between the two steps, so at
//! least one sees the other's store: the owner does not go to sleep, or is woken.
//!
//! *Posters are independent.* Every poster that finds the owner asleep writes to the descriptor,
//! even if another one is about to. A poster that stops for ever between its steps delays only the
//! wake-up for its own message.
//!
//! A request to stop is rare, and makes the descriptor readable in any case.
//!
//! *Late and repeated wake-ups are harmless.* The owner clears the descriptor before it checks the
//! mailbox, so a later message makes it readable again.

use std::ptr::NonNull;

use super::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Relaxed, SeqCst},
    fence, step,
};
use super::inbox::{Batch, Closed, Inbox, Message};

/// Messages and the stop request.
pub struct Mailbox {
    inbox: Inbox,
    stop: AtomicBool,
    asleep: AtomicBool,
}

impl Mailbox {
    /// The mailbox of a scheduler that does not run yet.
    pub fn new() -> Mailbox {
        Mailbox { inbox: Inbox::new(), stop: AtomicBool::new(false), asleep: AtomicBool::new(true) }
    }

    // ---- for all threads, and for signal handlers

    /// Posts a message; `notify` writes to the wake-up descriptor.
    pub fn post(&self, message: NonNull<Message>, notify: impl FnOnce()) -> Result<(), Closed> {
        self.inbox.push(message)?;
        self.wake(notify);
        Ok(())
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

    fn wake(&self, notify: impl FnOnce()) {
        step();
        fence(SeqCst);
        if self.asleep.load(Relaxed) {
            step();
            notify();
        }
    }

    /// Whether the owner waits, or there is none.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Relaxed)
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
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
        let may_wait = self.is_idle();
        if !may_wait {
            self.set_awake();
        }
        may_wait
    }

    /// Whether there is no message and no stop request.
    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty() && !self.is_stopped()
    }

    /// Undoes `set_awake` at the start of a run that failed to start.
    pub fn undo_enter(&self) {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
    }

    /// The owner checks the mailbox again from now on.
    pub fn set_awake(&self) {
        self.asleep.store(false, Relaxed);
    }

    /// Ends a run: clears the stop request, and marks the owner as asleep. `clear_wake_up_fd`
    /// clears the descriptor; messages are left for the next run, and make it readable again.
    /// Acquires the writes of the thread that requested the stop.
    pub fn end_run(&self, clear_wake_up_fd: impl FnOnce(), notify: impl FnOnce()) {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
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
