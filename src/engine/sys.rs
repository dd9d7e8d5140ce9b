//! The operating system and C library calls, each with a Rust result: a file for each noun. No
//! other file calls libc.
//!
//! All go through the C library's functions, never through raw system calls, so that sanitizers and
//! fault injection see them. What newer systems have and older ones lack has a fallback, named in
//! [`fallbacks`](mod@fallbacks). (`epoll_pwait2` is looked up at run time: glibc has it since 2.35.)

mod datagram;
mod descriptor;
mod errno;
mod error;
mod fallbacks;
mod file;
mod memory;
mod process;
mod signal;
mod socket;
mod table;
mod time;
mod truncating;

pub use datagram::*;
pub use descriptor::*;
pub use errno::{ErrnoGuard, errno, errno_address, set_errno};
pub use error::{Error, Result};
pub use fallbacks::fallbacks;
pub use file::*;
pub use memory::*;
pub use process::*;
pub use signal::*;
pub use socket::*;
pub use table::Table;
pub use time::*;
pub use truncating::TruncatingWriter;
