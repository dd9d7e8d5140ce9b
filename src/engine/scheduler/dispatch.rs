//! Who runs, and what the switch between tasks needs.

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
use crate::engine::time::Clock;

/// What the switch between tasks needs.
pub struct Dispatch {
    /// The loop, while a task runs.
    pub loop_context: Cell<*mut u8>,
    /// In ticks: from then on a task that suspends switches to the loop. Atomic for signal handlers
    /// of this thread, which set it to 0 when the run is to end.
    pub yield_at_ticks: AtomicU64,
    /// The task in the run queue whose context is fetched next, ahead of its turn; null if that is
    /// not worth it. Only a hint: it may have left the queue.
    pub prefetch_cursor: Cell<*const Task>,
    /// Where this thread's errno and C++ exceptions are, while running: each task has its own.
    pub thread_state: ThreadState,
    /// What new tasks start with: the modes of the thread that runs the scheduler.
    pub float_modes: Cell<FloatModes>,
    /// The times of turns.
    pub turn_times: TurnTimes,
    /// The program's sanitizers, if it has any.
    pub sanitizer: Option<Sanitizer>,
    /// Whether there are none, and turns are measured by the processor's counter: then a turn may
    /// end by the shortest way.
    pub fast_path: bool,
}

impl Dispatch {
    pub fn new(clock: &Clock) -> Dispatch {
        let sanitizer = Sanitizer::find();
        Dispatch {
            loop_context: Cell::new(null_mut()),
            yield_at_ticks: AtomicU64::new(0),
            prefetch_cursor: Cell::new(null()),
            thread_state: ThreadState::new(),
            float_modes: Cell::new(FloatModes::default()),
            turn_times: TurnTimes::new(),
            fast_path: clock.has_counter() && sanitizer.is_none(),
            sanitizer,
        }
    }

    /// The caller's thread runs the scheduler from now on, and the caller stands in for its loop:
    /// on the thread's own stack, or on that of a task of another scheduler.
    pub fn bind(&self) {
        if let Some(sanitizer) = &self.sanitizer {
            match task::running() {
                Some(task) => {
                    let bytes = task.stack_bytes.get();
                    sanitizer.enter_loop_on(stack::lowest(task.stack.get(), bytes), bytes);
                }
                None => sanitizer.enter_loop(),
            }
        }
        self.thread_state.bind();
        self.float_modes.set(FloatModes::read());
    }

    /// Where it says when tasks switch to the loop.
    pub fn yield_at(&self) -> *const AtomicU64 {
        &self.yield_at_ticks
    }

    /// From `ticks` on, tasks that suspend switch to the loop; at once if the run is to end.
    pub fn set_yield_at(&self, ticks: u64, remote: &Remote) {
        self.yield_at_ticks.store(ticks, Relaxed);
        // A signal handler may have asked for it before the line above, which took it back.
        compiler_fence(SeqCst);
        if remote.is_stopped() {
            self.yield_at_ticks.store(0, Relaxed);
        }
    }

    /// The same, no later than before.
    pub fn yield_by(&self, ticks: u64, remote: &Remote) {
        self.set_yield_at(ticks.min(self.yield_at_ticks.load(Relaxed)), remote);
    }

    /// Releases what a sanitizer knows of a task that does not run again.
    pub fn destroy_fiber(&self, task: &Task) {
        if let Some(sanitizer) = &self.sanitizer {
            sanitizer.destroy_fiber(task.fiber.get());
        }
    }
}
