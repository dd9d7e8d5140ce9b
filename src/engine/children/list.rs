//! A list of what has a place for it.

use std::cell::Cell;
use std::ptr::null_mut;

/// What can be in a list.
pub trait Linked {
    /// The next one of the list.
    fn next(&self) -> &Cell<*mut Self>;
}

/// A list, from which an iteration takes what it gives.
pub struct List<T>(*mut T);

impl<T: Linked> List<T> {
    pub const fn new() -> List<T> {
        List(null_mut())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// # Safety
    /// It is alive as long as it is in the list, and in no other one.
    pub unsafe fn add(&mut self, it: *mut T) {
        // SAFETY: as this function's contract says.
        unsafe { (*it).next().set(self.0) };
        self.0 = it;
    }

    /// Takes some out.
    pub fn take_out(&mut self, is_one: impl Fn(*mut T) -> bool) -> List<T> {
        let (mut taken, mut rest) = (List::new(), List::new());
        for it in List(self.0) {
            // SAFETY: as `add` was told, from one list to another one.
            unsafe { if is_one(it) { taken.add(it) } else { rest.add(it) } }
        }
        self.0 = rest.0;
        taken
    }
}

impl<T: Linked> Iterator for List<T> {
    type Item = *mut T;

    /// Takes the first one out.
    fn next(&mut self) -> Option<*mut T> {
        let first = self.0;
        // SAFETY: null, or alive, as `add` was told.
        self.0 = unsafe { first.as_ref() }?.next().get();
        Some(first)
    }
}
