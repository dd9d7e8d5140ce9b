//! A list of tasks that wait for the same thing, first come first.
//!
//! Doubly linked through the tasks, so that one whose time runs out leaves it in O(1). A task waits
//! in one list at most; `Task::waits` says where, and is set by whoever owns the list.

use std::cell::Cell;
use std::ptr::null;

use crate::task_object::Task;

/// The list. Its tasks stay parked, and where they are, while they are in it.
pub struct Waiters {
    first: Cell<*const Task>,
    last: Cell<*const Task>,
}

impl Default for Waiters {
    fn default() -> Waiters {
        Waiters { first: Cell::new(null()), last: Cell::new(null()) }
    }
}

impl Waiters {
    pub fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Adds a task at the end.
    pub fn push(&self, task: &Task) {
        let last = self.last.replace(task);
        task.next_waiter.set(null());
        task.previous_waiter.set(last);
        // SAFETY: a waiting task is alive.
        match unsafe { last.as_ref() } {
            Some(last) => last.next_waiter.set(task),
            None => self.first.set(task),
        }
    }

    /// Takes a task out that is in this list.
    pub fn remove(&self, task: &Task) {
        let (previous, next) =
            (task.previous_waiter.replace(null()), task.next_waiter.replace(null()));
        // SAFETY: the neighbours wait too, so they are alive.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next_waiter.set(next),
            None => self.first.set(next),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous_waiter.set(previous),
            None => self.last.set(previous),
        }
    }

    /// Takes the first task out.
    pub fn pop<'t>(&self) -> Option<&'t Task> {
        // SAFETY: a waiting task is alive.
        let task = unsafe { self.first.get().as_ref() }?;
        self.remove(task);
        Some(task)
    }

    /// The tasks, first come first. The one that was returned last may be removed meanwhile.
    pub fn iter<'t>(&self) -> impl Iterator<Item = &'t Task> + use<'t> {
        let mut next = self.first.get();
        std::iter::from_fn(move || {
            // SAFETY: a waiting task is alive.
            let task = unsafe { next.as_ref() }?;
            next = task.next_waiter.get();
            Some(task)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::{eq, from_ref};

    use super::Waiters;
    use crate::task_object::Task;

    fn order(waiters: &Waiters) -> Vec<*const Task> {
        waiters.iter().map(from_ref).collect()
    }

    #[test]
    fn tasks_leave_from_any_place_and_the_others_keep_their_order() {
        let tasks: [Task; 4] = Default::default();
        let [a, b, c, d] = tasks.each_ref();
        let waiters = Waiters::default();
        tasks.iter().for_each(|task| waiters.push(task));
        waiters.remove(b);
        assert_eq!(order(&waiters), [a, c, d].map(from_ref));
        waiters.remove(d);
        waiters.push(b);
        assert_eq!(order(&waiters), [a, c, b].map(from_ref));
        for task in waiters.iter().filter(|task| !eq(*task, c)) {
            waiters.remove(task);
        }
        assert!(waiters.pop().is_some_and(|task| eq(task, c)));
        assert!(waiters.pop().is_none());
        waiters.push(d);
        assert_eq!(order(&waiters), [from_ref(d)]);
    }
}
