//! Children that were let go. Somebody has to wait for them, or they stay in the system's list of processes: each
//! later call that makes or lets go a child looks at them.

use std::ptr::null_mut;

use super::child::Child;
use crate::engine::threads::Lock;

struct List(*mut Child);

// SAFETY: nobody else refers to a child in the list, which is used under its lock only.
unsafe impl Send for List {}

static ORPHANS: Lock<List> = Lock::in_static(List(null_mut()));

/// Adds a child that nobody uses any more.
pub fn add(child: *mut Child) {
    {
        let mut list = ORPHANS.lock();
        // SAFETY: it is alive, and from now on the list's.
        unsafe { (*child).next.set(list.0) };
        list.0 = child;
    }
    look();
}

/// Waits for those that have ended.
pub fn look() {
    let mut over: *mut Child = null_mut();
    {
        let mut list = ORPHANS.lock();
        let mut rest = null_mut();
        let mut next = list.0;
        // SAFETY: those in the list are alive, and the list's.
        while let Some(child) = unsafe { next.as_ref() } {
            let this = next;
            next = child.next.get();
            let list = if child.is_over() { &mut over } else { &mut rest };
            child.next.set(*list);
            *list = this;
        }
        list.0 = rest;
    }
    // SAFETY: taken out of the list, and nobody else's.
    while let Some(child) = unsafe { over.as_ref() } {
        let this = over;
        over = child.next.get();
        // SAFETY: as above.
        unsafe { Child::release(this) };
    }
}
