//! What the C library and the C++ runtime keep for each thread, which belongs to a context here:
//! errno and exceptions.
//!
//! The Itanium C++ ABI (2.2.2) has two words per thread: the exceptions that have been caught and
//! whose handlers have not ended, and how many have been thrown and not caught yet. A task that
//! suspends inside a `catch` block, or in a destructor that an exception runs, leaves them behind:
//! without care the next task would end, or rethrow, an exception of this one. So the switch saves
//! both words with a context, like errno, and puts back those of the context that it resumes.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr::null_mut;

use crate::engine::sys;

/// The two words as the C++ runtime lays them out.
#[derive(Clone, Copy)]
#[repr(C)]
struct Exceptions {
    caught: *mut u8,
    uncaught: u32,
}

const NO_EXCEPTIONS: Exceptions = Exceptions { caught: null_mut(), uncaught: 0 };

/// Where a thread's words are; in a program without C++ there are no exceptions: null. The assembly
/// knows this layout.
#[repr(C)]
pub struct ThreadState {
    errno: Cell<*mut c_int>,
    exceptions: Cell<*mut Exceptions>,
}

const _: () = assert!(offset_of!(ThreadState, errno) == 0);
const _: () = assert!(offset_of!(ThreadState, exceptions) == 8);
const _: () = assert!(offset_of!(Exceptions, caught) == 0 && offset_of!(Exceptions, uncaught) == 8);

impl ThreadState {
    pub fn new() -> ThreadState {
        ThreadState { errno: Cell::new(null_mut()), exceptions: Cell::new(null_mut()) }
    }

    /// Looks for the words of the calling thread. To be called before anything else, on each thread
    /// that will.
    pub fn bind(&self) {
        self.errno.set(sys::errno_address());
        self.exceptions.set(sys::cxx_globals().cast());
    }

    /// Makes them what a task begins with: no error, no exception.
    pub fn clear(&self) {
        // SAFETY: words of this thread, which runs the scheduler. Nothing else refers to them but
        // the C library and the C++ runtime, in calls that end.
        unsafe {
            *self.errno.get() = 0;
            if let Some(exceptions) = self.exceptions.get().as_mut() {
                *exceptions = NO_EXCEPTIONS;
            }
        }
    }
}
