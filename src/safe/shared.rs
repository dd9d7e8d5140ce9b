//! What a scheduler shares with its tasks and handles, which may live longer than it.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Weak;

use super::hooks::Hooks;
use crate::engine::scheduler;
use crate::engine::task::Task;
use crate::engine::threads::WeakRemote;

/// Held by the scheduler, by its tasks' records, and by handles.
pub struct Shared {
    /// What tells whether the core's scheduler is still there.
    remote: WeakRemote,
    /// Handed out as it is, so that another one can take its place at any time.
    pub name: RefCell<Option<Rc<str>>>,
    /// The program's wait function and clock.
    pub hooks: Hooks,
    /// Whether the scheduler is being dropped: no task is added any more.
    pub closing: Cell<bool>,
    /// Whether the thread is ending: nothing of the tasks runs any more.
    pub thread_ends: Cell<bool>,
    /// Whether tasks have been given up since other threads were last looked for.
    pub given_up: Cell<bool>,
    /// How often the end of the thread was asked to be told of.
    pub watches: Cell<u32>,
    /// The cluster that it is a core of, and which one.
    pub core_of: OnceCell<(Weak<dyn Any + Send + Sync>, usize)>,
}

impl Shared {
    pub fn new(core: &scheduler::Scheduler, name: Option<Rc<str>>, hooks: Hooks) -> Shared {
        Shared {
            remote: core.remote.downgrade(),
            name: RefCell::new(name),
            hooks,
            closing: Cell::new(false),
            thread_ends: Cell::new(false),
            given_up: Cell::new(false),
            watches: Cell::new(0),
            core_of: OnceCell::new(),
        }
    }

    /// The core's scheduler, if it is still there. The caller lets no code of the program run while
    /// it has the reference, unless the scheduler is running or borrowed.
    pub fn core(&self) -> Option<&scheduler::Scheduler> {
        // SAFETY: null once the core is destroyed. That needs the `Scheduler` for itself, so not while
        // it is borrowed, as it is by `run`; and this is on its thread, as all of the safe API.
        unsafe { self.remote.scheduler().cast::<scheduler::Scheduler>().as_ref() }
    }

    /// The living task with an id. As [`core`](Self::core).
    pub fn task(&self, id: u64) -> Option<(&scheduler::Scheduler, &Task)> {
        let core = self.core()?;
        let task = core.tasks.find_id(id)?;
        Some((core, task))
    }
}
