//! Ending the tasks of a scheduler that is being dropped, or whose thread ends.

use std::mem::forget;
use std::ptr::null;

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
    end(core, shared, |_| true);
}

/// Ends the Rust tasks that have begun, and what borrows from them. Does not unwind.
pub fn unwind_tasks(core: &Scheduler, shared: &Shared) {
    if has_begun_tasks(core) {
        end(core, shared, |record| record.depth > 0);
    }
}

/// Ends the tasks that have begun, and those others that are to be discarded. Who borrows comes before
/// whom it borrows from.
///
/// The core may be gone when this returns: a log callback can drop the scheduler.
fn end(core: &Scheduler, shared: &Shared, is_discarded: impl Fn(&Record) -> bool) {
    shared.closing.set(true); // No task is added from now on, so no depth either.
    let turns = if CAN_UNWIND { TURNS } else { 0 };
    let drain = Drain::begin(core);
    let mut given_up = 0;
    let mut next = deepest(core, u32::MAX);
    while let Some(depth) = next {
        // One turn for each at a time: one may wait for what another has, such as a lock of C.
        for _ in 0..turns {
            if !step_each(core, &drain, depth, &is_discarded) {
                break;
            }
        }
        given_up += give_up_rest(core, depth, &is_discarded);
        next = deepest(core, depth);
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

/// The largest depth below a limit that a Rust task has.
fn deepest(core: &Scheduler, limit: u32) -> Option<u32> {
    let depths = core.tasks.iter().filter_map(|task| Some(Record::of(task)?.depth));
    depths.filter(|depth| *depth < limit).max()
}

/// Drops the closure of a task that has not begun.
fn discard(task: &Task) {
    if let Some(record) = Record::take(task) {
        record.discard_job();
        drop_quietly(record);
    }
}

/// Whether there are Rust tasks that are suspended.
pub fn has_begun_tasks(core: &Scheduler) -> bool {
    core.tasks.iter().any(|task| has_begun(task) && Record::of(task).is_some())
}

fn has_begun(task: &Task) -> bool {
    task.stack.get() != Stack::NONE
}

/// Gives each task of a depth that has begun a turn, and discards the others. Returns whether any has not
/// ended.
fn step_each(
    core: &Scheduler,
    drain: &Drain<'_>,
    depth: u32,
    is_discarded: &impl Fn(&Record) -> bool,
) -> bool {
    let mut are_left = false;
    for task in core.tasks.iter() {
        let Some(record) = Record::of(task).filter(|record| record.depth == depth) else {
            continue;
        };
        if has_begun(task) {
            let id = task.id.get();
            drain.step(task);
            are_left |= task.alive.get() && task.id.get() == id;
        } else if is_discarded(record) {
            discard(task);
        }
    }
    are_left
}

/// Gives up the tasks of a depth that have begun, and discards the others. Returns how many have begun.
fn give_up_rest(core: &Scheduler, depth: u32, is_discarded: &impl Fn(&Record) -> bool) -> usize {
    let mut given_up = 0;
    for task in core.tasks.iter() {
        let Some(record) = Record::of(task).filter(|record| record.depth == depth) else {
            continue;
        };
        if has_begun(task) {
            give_up(core, task);
            given_up += 1;
        } else if is_discarded(record) {
            discard(task);
        }
    }
    given_up
}

/// Leaves a task that cannot be unwound as it is, for ever. Somebody may have borrowed from its
/// stack, and its frames may borrow from its record and from what else belongs to it.
fn give_up(core: &Scheduler, task: &Task) {
    core.tasks.leak_stack(task);
    task.belongings.set(null());
    forget(Record::take(task));
}
