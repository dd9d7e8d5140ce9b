//! The operating system and C library calls, each with a Rust result: a file for each noun. No
//! other file calls libc.
//!
//! All go through the C library's functions, so that sanitizers and fault injection see them; what
//! the oldest C library lacks, through its `syscall`. None of them is a cancellation point, see
//! [`Uncancelable`]. What newer systems have and older ones lack has a fallback, named in
//! [`fallbacks`](mod@fallbacks).

mod address;
mod bytes;
mod cancellation;
mod child;
mod code;
mod datagram;
mod descriptor;
mod directory;
mod errno;
mod error;
mod fallbacks;
mod file;
#[cfg(not(loom))] // Models have one of their own.
mod futex;
mod interrupted;
mod mark;
mod memory;
mod names;
mod notification;
mod output;
mod owned_fd;
mod path;
mod position;
mod process;
mod processors;
mod select;
mod signal;
mod signal_info;
mod socket;
mod socket_option;
mod table;
mod text;
mod thread;
mod time;
mod transfer;
mod truncating;
mod uncanceled;
mod visible;

pub use address::Address;
pub use bytes::Bytes;
pub use cancellation::Uncancelable;
pub use child::*;
pub use code::{Segment, for_each_segment, name_of_code};
pub use datagram::*;
pub use descriptor::*;
pub use directory::Directory;
pub use errno::{ErrnoGuard, errno, errno_address, is_refusal, set_errno};
pub use error::{Error, Result};
pub use fallbacks::fallbacks;
pub use file::*;
#[cfg(not(loom))]
pub use futex::*;
pub use interrupted::*;
pub use mark::{FileId, Mark, is_marked, stands_for_child};
pub use memory::*;
pub use names::*;
pub use notification::*;
pub use output::{QuietWrites, wait_for_room, write_to_stderr};
pub use owned_fd::OwnedFd;
pub use path::*;
pub use position::*;
pub use process::*;
pub use processors::*;
pub use signal::*;
pub use signal_info::*;
pub use socket::*;
pub use socket_option::*;
pub use table::Table;
pub use text::{Text, variable};
pub use thread::*;
pub use time::*;
pub use transfer::*;
pub use truncating::{TruncatingWriter, until_nul};
pub use uncanceled::DropsUncanceled;
pub use visible::{VisiblePointer, VisibleU64};
