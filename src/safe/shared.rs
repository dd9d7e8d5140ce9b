//! What a scheduler shares with its tasks and handles, which may live longer than it.

use std::cell::Cell;
use std::ptr::null;

use super::hooks::Hooks;
use crate::engine::scheduler;
use crate::engine::task::Task;

/// Held by the scheduler, by its tasks' records, and by handles.
pub struct Shared {
    /// The core's scheduler; null once it is gone.
    core: Cell<*const scheduler::Scheduler>,
    pub name: Option<Box<str>>,
    /// The program's wait function and clock.
    pub hooks: Hooks,
    /// Whether the scheduler is being dropped: no task is added any more.
    pub closing: Cell<bool>,
    /// Whether thread-locals that a task has borrowed may be gone.
    pub thread_ended: Cell<bool>,
    /// Whether the thread is ending: nothing of the tasks runs any more.
    pub thread_ends: Cell<bool>,
    /// How often the end of the thread was asked to be told of.
    pub watches: Cell<u32>,
}

impl Shared {
    pub fn new(core: *const scheduler::Scheduler, name: Option<Box<str>>, hooks: Hooks) -> Shared {
        Shared {
            core: Cell::new(core),
            name,
            hooks,
            closing: Cell::new(false),
            thread_ended: Cell::new(false),
            thread_ends: Cell::new(false),
            watches: Cell::new(0),
        }
    }

    /// The core's scheduler, if it is still there. The caller lets no code of the program run while
    /// it has the reference, unless the scheduler is running or borrowed.
    pub fn core(&self) -> Option<&scheduler::Scheduler> {
        // SAFETY: set by `Scheduler::drop` to null before the core is destroyed. That needs the
        // `Scheduler` for itself, so not while it is borrowed, as it is by `run`.
        unsafe { self.core.get().as_ref() }
    }

    /// The living task with an id. As [`core`](Self::core).
    pub fn task(&self, id: u64) -> Option<(&scheduler::Scheduler, &Task)> {
        let core = self.core()?;
        let task = core.tasks.find_id(id)?;
        Some((core, task))
    }

    /// Ends the access to the core, which is about to be destroyed.
    pub fn disconnect(&self) {
        self.core.set(null());
    }
}
