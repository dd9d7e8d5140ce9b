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
//!   takes anything: `Scheduler::spend`, in `spend.rs`. Not the `try_` forms, nor calls that suspend in any case.
//! - *What follows*: when it is spent the call yields (`yield_spent`), and with that begins another
//!   turn, of which it is the first call. A canceled task is told then: its call has done nothing. So it
//!   learns of the cancellation, however much it can have without waiting.
//! - *Who does not yield*: a task that owns a mutex, since the others would see that it is locked, where
//!   no call in between waits; and one that has called `exit`. The first call after that does. An owner that
//!   is canceled is told without a yield.
//!
//! The time is that of the processor's counter, read at each call; without one, at each eighth, since a
//! clock costs as much as the calls. With a program's clock time is not looked at, so that a simulation
//! does not depend on how fast the machine is.

use std::cell::Cell;

/// How many calls a turn may make before it ends.
const CALLS: i32 = 64;

/// A scheduler's budget: only one task at a time has a turn.
pub struct Budget {
    /// The turn that it was begun in, by the number of turns that had ended before.
    pub turn: Cell<u64>,
    /// The calls that are left, counting the one that was made last.
    pub left: Cell<i32>,
    /// The time is looked at when `left` has none of these bits.
    pub time_mask: Cell<i32>,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { turn: Cell::new(u64::MAX), left: Cell::new(0), time_mask: Cell::new(-1) }
    }

    /// Begins the budget of a turn, for its first call.
    #[inline(always)]
    pub fn begin(&self, turn: u64) {
        self.turn.set(turn);
        self.left.set(CALLS);
    }
}
