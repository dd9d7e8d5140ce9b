//! When no task is ready: how long the loop may wait, and whether anything can still end the wait.

use super::deadline::NEVER;
use super::graph::{Circles, Text};
use super::object::Scheduler;
use super::post_queue::Posts;
use crate::engine::log::{self, Counted};
use crate::engine::sys::{self, Error};

impl Scheduler {
    /// Whether there is nothing to do but wait.
    pub(super) fn is_idle(&self) -> bool {
        let waits = if self.posts.is_empty() {
            self.others_than_daemons() > 0 || self.daemons.are_ending() || self.is_held()
        } else {
            self.posts.is_starved()
        };
        waits && self.run_queue.is_empty() && self.remote.is_idle()
    }

    /// The timeout of phase 3; `None` if nothing could end the wait.
    pub(super) fn idle_timeout_ns(&self) -> Option<u64> {
        let timeout_ns = match self.timers.next_deadline_ns() {
            Some(deadline_ns) if deadline_ns != NEVER => {
                deadline_ns.saturating_sub(self.time.clock.now_ns())
            }
            // One past the end of the clock wakes nobody.
            _ if self.may_be_woken() || self.posts.may_come() || self.is_held() => u64::MAX,
            _ if self.signals.are_awaited() => u64::MAX,
            _ if self.waits_for_others() => u64::MAX,
            _ => return None,
        };
        Some(self.daemons.limit(timeout_ns, &self.time.clock))
    }

    /// Whether anything but a timer could make a task ready.
    pub(super) fn may_be_woken(&self) -> bool {
        match self.builtin_wait() {
            Some(builtin) => {
                builtin.watches_descriptors() && self.io.reactor.borrow().has_waiters()
            }
            // A program's function may know of events to come.
            None => true,
        }
    }

    /// Whether another thread may make a task ready. Says so once a run, since it may never do so.
    fn waits_for_others(&self) -> bool {
        let may_be = self.remote.has_wakers();
        if may_be && !self.daemons.are_ending() && !self.io.has_told_of_others.replace(true) {
            let left = self.others_than_daemons();
            log::warn(format_args!(
                "{}, and nothing on this thread can wake {}: the run waits for other threads, which \
                 have a handle to the scheduler or an end of a channel between threads",
                Counted(left, "task is parked", "tasks are parked"),
                if left == 1 { "it" } else { "any of them" }
            ));
        }
        may_be
    }

    /// The loop is about to sleep: whether a message that is sure to come is there after a look or two, for
    /// which other threads are let run. What a task waits for may take less than to sleep and be woken. The
    /// more looks were in vain, the fewer there are.
    pub(super) fn look_for_message(&self) -> bool {
        const LOOKS: u32 = 2;
        const MOST_DOUBTS: u32 = 64;
        let Posts { expected, looks_left_out, doubts, .. } = &self.posts;
        if expected.get() != 1 || self.time.clock.has_custom() {
            return false;
        }
        if looks_left_out.get() > 0 {
            looks_left_out.update(|left| left - 1);
            return false;
        }
        for _ in 0..LOOKS {
            sys::yield_thread();
            if self.remote.has_messages() {
                doubts.set(1);
                return true;
            }
        }
        looks_left_out.set(doubts.get());
        doubts.set((2 * doubts.get()).min(MOST_DOUBTS));
        false
    }

    #[cold]
    pub(super) fn report_deadlock(&self) -> Error {
        let left = self.others_than_daemons();
        if self.tasks.starved.is_empty() {
            let mut circle = Text::new();
            self.write_circles(Circles::AtItsEnd, 1, (": ", ""), &mut circle);
            log::long_error(format_args!(
                "deadlock{}: {}, and no timer, descriptor or wait function can wake {}{}; the run ends \
                 (a task dump shows what each task waits for)",
                self.title(" of scheduler"),
                Counted(left, "task is parked", "tasks are parked"),
                if left == 1 { "it" } else { "any of them" },
                circle.get()
            ));
            Error::Deadlock
        } else {
            log::error(format_args!(
                "no memory for the stacks of {}, and no other task is left to release one; the \
                 run ends (the next run tries again)",
                Counted(self.tasks.starved.count(), "new task", "new tasks")
            ));
            Error::OutOfMemory
        }
    }
}
