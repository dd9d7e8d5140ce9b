//! Ending the tasks of a scheduler that is being dropped, or whose thread ends.

use std::mem::forget;

use super::panics::drop_quietly;
use super::record::Record;
use super::shared::Shared;
use super::unwind::CAN_UNWIND;
use crate::engine::context::stack::Stack;
use crate::engine::log::{self, Counted};
use crate::engine::scheduler::{Drain, Scheduler};
use crate::engine::task::Task;

/// How often a task is told to end: it may catch the unwinding, and suspend again to clean up.
const TURNS: u32 = 100;

/// Ends the Rust tasks: those that have begun by unwinding them. What C code has added is the
/// core's to destroy. Does not unwind.
pub fn end_tasks(core: &Scheduler, shared: &Shared) {
    end(core, shared, |task| {
        if let Some(record) = Record::take(task) {
            record.discard_job();
            drop_quietly(record);
        }
    });
}

/// Ends the Rust tasks that have begun, and no others. Does not unwind.
pub fn unwind_tasks(core: &Scheduler, shared: &Shared) {
    if has_begun_tasks(core) {
        end(core, shared, |_| ());
    }
}

/// The core may be gone when this returns: a log callback can drop the scheduler.
fn end(core: &Scheduler, shared: &Shared, end_new: impl Fn(&Task)) {
    shared.closing.set(true);
    let turns = if CAN_UNWIND { TURNS } else { 0 };
    let drain = Drain::begin(core);
    let mut given_up = 0;
    for task in core.tasks.iter() {
        if !has_begun(task) {
            end_new(task);
        } else if Record::of(task).is_some() && !unwind(&drain, task, turns) {
            give_up(core, task);
            given_up += 1;
        }
    }
    drop(drain);
    if given_up > 0 {
        shared.given_up.set(true);
        log::warn(format_args!(
            "{} could not be unwound: each leaks its stack and the values on it; when the thread \
             ends and there are others, the process is aborted",
            Counted(given_up, "task", "tasks")
        ));
    }
}

/// Whether there are Rust tasks that are suspended.
pub fn has_begun_tasks(core: &Scheduler) -> bool {
    core.tasks.iter().any(|task| has_begun(task) && Record::of(task).is_some())
}

fn has_begun(task: &Task) -> bool {
    task.stack.get() != Stack::NONE
}

/// Gives a task turns until it has ended. Returns whether it has.
fn unwind(drain: &Drain<'_>, task: &Task, turns: u32) -> bool {
    let id = task.id.get();
    let has_ended = || !task.alive.get() || task.id.get() != id;
    (0..turns).any(|_| {
        drain.step(task);
        has_ended()
    })
}

/// Leaves a task that cannot be unwound as it is, for ever. Somebody may have borrowed from its
/// stack, and its frames may borrow from its record.
fn give_up(core: &Scheduler, task: &Task) {
    core.tasks.leak_stack(task);
    forget(Record::take(task));
}
