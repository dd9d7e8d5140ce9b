//! Calls of the program's functions (its wait function, its clock, its log callback) out of frames
//! that must not be unwound: they are in the middle of something.
//!
//! An exception cannot leave such a call. The unwinder looks for a handler before it unwinds
//! anything, frame by frame, and asks each frame's personality routine. The frame of
//! [`switch::call_barrier`] has one of its own: it says on stderr whose exception it is, and that
//! the search has failed. The C++ runtime then calls `std::terminate()`, where the exception was
//! thrown, so that the program's own handler and a debugger find all as it was. `task_entry`, the
//! first frame of each task, has the same routine: it says so of a task's body.
//!
//! Nor can such a function be canceled, see [`Uncancelable`].

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write;

use super::switch;
use crate::engine::sys::{self, TruncatingWriter, Uncancelable};

/// Calls a function of up to three arguments; what it is is said of an exception that leaves it.
///
/// # Safety
/// `function` is the address of a function of C's calling convention that may be called with these
/// arguments: integers, in registers.
pub unsafe fn call(function: *const c_void, arguments: [usize; 3], what: &'static CStr) -> u64 {
    let _uncancelable = Uncancelable::begin();
    let [first, second, third] = arguments;
    // SAFETY: as this function's contract says.
    unsafe { switch::call_barrier(first, second, third, function, what.as_ptr()) }
}

/// Calls what releases an argument whose function will not be called, if there is anything to do.
///
/// # Safety
/// The function may be called with the argument.
pub unsafe fn abandon(function: Option<unsafe extern "C" fn(*mut c_void)>, argument: *mut c_void) {
    if let Some(function) = function {
        let arguments = [argument as usize, 0, 0];
        // SAFETY: as this function's contract says.
        unsafe { call(function as *const c_void, arguments, c"an abandon function") };
    }
}

unsafe extern "C" {
    /// Of the unwinder that the standard library is linked with: the stack pointer of the frame at
    /// its call.
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
}

/// The personality routine of a frame that no exception leaves. At its call the word at the stack
/// pointer is the address of what it calls in words, or 0 for a task's body.
pub extern "C" fn no_exception_leaves(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut c_void,
    context: *mut c_void,
) -> c_int {
    const SEARCH_PHASE: c_int = 1;
    const FATAL_PHASE1_ERROR: c_int = 3;
    const CONTINUE_UNWIND: c_int = 8;
    if actions & SEARCH_PHASE == 0 {
        return CONTINUE_UNWIND; // The end of a thread, by pthread_exit(), which has no handler.
    }
    // SAFETY: the unwinder's context of a frame as this function's comment says.
    let what = unsafe { *(_Unwind_GetCFA(context) as *const *const c_char) };
    let what = if what.is_null() {
        "the body of a task".into()
    } else {
        // SAFETY: a string that `call` was given, or null.
        unsafe { CStr::from_ptr(what) }.to_string_lossy()
    };
    let mut text = [0u8; 200];
    let mut line = TruncatingWriter::new(&mut text);
    let _ = writeln!(
        line,
        "majjen: an exception leaves {what}, which the library cannot let pass: catch it there"
    );
    sys::write_to_stderr(line.written());
    FATAL_PHASE1_ERROR
}
