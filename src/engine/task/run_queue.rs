//! The run queue: the tasks that are ready, first in, first out. Pure: no clock, no system call.
//!
//! A singly linked list through [`Task::next`]. A task is in one queue at most; `Task::queued` says
//! whether it is in one.

use std::cell::Cell;
use std::ptr::null;

use super::object::Task;

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

    /// The first task, which stays in the queue.
    #[inline]
    pub fn first<'t>(&self) -> Option<&'t Task> {
        // SAFETY: a queued task is alive, and stays so while the scheduler is.
        unsafe { self.head.get().as_ref() }
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
        let task = self.first()?;
        let next = task.next.replace(null());
        self.head.set(next);
        if next.is_null() {
            self.tail.set(null());
        }
        self.count.set(self.count.get() - 1);
        task.queued.set(false);
        Some(task)
    }

    /// Adds a task at the end and takes the first one out, which is not the same: the queue must
    /// not be empty. As `push` and `pop`, in half the instructions.
    #[inline(always)]
    pub fn rotate<'t>(&self, task: &Task) -> Option<&'t Task> {
        debug_assert!(!task.queued.get());
        let first = self.first()?;
        task.queued.set(true);
        task.next.set(null());
        // SAFETY: the last of a queue that is not empty, so it is alive.
        unsafe { (*self.tail.replace(task)).next.set(task) };
        self.head.set(first.next.replace(null()));
        first.queued.set(false);
        Some(first)
    }

    /// Moves all of another queue's tasks to the end of this one.
    pub fn append(&self, other: &RunQueue) {
        while let Some(task) = other.pop() {
            self.push(task);
        }
    }
}
