//! Per-thread state of the C library and the C++ runtime that must belong to a context: errno and
//! exceptions in flight.
//!
//! The Itanium C++ ABI (2.2.2) has `__cxa_eh_globals` per thread: the stack of caught exceptions,
//! and the number of uncaught ones. A task may suspend inside a `catch` block, or in a destructor
//! that runs during unwinding; the next task would then end, or rethrow, its exception. So the
//! switch saves both with a context, like errno, and loads those of the context that it resumes.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr::null_mut;

use crate::engine::sys;

/// `__cxa_eh_globals`, as the C++ runtime lays it out.
#[derive(Clone, Copy)]
#[repr(C)]
struct Exceptions {
    caught: *mut u8,
    uncaught: u32,
}

const NO_EXCEPTIONS: Exceptions = Exceptions { caught: null_mut(), uncaught: 0 };

/// Pointers to a thread's errno and `__cxa_eh_globals`; the latter is null in a program without
/// C++. The assembly knows this layout.
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

    /// Binds this to the calling thread. Must be called first on each thread that switches.
    pub fn bind(&self) {
        self.errno.set(sys::errno_address());
        self.exceptions.set(sys::cxx_globals().cast());
    }

    /// Whether this was bound to another thread last: code that was suspended there may have kept
    /// the address of that thread's errno, as compilers do, and find it where it now runs no more.
    pub fn is_of_another_thread(&self) -> bool {
        let errno = self.errno.get();
        !errno.is_null() && errno != sys::errno_address()
    }

    /// Sets the state of a new task: no error, no exception.
    pub fn clear(&self) {
        // SAFETY: state of this thread, which runs the scheduler. Only the C library and the C++
        // runtime refer to it, and none of their calls is in progress.
        unsafe {
            *self.errno.get() = 0;
            if let Some(exceptions) = self.exceptions.get().as_mut() {
                *exceptions = NO_EXCEPTIONS;
            }
        }
    }
}
