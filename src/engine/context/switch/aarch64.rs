//! The AAPCS64 convention: a callee keeps x19 to x30, d8 to d15 and the FPCR.

use std::arch::{asm, naked_asm};
use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr::null_mut;

use super::{Entry, THREAD, Thread};
use crate::engine::context::callback::no_exception_leaves;
use crate::engine::context::thread_state::ThreadState;

/// A suspended context, from its stack pointer up (`tools/majjen-gdb.py` knows it too):
///
/// ```text
///   +0    x19 x20 x21 x22 x23 x24 x25 x26 x27 x28
///   +80   x29 (frame pointer), x30 (return address: `task_entry` at first)
///   +96   d8 d9 d10 d11 d12 d13 d14 d15
///   +160  FPCR
///   +168  errno (4 bytes), exceptions in flight (4 bytes)
///   +176  exceptions being handled, 8 bytes unused
///   +192  the caller's frame
/// ```
#[repr(C)]
pub struct Frame {
    x19: usize,
    x20: usize,
    x21_to_x28: [usize; 8],
    x29: usize,
    x30: usize,
    d8_to_d15: [u64; 8],
    modes: FloatModes,
    errno: c_int,
    uncaught: u32,
    caught: *mut u8,
    unused: u64,
}

impl Frame {
    /// For debuggers: where the caller's frame, its frame pointer and where it goes on are.
    pub const CALLER_OFFSET: usize = size_of::<Frame>();
    pub const FP_OFFSET: usize = offset_of!(Frame, x29);
    pub const PC_OFFSET: usize = offset_of!(Frame, x30);

    /// A context that begins at `task_entry`.
    pub fn first(entry: Entry, argument: *const c_void, modes: FloatModes) -> Frame {
        Frame {
            x19: argument as usize,
            x20: entry as usize,
            x21_to_x28: [0; 8],
            x29: 0,
            x30: task_entry as *const () as usize,
            d8_to_d15: [0; 8],
            modes,
            errno: 0,
            uncaught: 0,
            caught: null_mut(),
            unused: 0,
        }
    }
}

/// Prefetches the cache lines of a suspended context, or of the part of a task object that a turn
/// needs. Any address is allowed.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    // SAFETY: hints, which have no effect but on time.
    unsafe {
        asm!("prfm pldl1keep, [{0}]", "prfm pldl1keep, [{0}, 64]", "prfm pldl1keep, [{0}, 128]",
            in(reg) address, options(nostack, preserves_flags, readonly));
    }
}

/// Suspends the running context, stores its stack pointer through `save`, and resumes the context
/// `resume`. Returns when this context is resumed. errno and the exception state in `thread_state`
/// are saved with the one context, and loaded from the other.
///
/// # Safety
/// `save` is writable. `resume` is a suspended context whose stack is alive and which nothing else
/// resumes. `thread_state` is bound to this thread. No borrow that the other contexts could
/// invalidate is alive.
#[unsafe(naked)]
pub unsafe extern "C" fn switch(
    save: *mut *mut u8,
    resume: *mut u8,
    thread_state: *const ThreadState,
) {
    naked_asm!(
        ".cfi_startproc",
        "hint #34", // bti c
        "sub sp, sp, #192",
        ".cfi_def_cfa_offset 192",
        "stp x19, x20, [sp, #0]",
        ".cfi_rel_offset x19, 0",
        ".cfi_rel_offset x20, 8",
        "stp x21, x22, [sp, #16]",
        ".cfi_rel_offset x21, 16",
        ".cfi_rel_offset x22, 24",
        "stp x23, x24, [sp, #32]",
        ".cfi_rel_offset x23, 32",
        ".cfi_rel_offset x24, 40",
        "stp x25, x26, [sp, #48]",
        ".cfi_rel_offset x25, 48",
        ".cfi_rel_offset x26, 56",
        "stp x27, x28, [sp, #64]",
        ".cfi_rel_offset x27, 64",
        ".cfi_rel_offset x28, 72",
        "stp x29, x30, [sp, #80]",
        ".cfi_rel_offset x29, 80",
        ".cfi_rel_offset x30, 88",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mrs x9, fpcr",
        "str x9, [sp, #160]",
        "ldp x11, x12, [x2]", // where errno is, where exceptions are
        "ldr w13, [x11]",
        "str w13, [sp, #168]",
        "ldr w13, [x1, #168]",
        "str w13, [x11]",
        "cbz x12, 2f", // No C++ in this program, so none in the other context either.
        "ldr w13, [x12, #8]",
        "str w13, [sp, #172]",
        "ldr x13, [x12]",
        "str x13, [sp, #176]",
        "ldr w13, [x1, #172]",
        "str w13, [x12, #8]",
        "ldr x13, [x1, #176]",
        "str x13, [x12]",
        "2:",
        // From here on the same description holds of the other stack.
        "mov x10, sp",
        "str x10, [x0]",
        "mov sp, x1",
        "ldr x10, [sp, #160]",
        "cmp x9, x10", // Writing the FPCR is slow, and it rarely differs.
        "b.eq 3f",
        "msr fpcr, x10",
        "3:",
        "ldp d14, d15, [sp, #144]",
        "ldp d12, d13, [sp, #128]",
        "ldp d10, d11, [sp, #112]",
        "ldp d8, d9, [sp, #96]",
        "ldp x29, x30, [sp, #80]",
        "ldp x27, x28, [sp, #64]",
        "ldp x25, x26, [sp, #48]",
        "ldp x23, x24, [sp, #32]",
        "ldp x21, x22, [sp, #16]",
        "ldp x19, x20, [sp, #0]",
        "add sp, sp, #192",
        ".cfi_def_cfa_offset 0",
        ".cfi_same_value x19",
        ".cfi_same_value x20",
        ".cfi_same_value x21",
        ".cfi_same_value x22",
        ".cfi_same_value x23",
        ".cfi_same_value x24",
        ".cfi_same_value x25",
        ".cfi_same_value x26",
        ".cfi_same_value x27",
        ".cfi_same_value x28",
        ".cfi_same_value x29",
        ".cfi_same_value x30",
        "ret",
        ".cfi_endproc",
    )
}

/// Where a new context begins: calls `x20(x19)`. Unwinders are told that nothing called it, and that
/// no exception leaves it: the word at the stack pointer is 0.
#[unsafe(naked)]
unsafe extern "C" fn task_entry() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}", // relative to the place where it is
        ".cfi_undefined x30",
        "hint #36", // bti j
        "stp xzr, xzr, [sp, #-16]!",
        "mov x0, x19",
        "blr x20",
        "brk #1",
        ".cfi_endproc",
        personality = sym no_exception_leaves,
    )
}

/// Calls `function` with three arguments in a frame that no exception leaves: the word at the stack
/// pointer is `what`.
///
/// # Safety
/// The function may be called with these arguments; `what` is a string.
#[unsafe(naked)]
pub unsafe extern "C" fn call_barrier(
    first: usize,
    second: usize,
    third: usize,
    function: *const c_void,
    what: *const c_char,
) -> u64 {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}",
        "hint #34", // bti c
        "stp x4, x29, [sp, #-32]!",
        ".cfi_def_cfa_offset 32",
        ".cfi_offset x29, -24",
        "str x30, [sp, #16]",
        ".cfi_offset x30, -16",
        "blr x3",
        "ldr x30, [sp, #16]",
        "ldr x29, [sp, #8]",
        "add sp, sp, #32",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore x29",
        ".cfi_restore x30",
        "ret",
        ".cfi_endproc",
        personality = sym no_exception_leaves,
    )
}

/// Rounding, flush-to-zero and the like: the control register that a context keeps.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct FloatModes {
    fpcr: u64,
}

impl FloatModes {
    /// Those of the running context.
    #[inline]
    pub fn read() -> FloatModes {
        let fpcr;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) }
        FloatModes { fpcr }
    }

    /// Makes them those of the running context.
    #[inline]
    pub fn restore(self) {
        if FloatModes::read().fpcr != self.fpcr {
            // SAFETY: the value was read from the register before, so it is valid.
            unsafe { asm!("msr fpcr, {}", in(reg) self.fpcr, options(nostack, preserves_flags)) }
        }
    }
}

/// This thread's part of the library.
#[inline(always)]
pub fn thread() -> *const Thread {
    let thread: *const Thread;
    // SAFETY: the initial-exec access of the AArch64 ELF TLS convention: the variable's offset from
    // the global offset table, added to the thread pointer register.
    unsafe {
        asm!(
            "mrs {thread}, tpidr_el0",
            "adrp {offset}, :gottprel:{variable}",
            "ldr {offset}, [{offset}, :gottprel_lo12:{variable}]",
            "add {thread}, {thread}, {offset}",
            thread = out(reg) thread,
            offset = out(reg) _,
            variable = sym THREAD,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    thread
}

/// Where the stack ends, whatever a sanitizer has made of the variables.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let here;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) here, options(nomem, nostack, preserves_flags)) }
    here
}

/// Reads a word of a stack that others are at work on: no sanitizer looks at it.
///
/// # Safety
/// The memory can be read.
#[inline]
pub unsafe fn read_word(address: *const usize) -> usize {
    let word: usize;
    // SAFETY: as this function's contract says; an aligned load changes nothing else.
    unsafe {
        asm!(
            "ldr {word}, [{address}]",
            word = out(reg) word,
            address = in(reg) address,
            options(readonly, nostack, preserves_flags),
        );
    }
    word
}

/// Of `rows` rows of eight words from an address on, how many there are before one that may have a word from
/// `first` up to `width - 1` more; no sanitizer looks at them.
///
/// # Safety
/// The memory can be read.
#[inline]
pub unsafe fn rows_without(from: *const usize, rows: usize, first: usize, width: usize) -> usize {
    // SAFETY: as this function's contract says.
    let word = |index: usize| unsafe { read_word(from.add(index)) };
    // Without a branch for each word.
    let has = |row: usize| {
        (8 * row..8 * row + 8).fold(false, |has, at| has | (word(at).wrapping_sub(first) < width))
    };
    (0..rows).find(|row| has(*row)).unwrap_or(rows)
}

/// The virtual counter.
#[inline(always)]
pub fn ticks() -> u64 {
    let ticks;
    // SAFETY: reads a register that Linux lets programs read.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) }
    ticks
}

/// Whether [`ticks`] counts at a constant rate: the architecture says so.
pub fn ticks_are_invariant() -> bool {
    true
}

/// The request sequence of Valgrind's client interface, which does nothing on a processor. Returns
/// 0 outside Valgrind.
pub fn valgrind_request(request: [usize; 6]) -> usize {
    let mut answer = 0usize;
    // SAFETY: the rotations add up to two whole turns of x12, the last instruction copies a
    // register to itself; Valgrind reads the request and writes the answer to x3.
    unsafe {
        asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            inout("x3") answer,
            in("x4") &request,
            out("x12") _,
            options(nostack),
        );
    }
    answer
}

/// The body of a naked function `(level, ...)`: returns when the level is below the one in a static
/// `AtomicU32`, else goes on in a C function with all arguments as they are.
macro_rules! log_trampoline {
    ($threshold:path, $target:path) => {
        std::arch::naked_asm!(
            ".cfi_startproc",
            "hint #34", // bti c
            "adrp x16, {threshold}",
            "ldr w16, [x16, :lo12:{threshold}]",
            "cmp w0, w16",
            "b.lo 2f",
            "b {target}",
            "2: ret",
            ".cfi_endproc",
            threshold = sym $threshold,
            target = sym $target,
        )
    };
}
pub(crate) use log_trampoline;
