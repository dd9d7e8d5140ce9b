//! The static probes of tasks: see `context/probe.rs`. Each has the address of the task, and its id.

use std::mem::offset_of;

use super::object::Task;
use super::wait::Wait;
use crate::engine::context::probe::{argument, probe};

/// A probe of a task, with further arguments and their operands.
macro_rules! task_probe {
    ($name:literal, $task:ident $(, [$($argument:expr),*], $($operands:tt)*)?) => {
        probe!(
            $name,
            [argument!(value "task"), argument!(memory "task", "id") $(, $($argument),*)?],
            task = in(reg) std::ptr::from_ref($task),
            id = const offset_of!(Task, id),
            $($($operands)*)?
        )
    };
}

/// It has been made.
#[inline(always)]
pub fn start(task: &Task) {
    task_probe!("task_start", task);
}

/// It ends.
#[inline(always)]
pub fn end(task: &Task) {
    task_probe!("task_end", task);
}

/// It begins to wait. Also the address of what says for what kind of thing, which begins with that of a name, 0
/// for none, and the thing.
#[inline(always)]
pub fn wait_begin(task: &Task) {
    task_probe!(
        "wait_begin",
        task,
        [argument!(memory "task", "kind"), argument!(memory "task", "object")],
        kind = const offset_of!(Task, wait) + Wait::KIND_OFFSET,
        object = const offset_of!(Task, wait) + Wait::OBJECT_OFFSET,
    );
}

/// A wait has ended, and it runs.
#[inline(always)]
pub fn wait_end(task: &Task) {
    task_probe!("wait_end", task);
}

/// A turn of it has ended that was longer than a round. Also how long, in ticks of the counter.
#[inline(always)]
pub fn long_turn(task: &Task, ticks: u64) {
    task_probe!("long_turn", task, [argument!(value "ticks")], ticks = in(reg) ticks,);
}
