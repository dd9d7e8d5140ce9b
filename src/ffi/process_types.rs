//! The types of signals and child processes as C sees them: as in `types.rs`.
#![allow(non_camel_case_types)] // C's names.
#![allow(dead_code)] // Some only C uses.

use std::ffi::{c_char, c_int, c_void};

/// A signal that has come: what siginfo_t of sigaction(2) says of it. See mj_signal_wait().
#[repr(C)]
pub struct mj_signal_info {
    /// Its number.
    pub signal: c_int,
    /// Why it was sent, `si_code`: SI_USER by kill(2), SI_QUEUE by sigqueue(3), CLD_EXITED of a child.
    pub code: c_int,
    /// The process that has sent it, or the child; 0 if it was the kernel or a timer.
    pub pid: libc::pid_t,
    /// The user of that process.
    pub uid: libc::uid_t,
    /// The number that sigqueue(3) or a timer has sent along; for SIGCHLD the status of the child. Else 0.
    pub value: c_int,
    /// The same as a pointer, if it was sent as one.
    pub pointer: *mut c_void,
    /// The library's: 0.
    pub reserved: [*mut c_void; 4],
}

/// What a child's descriptor 0, 1 or 2 is, if it is not a descriptor of this process.
#[repr(C)]
pub enum mj_process_descriptor {
    /// The one of this process.
    MJ_PROCESS_INHERIT = 0,
    /// /dev/null.
    MJ_PROCESS_NULL = -2,
    /// The end of a pipe, whose other end mj_process_take_pipe() gives.
    MJ_PROCESS_PIPE = -3,
    /// For `error`: what `output` is.
    MJ_PROCESS_OUTPUT = -4,
}

/// How a child is to begin. Set what you need, and leave the rest zero.
#[repr(C)]
pub struct mj_process_options {
    /// Its environment, a list of "NAME=value" that ends with NULL; NULL for this process's.
    pub environment: *const *const c_char,
    /// The directory that it begins in; NULL for this process's. A program with a relative name is looked for
    /// from there.
    pub directory: *const c_char,
    /// What its descriptor 0 is: a descriptor of this process, which stays open here, or one of
    /// mj_process_descriptor.
    pub input: c_int,
    /// What its descriptor 1 is.
    pub output: c_int,
    /// What its descriptor 2 is.
    pub error: c_int,
    /// Whether it leads a group of processes of its own. It gets no signals of the terminal's keys then.
    pub new_group: bool,
    /// Zero.
    pub reserved: [u64; 2],
}

/// A child process. See mj_process_spawn().
pub struct mj_process {
    _private: [u8; 0],
}
