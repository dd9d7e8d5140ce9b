//! Handing a closure to the core.

use std::rc::Rc;

use super::handle::Task;
use crate::engine::context::stack;
use crate::engine::sys::{Error, Result};
use crate::engine::task::Words;
use crate::safe::join::{JoinHandle, Pair};
use crate::safe::record::{Job, Place, Record, run};
use crate::safe::shared::Shared;

/// What Rust's calls are named. A task ends when its closure returns.
static WORDS: Words = Words {
    set_stack_size: "task::Builder::stack_size() or Builder::stack_size()",
    exit: "",
    abandon: None,
};

/// What a new task is to have.
#[derive(Clone, Copy, Default)]
pub struct Options<'o> {
    pub name: Option<&'o str>,
    pub stack_size: Option<usize>,
    pub daemon: bool,
}

impl Options<'_> {
    /// Adds a task to a scheduler.
    pub fn spawn<T: 'static>(
        self,
        shared: &Rc<Shared>,
        body: impl FnOnce() -> T + 'static,
    ) -> Result<JoinHandle<T>> {
        let (pair, job) = Pair::new(body);
        Ok(pair.into_handle(self.start(shared, job, Place::default())?))
    }

    /// Hands a job to the core.
    pub fn start(self, shared: &Rc<Shared>, job: Job<'static>, place: Place) -> Result<Task> {
        let stack_size = self.stack_size.map(stack::valid_size).transpose()?;
        if shared.closing.get() {
            return Err(Error::Canceled);
        }
        let core = shared.core().ok_or(Error::Canceled)?;
        let state = Record::new(shared.clone(), job, place).into_user_state();
        let task = match core.spawn(run, state, &WORDS) {
            Ok(task) => task,
            Err(error) => {
                // SAFETY: made above, and not taken by the core.
                drop(unsafe { Box::from_raw(state.cast::<Record>()) });
                return Err(error);
            }
        };
        if let Some(name) = self.name {
            task.set_name(name.as_bytes());
        }
        if let Some(bytes) = stack_size {
            task.set_stack_bytes(bytes);
        }
        if self.daemon {
            core.set_daemon(task, true);
        }
        if let Some(record) = Record::of(task) {
            record.enter_group(task);
        }
        Ok(Task { shared: Some(shared.clone()), id: task.id.get() })
    }
}
