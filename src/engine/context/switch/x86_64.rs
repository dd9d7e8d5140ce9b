//! The System V x86-64 convention: a callee keeps rbx, rbp, r12 to r15, the MXCSR control bits and
//! the x87 control word.

use std::arch::x86_64::{__cpuid, _MM_HINT_T0, _mm_prefetch, _rdtsc};
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
///   +0   MXCSR (4 bytes), x87 control word (2 bytes)
///   +8   errno (4 bytes), exceptions in flight (4 bytes)
///   +16  exceptions being handled
///   +24  r15    +32 r14    +40 r13    +48 r12    +56 rbx    +64 rbp
///   +72  return address: what `switch` returns to, `task_entry` at first
///   +80  the caller's frame; at first 16 zero bytes, where a debugger without unwind tables stops
/// ```
#[repr(C)]
pub struct Frame {
    modes: FloatModes,
    errno: c_int,
    uncaught: u32,
    caught: *mut u8,
    r15: usize,
    r14: usize,
    r13: usize,
    r12: usize,
    rbx: usize,
    rbp: usize,
    return_address: usize,
    end: [usize; 2],
}

impl Frame {
    /// For debuggers: where the caller's frame, its frame pointer and where it goes on are.
    pub const CALLER_OFFSET: usize = offset_of!(Frame, end);
    pub const FP_OFFSET: usize = offset_of!(Frame, rbp);
    pub const PC_OFFSET: usize = offset_of!(Frame, return_address);

    /// A context that begins at `task_entry`.
    pub fn first(entry: Entry, argument: *const c_void, modes: FloatModes) -> Frame {
        Frame {
            modes,
            errno: 0,
            uncaught: 0,
            caught: null_mut(),
            r15: 0,
            r14: 0,
            r13: entry as usize,
            r12: argument as usize,
            rbx: 0,
            rbp: 0,
            return_address: task_entry as *const () as usize,
            end: [0; 2],
        }
    }
}

/// Prefetches the two cache lines at an address: all of a suspended context, or of the part of a
/// task object that a turn needs. Any address is allowed.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    // SAFETY: a hint, which has no effect but on time.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
        _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>().wrapping_add(64));
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
        "endbr64",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r12, 0",
        "push r13",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r13, 0",
        "push r14",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r14, 0",
        "push r15",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r15, 0",
        "sub rsp, 24",
        ".cfi_adjust_cfa_offset 24",
        "stmxcsr dword ptr [rsp]",
        "fnstcw word ptr [rsp + 4]",
        "mov rax, qword ptr [rdx]",     // where errno is
        "mov rdx, qword ptr [rdx + 8]", // where exceptions are
        "mov ecx, dword ptr [rax]",
        "mov dword ptr [rsp + 8], ecx",
        "test rdx, rdx",
        "jz 2f", // No C++ in this program, so none in the other context either.
        "mov ecx, dword ptr [rdx + 8]",
        "mov dword ptr [rsp + 12], ecx",
        "mov rcx, qword ptr [rdx]",
        "mov qword ptr [rsp + 16], rcx",
        "mov ecx, dword ptr [rsi + 12]",
        "mov dword ptr [rdx + 8], ecx",
        "mov rcx, qword ptr [rsi + 16]",
        "mov qword ptr [rdx], rcx",
        "2:",
        "mov ecx, dword ptr [rsi + 8]",
        "mov dword ptr [rax], ecx",
        "mov qword ptr [rdi], rsp",
        // Loading the modes is slow, and they rarely differ.
        "mov ecx, dword ptr [rsp]",
        "cmp ecx, dword ptr [rsi]",
        "jne 4f",
        "movzx ecx, word ptr [rsp + 4]",
        "cmp cx, word ptr [rsi + 4]",
        "jne 4f",
        "3:",
        // From here on the same description holds of the other stack.
        "mov rsp, rsi",
        ".cfi_remember_state",
        "add rsp, 24",
        ".cfi_adjust_cfa_offset -24",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_same_value r15",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_same_value r14",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_same_value r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_same_value r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_same_value rbx",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_same_value rbp",
        "ret",
        ".cfi_restore_state",
        "4:",
        "ldmxcsr dword ptr [rsi]",
        "fldcw word ptr [rsi + 4]",
        "jmp 3b",
        ".cfi_endproc",
    )
}

/// Where a new context begins: calls `r13(r12)`. Unwinders are told that nothing called it, and that
/// no exception leaves it: the word at the stack pointer is 0.
#[unsafe(naked)]
unsafe extern "C" fn task_entry() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}", // relative to the place where it is
        ".cfi_undefined rip",
        "endbr64",
        "mov rdi, r12",
        "call r13",
        "ud2",
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
        "endbr64",
        "push r8",
        ".cfi_adjust_cfa_offset 8",
        "call rcx",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
        personality = sym no_exception_leaves,
    )
}

/// Rounding, exception masks and the like: control registers that a context keeps.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct FloatModes {
    mxcsr: u32,
    x87: u16,
}

impl FloatModes {
    /// Those of the running context.
    #[inline]
    pub fn read() -> FloatModes {
        let mut modes = FloatModes::default();
        // SAFETY: stores the two control words at the given addresses, nothing else.
        unsafe {
            asm!(
                "stmxcsr dword ptr [{modes}]",
                "fnstcw word ptr [{modes} + 4]",
                modes = in(reg) &mut modes,
                options(nostack, preserves_flags),
            );
        }
        modes
    }

    /// Makes them those of the running context.
    #[inline]
    pub fn restore(self) {
        const CONTROL_BITS: u32 = !0x3f; // The others are flags of what has happened.
        let now = FloatModes::read();
        if (now.mxcsr ^ self.mxcsr) & CONTROL_BITS == 0 && now.x87 == self.x87 {
            return; // Loading is slower than comparing.
        }
        // SAFETY: both words were read from the registers before, so they are valid.
        unsafe {
            asm!(
                "ldmxcsr dword ptr [{modes}]",
                "fldcw word ptr [{modes} + 4]",
                modes = in(reg) &self,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
}

/// This thread's part of the library.
#[inline(always)]
pub fn thread() -> *const Thread {
    let thread: *const Thread;
    // SAFETY: the initial-exec access of the x86-64 ELF TLS convention: the variable's offset from
    // the global offset table, added to the thread pointer, which is at fs:0.
    unsafe {
        asm!(
            "mov {thread}, qword ptr fs:[0]",
            "add {thread}, qword ptr [rip + {variable}@GOTTPOFF]",
            thread = out(reg) thread,
            variable = sym THREAD,
            options(pure, readonly, nostack),
        );
    }
    thread
}

/// Where the stack ends, whatever a sanitizer has made of the variables.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let here;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) }
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
            "mov {word}, qword ptr [{address}]",
            word = out(reg) word,
            address = in(reg) address,
            options(readonly, nostack, preserves_flags),
        );
    }
    word
}

/// Of `rows` rows of eight words from an address on, how many there are before one that may have a word from
/// `first` up to `width - 1` more; no sanitizer looks at them. Here that is looked for by a half of the word,
/// and so `width` has to be 1 for it.
///
/// # Safety
/// The memory can be read.
#[inline]
pub unsafe fn rows_without(from: *const usize, rows: usize, first: usize, width: usize) -> usize {
    if width != 1 {
        return 0;
    }
    let left: usize;
    // SAFETY: as this function's contract says; the loads end with the last row, and change nothing else.
    unsafe {
        asm!(
            "movd {wanted}, {first:e}",
            "pshufd {wanted}, {wanted}, 0",
            "2:",
            "test {rows}, {rows}",
            "jz 3f",
            "movdqu {a}, xmmword ptr [{at}]",
            "movdqu {b}, xmmword ptr [{at} + 16]",
            "movdqu {c}, xmmword ptr [{at} + 32]",
            "movdqu {d}, xmmword ptr [{at} + 48]",
            "pcmpeqd {a}, {wanted}",
            "pcmpeqd {b}, {wanted}",
            "pcmpeqd {c}, {wanted}",
            "pcmpeqd {d}, {wanted}",
            "por {a}, {b}",
            "por {c}, {d}",
            "por {a}, {c}",
            "pmovmskb {mask:e}, {a}",
            "test {mask:e}, {mask:e}",
            "jnz 3f",
            "add {at}, 64",
            "dec {rows}",
            "jmp 2b",
            "3:",
            first = in(reg) first,
            rows = inout(reg) rows => left,
            at = inout(reg) from => _,
            mask = out(reg) _,
            wanted = out(xmm_reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(readonly, nostack),
        );
    }
    rows - left
}

/// The time stamp counter.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { _rdtsc() }
}

/// Whether [`ticks`] counts at a constant rate in every power state (CPUID 8000_0007h, EDX bit 8),
/// and the kernel found it the same on all processors, which it says by keeping time with it.
pub fn ticks_are_invariant() -> bool {
    const CLOCK_SOURCE: &std::ffi::CStr =
        c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let invariant =
        __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0;
    invariant && crate::engine::sys::first_line_is(CLOCK_SOURCE, b"tsc")
}

/// The request sequence of Valgrind's client interface, which does nothing on a processor. Returns
/// 0 outside Valgrind.
pub fn valgrind_request(request: [usize; 6]) -> usize {
    let mut answer = 0usize;
    // SAFETY: the rotations add up to two whole turns of rdi, the exchange is of a register with
    // itself; Valgrind reads the request and writes the answer to rdx.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &request,
            inout("rdx") answer,
            out("rdi") _,
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
            "endbr64",
            "cmp edi, dword ptr [rip + {threshold}]",
            "jb 2f",
            "jmp {target}",
            "2: ret",
            // Aligns the section, which begins with the function: in two cache lines a line that is
            // not written takes 2.4 instead of 2.2 ns.
            ".p2align 5",
            ".cfi_endproc",
            threshold = sym $threshold,
            target = sym $target,
        )
    };
}
pub(crate) use log_trampoline;
