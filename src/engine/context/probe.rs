//! Static probes (USDT) for bpftrace, SystemTap, perf and gdb: each is a `nop`, and a note in the file that says where
//! it is and where its arguments are. Who traces puts a breakpoint there. While nobody does, the `nop` is all: the
//! arguments are where they are anyway, in a register or at a distance from one.
//!
//! Here are the macros, and what knows no task; those of tasks are in `task/probe.rs`.
//!
//! The format is that of SystemTap's sys/sdt.h, version 3 of the note; the provider is `majjen`.

/// How an argument of 8 bytes is written that is in a register, and one in memory.
#[cfg(target_arch = "x86_64")]
macro_rules! argument {
    (value $register:literal) => {
        concat!("8@%{", $register, "}")
    };
    (memory $register:literal, $offset:literal) => {
        concat!("8@{", $offset, "}(%{", $register, "})")
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! argument {
    (value $register:literal) => {
        concat!("8@{", $register, "}")
    };
    (memory $register:literal, $offset:literal) => {
        concat!("8@[{", $register, "}, {", $offset, "}]")
    };
}

macro_rules! probe {
    ($name:literal, [$($argument:expr),*], $($operands:tt)*) => {
        // SAFETY: a `nop`; the rest is in sections of their own, which nothing reads.
        unsafe {
            std::arch::asm!(
                "990: nop",
                ".pushsection .note.stapsdt, \"?\", @note",
                ".balign 4",
                ".4byte 992f - 991f, 994f - 993f, 3",
                "991: .asciz \"stapsdt\"",
                "992: .balign 4",
                "993: .8byte 990b, _.stapsdt.base, 0", // No semaphore.
                ".asciz \"majjen\"",
                concat!(".asciz \"", $name, "\""),
                concat!(".asciz \"", "" $(, $argument, " ")*, "\""),
                "994: .balign 4",
                ".popsection",
                // gdb finds no probes without it. Nobody refers to it, so the linker is told to keep it ("R").
                ".ifndef _.stapsdt.base",
                ".pushsection .stapsdt.base, \"aGR\", @progbits, .stapsdt.base, comdat",
                ".weak _.stapsdt.base",
                ".hidden _.stapsdt.base",
                "_.stapsdt.base: .space 1",
                ".size _.stapsdt.base, 1",
                ".popsection",
                ".endif",
                $($operands)*
                options(readonly, nostack, preserves_flags)
            )
        }
    };
}

pub(crate) use {argument, probe};

/// A task, or the loop, goes on, and has the thread from now on: the address of its saved context.
#[inline(always)]
pub fn switch(context: *const u8) {
    probe!("switch", [argument!(value "context")], context = in(reg) context,);
}

/// The loop has taken a post of another thread: its address.
#[inline(always)]
pub fn post(post: *const ()) {
    probe!("post", [argument!(value "post")], post = in(reg) post,);
}
