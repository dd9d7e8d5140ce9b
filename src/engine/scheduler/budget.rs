//! The budget: how much a task may do in calls that may suspend, but complete without waiting, before it
//! yields. Without it a task that sends into a channel with room, or locks what is free, would keep the
//! thread for as long as it likes, and timers, descriptors and all other tasks would wait.
//!
//! # The states
//!
//! A budget is of a turn: the first call of a turn begins it, so that neither a switch nor the loop has
//! to. It has not been begun in this turn (`turn` is another one's number), there are calls left, or it is
//! spent. It is spent after [`CALLS`] calls, or when the loop is due: at a timer, and 50 us after it last
//! looked. The first call of a turn is never too late, so each turn makes progress.
//!
//! - *Who spends*: each call that may suspend, once its arguments are found right, and before it does or
//!   takes anything: [`Scheduler::spend`]. Not the `try_` forms, nor calls that suspend in any case.
//! - *What follows*: when it is spent the call yields ([`yield_spent`]), and with that begins another
//!   turn, of which it is the first call. A canceled task is told then: its call has done nothing. So it
//!   learns of the cancelation, however much it can have without waiting.
//! - *Who does not yield*: a task that owns a mutex, since the others would see that it is locked, where
//!   no call in between waits; and one that has called `exit`. The first call after that does.
//!
//! The time is that of the processor's counter, read at each call; without one, at each eighth, since a
//! clock costs as much as the calls. With a program's clock time is not looked at, so that a simulation
//! does not depend on how fast the machine is.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

use super::block::Running;
use super::object::{Scheduler, running_task};
use crate::engine::context::switch;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{State, Task, Wait};

/// How many calls a turn may make before it ends.
const CALLS: i32 = 64;

/// A scheduler's budget: only one task at a time has a turn.
pub struct Budget {
    /// The turn that it was begun in, by the number of turns that had ended before.
    turn: Cell<u64>,
    /// The calls that are left, and the one that was made last.
    left: Cell<i32>,
    /// The time is looked at where these bits of `left` are 0.
    unless: Cell<i32>,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { turn: Cell::new(u64::MAX), left: Cell::new(0), unless: Cell::new(-1) }
    }

    /// Begins the budget of a turn, for its first call.
    #[inline(always)]
    fn begin(&self, turn: u64) {
        self.turn.set(turn);
        self.left.set(CALLS);
    }
}

impl Scheduler {
    /// A run begins: sets how often the time is looked at. `may_look`: whether it is at all.
    pub(super) fn prepare_budget(&self, may_look: bool) {
        let clock = &self.time.clock;
        self.budget.unless.set(match clock.has_counter() {
            _ if clock.has_custom() || !may_look => -1,
            true => 0,
            false => 7,
        });
    }

    /// Spends of the running task's budget for one call. Returns whether the call must yield first, by
    /// [`yield_spent`].
    #[inline(always)]
    pub fn spend(&self, task: &Task) -> bool {
        let Budget { turn, left, unless } = &self.budget;
        let now = self.dispatch.turn_times.count();
        if turn.get() != now {
            self.budget.begin(now);
            return false;
        }
        let calls = left.get() - 1;
        left.set(calls);
        let is_spent = calls <= 0 || calls & unless.get() == 0 && self.is_loop_due();
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

    /// Whether a task whose budget is spent yields.
    #[cold]
    #[inline(never)]
    fn must_yield(&self, task: &Task) -> bool {
        self.budget.left.set(self.budget.left.get().max(1)); // The next call asks again.
        task.locks.get() == 0 && !task.is(State::Exited)
    }
}

/// Yields, since the budget is spent. `using` is in `Task::wait` meanwhile: its kind's `unlink` is called
/// afterwards, or when the scheduler is destroyed. An error if the task is canceled.
#[cold]
pub fn yield_spent((scheduler, task): Running<'_>, using: Wait) -> Result<()> {
    task.wait.set(using);
    scheduler.yield_task(task);
    scheduler.unlink(task);
    scheduler.budget.begin(scheduler.dispatch.turn_times.count());
    if task.is_canceled() { Err(Error::Canceled) } else { Ok(()) }
}

/// Spends of the running task's budget for a call that uses no object, and yields if it is spent.
#[inline]
pub fn spend() -> Result<()> {
    let running = running_task().ok_or(Error::NotInTask)?;
    if running.0.spend(running.1) { yield_spent(running, Wait::NONE) } else { Ok(()) }
}
