//! A list of those who wait for the same thing, first come first.
//!
//! Doubly linked through the waiters themselves, so that one whose time runs out leaves in O(1).
//! These are tasks, each in one list at most: `Task::wait` says where. A task that waits for one of
//! several things is in several lists, not by itself but by an entry of its own for each.

use std::cell::Cell;
use std::ptr::null;

/// What can be in a list.
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

/// The list. Those in it stay alive, and where they are, while they are in it.
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

    /// The first one.
    pub fn first<'w>(&self) -> Option<&'w W> {
        // SAFETY: a waiter is alive.
        unsafe { self.first.get().as_ref() }
    }
}

impl<W: Waiter> WaitQueue<W> {
    /// Adds one at the end.
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

    /// Takes one out that is in this list.
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

    /// Takes the first one out.
    pub fn pop<'w>(&self) -> Option<&'w W> {
        let first = self.first()?;
        self.remove(first);
        Some(first)
    }

    /// All, first come first. The one that was returned last may be removed meanwhile.
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
