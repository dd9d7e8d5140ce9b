//! The state that the switch between tasks needs.

use std::cell::Cell;
use std::ptr::{null, null_mut};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use crate::engine::context::sanitizer::Sanitizer;
use crate::engine::context::switch::FloatModes;
use crate::engine::context::{ThreadState, stack};
use crate::engine::measure::TurnTimes;
use crate::engine::task::{self, Task};
use crate::engine::threads::Remote;
use crate::engine::time::{Clock, Instant};

/// The state that the switch between tasks needs.
pub struct Dispatch {
    /// The suspended context of the loop, while a task runs.
    pub loop_context: Cell<*mut u8>,
    /// In ticks: from then on a task that suspends switches to the loop. Atomic for signal handlers
    /// of this thread, which set it to 0 when the run is to end.
    pub yield_at_ticks: AtomicU64,
    /// When the current round began; see `round.rs`.
    pub round_began: Cell<Instant>,
    /// The longest that a round may take: in ticks.
    pub longest_round_ticks: Cell<u64>,
    /// The task in the run queue whose context is prefetched next; null if prefetching is not worth
    /// it. A hint: the task may have left the queue.
    pub prefetch_cursor: Cell<*const Task>,
    /// Pointers to this thread's errno and C++ exception state, which each task has a copy of.
    pub thread_state: ThreadState,
    /// The floating-point modes that new tasks start with: those of the scheduler's thread.
    pub float_modes: Cell<FloatModes>,
    /// The times of turns.
    pub turn_times: TurnTimes,
    /// The program's sanitizers, if it has any.
    pub sanitizer: Option<Sanitizer>,
    /// Whether there is no sanitizer, and turns are measured by the cycle counter: then a task
    /// switches by the shortest path.
    pub fast_path: bool,
}

impl Dispatch {
    pub fn new(clock: &Clock) -> Dispatch {
        let sanitizer = Sanitizer::find();
        Dispatch {
            loop_context: Cell::new(null_mut()),
            yield_at_ticks: AtomicU64::new(0),
            round_began: Cell::new(Instant::default()),
            longest_round_ticks: Cell::new(0),
            prefetch_cursor: Cell::new(null()),
            thread_state: ThreadState::new(),
            float_modes: Cell::new(FloatModes::default()),
            turn_times: TurnTimes::new(),
            fast_path: clock.has_counter() && sanitizer.is_none(),
            sanitizer,
        }
    }

    /// Binds the scheduler to the calling thread. The caller takes the place of the loop: on the
    /// thread's own stack, or on the stack of another scheduler's task.
    pub fn bind(&self) {
        if let Some(sanitizer) = &self.sanitizer {
            match task::running() {
                Some(task) => {
                    let bytes = task.stack_bytes();
                    sanitizer.enter_loop_on(stack::lowest(task.stack.get(), bytes), bytes);
                }
                None => sanitizer.enter_loop(),
            }
        }
        self.thread_state.bind();
        self.float_modes.set(FloatModes::read());
    }

    /// The address of the moment from which tasks switch to the loop.
    pub fn yield_at(&self) -> *const AtomicU64 {
        &self.yield_at_ticks
    }

    /// From `ticks` on, tasks that suspend switch to the loop; at once if the run is to end.
    pub fn set_yield_at(&self, ticks: u64, remote: &Remote) {
        self.yield_at_ticks.store(ticks, Relaxed);
        // A signal handler may have stored 0 before the line above overwrote it.
        compiler_fence(SeqCst);
        if remote.is_stopped() {
            self.yield_at_ticks.store(0, Relaxed);
        }
    }

    /// [`set_yield_at`](Self::set_yield_at), unless an earlier moment is set.
    pub fn yield_by(&self, ticks: u64, remote: &Remote) {
        self.set_yield_at(ticks.min(self.yield_at_ticks.load(Relaxed)), remote);
    }

    /// The next task that suspends switches to the loop.
    pub fn yield_at_once(&self) {
        self.yield_at_ticks.store(0, Relaxed);
    }

    /// Releases what a sanitizer knows of a task that does not run again.
    pub fn forget_stack(&self, task: &Task) {
        if let Some(sanitizer) = &self.sanitizer {
            sanitizer.destroy_fiber(task.fiber.get());
            if let Some((lowest, bytes)) = task.stack_bounds() {
                sanitizer.end_stack(lowest, bytes);
            }
        }
    }
}
