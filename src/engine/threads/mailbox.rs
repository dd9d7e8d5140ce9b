//! The mailbox: what other threads and signal handlers can tell a scheduler, and how it is woken for
//! that. Checked with loom, see the tests: `make loom`.
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
//! *No wake-up is lost.* Who tells something first tells it and then reads `asleep`; the owner first
//! sets `asleep` and then looks whether there is something. Between the two steps each has a fence
//! (SeqCst), so one of them sees what the other has done: the owner does not go to sleep, or is woken.
//!
//! *Nobody relies on anybody else.* Everyone who finds the owner asleep writes to the descriptor, also
//! if another one is about to. A poster that stops for ever between its steps holds up nothing but
//! the wake-up for its own message.
//!
//! A request to stop is rare, and makes the descriptor readable in any case.
//!
//! *Late and repeated wake-ups do no harm.* The owner empties the descriptor before it looks at the
//! mailbox, so what is told after the look makes it readable again.

use std::ptr::NonNull;

use super::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Relaxed, SeqCst},
    fence, step,
};
use super::inbox::{Batch, Closed, Inbox, Message};

/// What can be told.
pub struct Mailbox {
    inbox: Inbox,
    stop: AtomicBool,
    asleep: AtomicBool,
}

impl Mailbox {
    /// That of a scheduler that does not run yet.
    pub fn new() -> Mailbox {
        Mailbox { inbox: Inbox::new(), stop: AtomicBool::new(false), asleep: AtomicBool::new(true) }
    }

    // ---- for all threads, and for signal handlers

    /// Leaves a message; `notify` wakes the owner.
    #[cfg_attr(
        not(loom),
        expect(dead_code, reason = "the seam for work from other threads: nothing posts yet")
    )]
    pub fn post(&self, message: NonNull<Message>, notify: impl FnOnce()) -> Result<(), Closed> {
        self.inbox.push(message)?;
        self.wake(notify);
        Ok(())
    }

    /// Asks the run to end.
    pub fn stop(&self, notify: impl FnOnce()) -> Result<(), Closed> {
        if self.inbox.is_closed() {
            return Err(Closed);
        }
        self.stop.swap(true, AcqRel);
        // Whether the owner sleeps or not: it may wait in a way that the loop does not know of.
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

    /// Whether the run is to end.
    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    // ---- for the owner

    /// The owner is about to wait. Returns whether it may: there is nothing to be done before.
    pub fn prepare_to_sleep(&self) -> bool {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
        let may_wait = self.is_idle();
        if !may_wait {
            self.set_awake();
        }
        may_wait
    }

    /// Whether there is nothing to be done, as far as the mailbox knows.
    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty() && !self.is_stopped()
    }

    /// A run that was about to begin does not: all is as before it.
    pub fn undo_enter(&self) {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
    }

    /// The owner looks at the mailbox again, from now on.
    pub fn set_awake(&self) {
        self.asleep.store(false, Relaxed);
    }

    /// The run has ended: the owner takes back the request to stop, and does not look any more. `clear_wake_up_fd`
    /// empties the descriptor. What is in the mailbox is for the next run, so the descriptor stays
    /// readable for it. What a thread did before it asked for the stop is seen from here on.
    pub fn end_run(&self, clear_wake_up_fd: impl FnOnce(), notify: impl FnOnce()) {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
        clear_wake_up_fd();
        self.stop.swap(false, AcqRel);
        if !self.inbox.is_empty() {
            notify();
        }
    }

    /// What was left, in the order of each poster.
    pub fn take(&self) -> Batch {
        self.inbox.take()
    }

    /// Lets nothing in any more, and returns what was left.
    pub fn close(&self) -> Batch {
        self.inbox.close()
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/mailbox.rs"]
mod models;
