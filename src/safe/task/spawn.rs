//! Handing a closure to the core.

use std::rc::Rc;

use super::handle::Task;
use crate::engine::context::stack;
use crate::engine::sys::{Error, Result};
use crate::engine::task::Words;
use crate::safe::join::{JoinHandle, Pair};
use crate::safe::record::{Job, Record, run};
use crate::safe::shared::Shared;

/// What Rust's calls are named. A task ends when its closure returns.
static WORDS: Words =
    Words { set_stack_size: "task::Builder::stack_size() or Builder::stack_size()", exit: "" };

/// What a new task is to have.
#[derive(Clone, Copy, Default)]
pub struct Options<'o> {
    pub name: Option<&'o str>,
    pub stack_size: Option<usize>,
}

impl Options<'_> {
    /// Adds a task to a scheduler.
    pub fn spawn<T: 'static>(
        self,
        shared: &Rc<Shared>,
        body: impl FnOnce() -> T + 'static,
    ) -> Result<JoinHandle<T>> {
        let stack_size = self.stack_size.map(stack::valid_size).transpose()?;
        if shared.closing.get() {
            return Err(Error::Canceled);
        }
        let (pair, job) = Pair::new(body);
        let task = start(shared, job, self.name, stack_size)?;
        Ok(pair.into_handle(task))
    }
}

/// Hands a job to the core.
fn start(
    shared: &Rc<Shared>,
    job: Job,
    name: Option<&str>,
    stack_size: Option<usize>,
) -> Result<Task> {
    let core = shared.core().ok_or(Error::Canceled)?;
    let state = Record::new(shared.clone(), job).into_user_state();
    let task = match core.spawn(run, state, &WORDS) {
        Ok(task) => task,
        Err(error) => {
            // SAFETY: made above, and not taken by the core.
            drop(unsafe { Box::from_raw(state.cast::<Record>()) });
            return Err(error);
        }
    };
    if let Some(name) = name {
        task.set_name(name.as_bytes());
    }
    if let Some(bytes) = stack_size {
        task.stack_bytes.set(bytes);
    }
    Ok(Task { shared: Some(shared.clone()), id: task.id.get() })
}
