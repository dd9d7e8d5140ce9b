//! The context switch: what only assembly can do, one file per architecture.
//!
//! A context is a suspended computation: a stack, whose lowest live bytes are a [`Frame`] with the
//! callee-saved registers of the C calling convention. A context is identified by the address of
//! that frame. [`switch`] saves the running computation as a context and resumes another. It is
//! symmetric (any context may switch to any other) and it ends in the return that matches the call
//! it resumes, so the processor predicts the return as long as contexts suspend at the same place:
//! measured, 4 to 7 ns, against 26 ns for a coroutine library's pair of `resume` and `suspend`.
//!
//! Each architecture file has:
//! - `Frame`, with a drawing, and `switch`;
//! - `task_entry`, where a new context begins;
//! - `call_barrier`, a call that no exception leaves: see [`callback`](super::callback);
//! - `FloatModes`, the floating-point control registers, which belong to a context too;
//! - `thread`, the address of this thread's [`Thread`], and `stack_pointer`;
//! - `ticks` and `ticks_are_invariant`, the cycle counter;
//! - `valgrind_request`, the instruction sequence of Valgrind's client requests;
//! - `log_trampoline!`, the body of an exported variadic function.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(target_arch = "aarch64")]
#[path = "switch/aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "switch/x86_64.rs"]
mod arch;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Majjen runs on x86-64 and aarch64");

pub(crate) use arch::log_trampoline;
pub use arch::{
    FloatModes, Frame, call_barrier, prefetch, read_word, rows_without, stack_pointer, switch,
    thread, ticks, ticks_are_invariant,
};

/// This thread's part of the library; `src/shim/thread.c` declares it.
#[repr(C)]
pub struct Thread {
    /// The scheduler that is running on this thread, or null. Set by `engine::scheduler`, which
    /// knows its type.
    pub scheduler: Cell<*const c_void>,
    /// The scheduler's field `current_task`; null without a scheduler. For modules that do not know
    /// the scheduler: see `engine::task::running`.
    pub current_task: Cell<*const c_void>,
    /// The scheduler's moment from which tasks that suspend switch to its loop; null without a
    /// scheduler.
    pub yield_at: Cell<*const AtomicU64>,
    /// Whether a log callback is running on this thread, outside any task.
    pub in_log_callback: Cell<bool>,
    /// The job whose function runs on this thread, outside any task; null for none. `engine::pool` knows
    /// its type.
    pub job: Cell<*const c_void>,
    /// How many calls of the C library that may block this library is in: `OwnCall` in
    /// `engine/sys/cancellation.rs`.
    pub own_calls: Cell<usize>,
    /// The signal that its handler hands on now: see `engine/process/handler.rs`.
    pub passed: Cell<Passed>,
}

/// A delivery of a signal that is handed on to another handler.
#[derive(Clone, Copy)]
pub struct Passed {
    /// Which; 0 for none.
    pub delivery: usize,
    /// Where on the stack the call is that hands it on.
    pub by: usize,
}

unsafe extern "C" {
    /// A [`Thread`], which is no type of C; only its address is taken, by `arch::thread`.
    #[link_name = "majjen_thread"]
    pub static THREAD: [usize; 8];
}
const _: () = assert!(size_of::<Thread>() == size_of::<[usize; 8]>());

/// Makes the running task of this thread, if there is one, switch to the loop when it suspends next.
/// Safe in a signal handler, which may have interrupted anything.
pub fn yield_to_loop() {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let at = unsafe { &*thread() }.yield_at.get();
    // SAFETY: null, or a field of the scheduler that runs on this thread.
    if let Some(at) = unsafe { at.as_ref() } {
        at.store(0, Relaxed);
    }
}

// Functions that the C shim calls must not be exported, as `#[no_mangle]` functions would be.
std::arch::global_asm!(".hidden majjen_log_emit", ".hidden majjen_log_misuse");

/// The entry function of a context. It never returns: nothing has called it.
///
/// `C-unwind`, so that the search for an exception's handler gets as far as `task_entry`.
pub type Entry = unsafe extern "C-unwind" fn(*const c_void) -> !;

/// Builds a context that will call `entry(argument)` at the top of a fresh stack.
///
/// # Safety
/// At least [`FRAME_BYTES`] below `stack_top`, which is 16-byte aligned, are writable and unused.
pub unsafe fn new_context(
    stack_top: *mut u8,
    entry: Entry,
    argument: *const c_void,
    modes: FloatModes,
) -> *mut u8 {
    // SAFETY: the frame fits below the top, by contract; it is aligned because its size is a
    // multiple of 16.
    unsafe {
        let frame = stack_top.cast::<arch::Frame>().sub(1);
        frame.write(arch::Frame::first(entry, argument, modes));
        frame.cast()
    }
}

/// Bytes of a stack that [`new_context`] uses.
pub const FRAME_BYTES: usize = size_of::<arch::Frame>();
const _: () = assert!(FRAME_BYTES.is_multiple_of(16));

/// VALGRIND_STACK_REGISTER, so that Valgrind does not take a switch for a huge frame. Returns the
/// stack id, 0 outside Valgrind.
pub fn valgrind_register_stack(lowest: *mut u8, top: *mut u8) -> usize {
    arch::valgrind_request([0x1501, lowest as usize, top as usize, 0, 0, 0])
}

/// VALGRIND_STACK_DEREGISTER.
pub fn valgrind_deregister_stack(number: usize) {
    arch::valgrind_request([0x1502, number, 0, 0, 0, 0]);
}

/// VALGRIND_MAKE_MEM_DEFINED: it is no error to look at that memory, whatever is in it.
pub fn valgrind_allow_reading(memory: *const u8, bytes: usize) {
    arch::valgrind_request([0x4D43_0002, memory as usize, bytes, 0, 0, 0]);
}

/// RUNNING_ON_VALGRIND.
pub fn on_valgrind() -> bool {
    arch::valgrind_request([0x1001, 0, 0, 0, 0, 0]) != 0
}

#[cfg(test)]
mod tests {
    use super::rows_without;

    #[test]
    fn a_word_is_found_in_its_row() {
        const ROWS: usize = 5;
        let (wanted, width) = (0x7f12_3456_7890_usize, 1);
        for at in 0..8 * ROWS {
            // Half of a word alone is none, but may be taken for one.
            let mut words = [wanted & !0xffff_ffff; 8 * ROWS];
            words[at] = wanted;
            for begin in 0..=at {
                let rows = (words.len() - begin) / 8;
                // SAFETY: the rows are of these words.
                let before = unsafe { rows_without(words[begin..].as_ptr(), rows, wanted, width) };
                assert_eq!(before, ((at - begin) / 8).min(rows), "{at} from {begin}");
            }
        }
        // Of more words than one there may be fewer, which are looked at one by one then.
        let words = [wanted + 2; 8];
        // SAFETY: the row is of these words.
        assert_eq!(unsafe { rows_without(words.as_ptr(), 1, wanted, 3) }, 0);
        // SAFETY: there is no row.
        assert_eq!(unsafe { rows_without(&wanted, 0, wanted, width) }, 0);
    }
}
