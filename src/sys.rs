//! The operating system and C library calls, each with a Rust result: a file for each noun, and
//! what they share, errno, here. No other file calls libc.
//!
//! All go through the C library's functions, never through raw system calls, so that sanitizers and
//! fault injection see them. (`epoll_pwait2` is looked up at run time: glibc has it since 2.35.)

mod datagram;
mod descriptor;
mod file;
mod memory;
mod process;
mod signal;
mod socket;
mod time;

use std::ffi::{CStr, c_char, c_int};
use std::fmt;

use crate::error::{Error, Result};

pub use datagram::*;
pub use descriptor::*;
pub use file::*;
pub use memory::*;
pub use process::*;
pub use signal::*;
pub use socket::*;
pub use time::*;

/// The calling thread's errno: its address does not change while the thread lives.
pub fn errno_address() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

pub fn errno() -> c_int {
    // SAFETY: the address is this thread's errno.
    unsafe { *errno_address() }
}

pub fn set_errno(value: c_int) {
    // SAFETY: the address is this thread's errno.
    unsafe { *errno_address() = value }
}

/// Keeps errno while it lives: the system calls that the library makes meanwhile do not show in it.
pub struct KeptErrno(c_int);

impl KeptErrno {
    pub fn keep() -> KeptErrno {
        KeptErrno(errno())
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {
        set_errno(self.0);
    }
}

fn last_error() -> Error {
    match errno() {
        libc::ENOMEM => Error::OutOfMemory,
        errno => Error::Os(errno),
    }
}

/// 0 or a positive number is a result, -1 means errno.
fn check(result: c_int) -> Result<c_int> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

/// Writes strerror's text and the number.
pub fn describe_errno(errno: c_int, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0 as c_char; 128];
    // SAFETY: the buffer is as long as said; the XSI function ends what it writes with a NUL.
    let failed = unsafe { libc::strerror_r(errno, text.as_mut_ptr(), text.len()) } != 0;
    if failed {
        return write!(out, "errno {errno}");
    }
    // SAFETY: a NUL-terminated string in `text`, see above.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    write!(out, "{} (errno {errno})", text.to_string_lossy())
}
