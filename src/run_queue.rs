//! The run queue: the tasks that are ready, first in, first out. Pure: no clock, no system call.
//!
//! A singly linked list through [`Task::next`]. A task is in one queue at most; `Task::queued` says
//! whether it is in one.

use std::cell::Cell;
use std::ptr::null;

use crate::task_object::Task;

/// A queue of tasks. C reads the fields, in this order.
#[repr(C)]
pub struct RunQueue {
    pub head: Cell<*const Task>,
    pub tail: Cell<*const Task>,
    pub count: Cell<usize>,
}

impl RunQueue {
    pub const fn new() -> RunQueue {
        RunQueue { head: Cell::new(null()), tail: Cell::new(null()), count: Cell::new(0) }
    }

    pub fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// Adds a task at the end. It must be in no queue, and must stay where it is while it is in
    /// this one.
    #[inline]
    pub fn push(&self, task: &Task) {
        debug_assert!(!task.queued.get());
        task.queued.set(true);
        task.next.set(null());
        let tail = self.tail.replace(task);
        if tail.is_null() {
            self.head.set(task);
        } else {
            // SAFETY: a queued task is alive, see the module's invariant.
            unsafe { (*tail).next.set(task) };
        }
        self.count.set(self.count.get() + 1);
    }

    /// Takes the first task out.
    #[inline]
    pub fn pop<'t>(&self) -> Option<&'t Task> {
        // SAFETY: a queued task is alive, and stays so while the scheduler is.
        let task = unsafe { self.head.get().as_ref() }?;
        let next = task.next.replace(null());
        self.head.set(next);
        if next.is_null() {
            self.tail.set(null());
        }
        self.count.set(self.count.get() - 1);
        task.queued.set(false);
        Some(task)
    }

    /// Moves all of another queue's tasks to the end of this one.
    pub fn append(&self, other: &RunQueue) {
        while let Some(task) = other.pop() {
            self.push(task);
        }
    }
}
