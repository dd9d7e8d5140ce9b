//! What C++ keeps of exceptions for each thread, which belongs to a task here.
//!
//! The Itanium C++ ABI (2.2.2) has two words per thread: the exceptions that have been caught and
//! whose handlers have not ended, and how many have been thrown and not caught yet. A task that
//! suspends inside a `catch` block, or in a destructor that an exception runs, leaves them behind:
//! without care the next task would end, or rethrow, an exception of this one. So each context
//! keeps its own, like errno.

use std::cell::Cell;
use std::ptr::null_mut;

use crate::sys;

/// The words as the C++ runtime lays them out.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Exceptions {
    caught: *mut u8,
    uncaught: u32,
}

impl Exceptions {
    /// Those of a task that has not begun.
    pub const NONE: Exceptions = Exceptions { caught: null_mut(), uncaught: 0 };
}

/// Where the words of a thread are; or, in a program without C++, words of our own, so that a
/// switch need not ask.
pub struct Place {
    thread_words: Cell<*mut Exceptions>,
    own_words: Cell<Exceptions>,
}

impl Place {
    pub fn new() -> Place {
        Place { thread_words: Cell::new(null_mut()), own_words: Cell::new(Exceptions::NONE) }
    }

    /// Looks for the words of the calling thread. To be called before the others, on each thread
    /// that will, and again whenever the place has been moved.
    pub fn find(&self) {
        let found = sys::cxx_globals().cast::<Exceptions>();
        self.thread_words.set(if found.is_null() { self.own_words.as_ptr() } else { found });
    }

    #[inline(always)]
    pub fn get(&self) -> Exceptions {
        // SAFETY: words of this thread, which runs the scheduler; or our own.
        unsafe { *self.thread_words.get() }
    }

    #[inline(always)]
    pub fn set(&self, words: Exceptions) {
        // SAFETY: as in `get`. Nothing else refers to them but the C++ runtime, in calls that end.
        unsafe { *self.thread_words.get() = words };
    }
}
