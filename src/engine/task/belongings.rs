//! What belongs to a task beyond the fields that each has: the functions that it has deferred to its end, and
//! its values of task-local keys.
//!
//! The functions are in blocks of one size, a stack of them: the scheduler has such blocks, and is asked for
//! them.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};

use crate::engine::sys::{self, Error, Result};

/// A function that can be deferred.
pub type Deferrable = unsafe extern "C" fn(*mut c_void);

/// A function that is called when the task ends, and its argument.
#[derive(Clone, Copy)]
pub struct Deferred {
    pub function: Deferrable,
    pub argument: *mut c_void,
}

/// What belongs to one task.
pub struct Belongings {
    /// The newest part of the stack, and how many are in it.
    newest: Cell<*mut Part>,
    in_newest: Cell<usize>,
    /// How many are deferred altogether.
    count: Cell<usize>,
    /// The values of the first keys, by index; null for none. And those of the others, once there is one.
    first: [Cell<*mut c_void>; FIRST],
    others: Cell<*mut Others>,
}

const FIRST: usize = 8;

/// How many values there can be.
pub const MOST_VALUES: usize = 128;

type Others = [Cell<*mut c_void>; MOST_VALUES - FIRST];

/// A part of the stack.
pub struct Part {
    older: *mut Part,
    entries: [MaybeUninit<Deferred>; IN_PART],
}

const IN_PART: usize = 7;

/// How many can be deferred at a time: a loop that defers and never ends finds out.
const MOST: usize = 1 << 16;

impl Belongings {
    pub const fn new() -> Belongings {
        Belongings {
            newest: Cell::new(null_mut()),
            in_newest: Cell::new(IN_PART),
            count: Cell::new(0),
            first: [const { Cell::new(null_mut()) }; FIRST],
            others: Cell::new(null_mut()),
        }
    }

    /// The value of the key with this index.
    #[inline]
    fn place(&self, index: usize) -> Option<&Cell<*mut c_void>> {
        match self.first.get(index) {
            // SAFETY: null, or made by `set_value`, and there as long as this.
            None => unsafe { self.others.get().as_ref() }?.get(index - FIRST),
            first => first,
        }
    }

    /// The value of the key with this index, which may be any; null if there is none.
    #[inline]
    pub fn value(&self, index: usize) -> *mut c_void {
        self.place(index).map_or(null_mut(), Cell::get)
    }

    /// The indices of the values that are not null, also of those that are set during the iteration, if it
    /// has not come to them yet.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        let mut next = 0;
        std::iter::from_fn(move || {
            loop {
                let index = next;
                next += 1;
                if !self.place(index)?.get().is_null() {
                    return Some(index);
                }
            }
        })
    }

    /// Takes a value out.
    pub fn take_value(&self, index: usize) -> *mut c_void {
        self.place(index).map_or(null_mut(), |place| place.replace(null_mut()))
    }

    /// Sets the value of the key with this index, which a key has.
    pub fn set_value(&self, index: usize, value: *mut c_void) -> Result<()> {
        if index >= FIRST && self.others.get().is_null() && !value.is_null() {
            let others = sys::allocate::<Others>(1);
            if others.is_null() {
                return Err(Error::OutOfMemory);
            }
            // SAFETY: fresh memory. Zeros are cells of null pointers.
            unsafe { others.write_bytes(0, 1) };
            self.others.set(others);
        }
        // Without a place there was none, and now there is none.
        if let Some(place) = self.place(index) {
            place.set(value);
        }
        Ok(())
    }

    /// Releases the memory of the values.
    pub fn forget_values(&self) {
        // SAFETY: null, or made by `set_value`, and nothing refers to it.
        unsafe { sys::free(self.others.replace(null_mut()).cast()) };
    }

    /// Defers a function. `memory` gives room for a [`Part`].
    pub fn push(
        &self,
        deferred: Deferred,
        memory: impl FnOnce() -> Option<NonNull<Part>>,
    ) -> Result<()> {
        if self.count.get() == MOST {
            return Err(Error::OutOfMemory);
        }
        if self.in_newest.get() == IN_PART {
            let part = memory().ok_or(Error::OutOfMemory)?.as_ptr();
            // SAFETY: room for a part, which nobody uses.
            unsafe { (&raw mut (*part).older).write(self.newest.replace(part)) };
            self.in_newest.set(0);
        }
        // SAFETY: the newest part, which has room for another entry.
        unsafe { (*self.newest.get()).entries[self.in_newest.get()].write(deferred) };
        self.in_newest.set(self.in_newest.get() + 1);
        self.count.set(self.count.get() + 1);
        Ok(())
    }

    /// Takes the newest one out. `release` is given memory that is not used any more.
    pub fn pop(&self, release: impl FnOnce(NonNull<Part>)) -> Option<Deferred> {
        let newest = NonNull::new(self.newest.get())?;
        let left = self.in_newest.get() - 1;
        // SAFETY: the newest part has this entry, and one at least.
        let (deferred, older) = unsafe {
            let part = newest.as_ref();
            (part.entries[left].assume_init(), part.older)
        };
        self.count.set(self.count.get() - 1);
        self.in_newest.set(left);
        if left == 0 {
            self.newest.set(older);
            self.in_newest.set(IN_PART);
            release(newest);
        }
        Some(deferred)
    }
}
