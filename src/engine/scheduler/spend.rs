//! Spending the budget of a turn: `budget.rs` says who does, and what follows.

use std::sync::atomic::Ordering::Relaxed;

use super::block::Running;
use super::budget::Budget;
use super::object::{Scheduler, running_task};
use crate::engine::context::switch;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{State, Task, Wait};

impl Scheduler {
    /// A run begins: sets how often the time is looked at. `may_look`: whether it is at all.
    pub(super) fn prepare_budget(&self, may_look: bool) {
        let clock = &self.time.clock;
        self.budget.time_mask.set(match clock.has_counter() {
            _ if clock.has_custom() || !may_look => -1,
            true => 0,
            false => 7,
        });
    }

    /// Spends of the running task's budget for one call. Returns whether the call must yield first, by
    /// [`yield_spent`].
    #[inline(always)]
    pub fn spend(&self, task: &Task) -> bool {
        let Budget { turn, left, time_mask } = &self.budget;
        let now = self.dispatch.turn_times.count();
        if turn.get() != now {
            self.budget.begin(now);
            return false;
        }
        let calls = left.get() - 1;
        left.set(calls);
        let is_spent = calls <= 0 || calls & time_mask.get() == 0 && self.is_loop_due();
        is_spent && self.must_yield(task)
    }

    #[inline(always)]
    fn is_loop_due(&self) -> bool {
        let has_counter = self.time.clock.has_counter();
        let now = if has_counter { switch::ticks() } else { self.ticks_by_clock() };
        now >= self.dispatch.yield_at_ticks.load(Relaxed)
    }

    #[cold]
    #[inline(never)]
    fn ticks_by_clock(&self) -> u64 {
        self.time.clock.ticks()
    }

    /// Whether a task whose budget is spent calls [`yield_spent`].
    #[cold]
    #[inline(never)]
    fn must_yield(&self, task: &Task) -> bool {
        self.budget.left.set(self.budget.left.get().max(1)); // The next call asks again.
        (task.locks.get() == 0 || task.is_canceled()) && !task.is(State::Exited)
    }
}

/// Yields, since the budget is spent, unless the task owns a mutex and is only to be told that it is canceled.
/// `using` is in `Task::wait` meanwhile: its kind's `unlink` is called afterwards, or when the scheduler is
/// destroyed. An error if the task is canceled.
#[cold]
pub fn yield_spent((scheduler, task): Running<'_>, using: Wait) -> Result<()> {
    let was_enqueued = task.queued.get();
    task.wait.set(using);
    if task.locks.get() > 0 {
        scheduler.unlink(task);
        return Err(Error::Canceled);
    }
    scheduler.yield_task(task);
    scheduler.unlink(task);
    if was_enqueued && !task.queued.get() {
        scheduler.run_queue.push(task); // It is the wait that this is to end, not the yield.
    }
    scheduler.budget.begin(scheduler.dispatch.turn_times.count());
    if task.is_canceled() { Err(Error::Canceled) } else { Ok(()) }
}

/// Spends of the running task's budget for a call that uses no object, and yields if it is spent.
#[inline]
pub fn spend() -> Result<()> {
    let running = running_task().ok_or(Error::NotInTask)?;
    if running.0.spend(running.1) { yield_spent(running, Wait::NONE) } else { Ok(()) }
}

/// [`spend`], for a call that may also be made outside a task.
#[inline]
pub fn spend_in_task() -> Result<()> {
    if running_task().is_some() { spend() } else { Ok(()) }
}
