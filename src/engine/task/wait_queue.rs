//! The wait queue: an intrusive FIFO list of an object's waiters.
//!
//! Doubly linked through the waiters, so that a timeout unlinks one in O(1). A waiter is a task,
//! which is in one queue at most, named by `Task::wait`; or a case of a select, whose task has one
//! case in each queue.

use std::cell::Cell;
use std::ptr::null;

/// A member of a wait queue.
pub trait Waiter: Sized {
    fn links(&self) -> &Links<Self>;
}

/// A waiter's neighbours.
pub struct Links<W> {
    next: Cell<*const W>,
    previous: Cell<*const W>,
}

impl<W> Default for Links<W> {
    fn default() -> Links<W> {
        Links { next: Cell::new(null()), previous: Cell::new(null()) }
    }
}

/// The queue. Waiters stay alive, and keep their addresses, while they are in it.
pub struct WaitQueue<W> {
    first: Cell<*const W>,
    last: Cell<*const W>,
}

impl<W> Default for WaitQueue<W> {
    fn default() -> WaitQueue<W> {
        WaitQueue::new()
    }
}

impl<W> WaitQueue<W> {
    pub const fn new() -> WaitQueue<W> {
        WaitQueue { first: Cell::new(null()), last: Cell::new(null()) }
    }

    pub fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Empties it of waiters that are not there any more.
    pub fn forget_all(&self) {
        self.first.set(null());
        self.last.set(null());
    }

    /// The first waiter.
    pub fn first<'w>(&self) -> Option<&'w W> {
        // SAFETY: a waiter is alive.
        unsafe { self.first.get().as_ref() }
    }
}

impl<W: Waiter> WaitQueue<W> {
    /// Appends a waiter.
    pub fn push(&self, waiter: &W) {
        let last = self.last.replace(waiter);
        waiter.links().next.set(null());
        waiter.links().previous.set(last);
        // SAFETY: a waiter is alive.
        match unsafe { last.as_ref() } {
            Some(last) => last.links().next.set(waiter),
            None => self.first.set(waiter),
        }
    }

    /// Removes a waiter, which is in this queue.
    pub fn remove(&self, waiter: &W) {
        let links = waiter.links();
        let (previous, next) = (links.previous.replace(null()), links.next.replace(null()));
        // SAFETY: the neighbours wait too, so they are alive.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.links().next.set(next),
            None => self.first.set(next),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.links().previous.set(previous),
            None => self.last.set(previous),
        }
    }

    /// The waiter behind one that is in this queue.
    pub fn behind<'w>(&self, waiter: &W) -> Option<&'w W> {
        // SAFETY: a waiter is alive.
        unsafe { waiter.links().next.get().as_ref() }
    }

    /// Removes the first waiter.
    pub fn pop<'w>(&self) -> Option<&'w W> {
        let first = self.first()?;
        self.remove(first);
        Some(first)
    }

    /// All waiters in FIFO order. The current one may be removed during the iteration.
    pub fn iter<'w>(&self) -> impl Iterator<Item = &'w W> + use<'w, W>
    where
        W: 'w,
    {
        let mut next = self.first.get();
        std::iter::from_fn(move || {
            // SAFETY: a waiter is alive.
            let waiter = unsafe { next.as_ref() }?;
            next = waiter.links().next.get();
            Some(waiter)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::{eq, from_ref};

    use super::WaitQueue;
    use crate::engine::task::Task;

    fn order(waiters: &WaitQueue<Task>) -> Vec<*const Task> {
        waiters.iter().map(from_ref).collect()
    }

    #[test]
    fn tasks_leave_from_any_place_and_the_others_keep_their_order() {
        let tasks: [Task; 4] = Default::default();
        let [a, b, c, d] = tasks.each_ref();
        let waiters = WaitQueue::default();
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
