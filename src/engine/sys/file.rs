//! Files: reading a word, appending.

use std::ffi::{CStr, c_int};
use std::mem::zeroed;

use super::cancellation::uncancelable;
use super::descriptor::{close, opened};
use super::errno::last_error;
use super::error::Result;
use super::mark::Mark;

/// Whether the file's first line is `word`. False when it cannot be read.
#[cfg(target_arch = "x86_64")] // Only there is it a question whether the counter is steady.
pub fn first_line_is(path: &CStr, word: &[u8]) -> bool {
    // SAFETY: a C string.
    let fd =
        uncancelable(|| unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) });
    if fd < 0 {
        return false;
    }
    let mut text = [0u8; 32];
    // SAFETY: the buffer is as long as said.
    let length = uncancelable(|| unsafe { libc::read(fd, text.as_mut_ptr().cast(), text.len()) });
    close(fd);
    let length = usize::try_from(length).unwrap_or(0);
    text[..length].strip_suffix(b"\n").unwrap_or(&text[..length]) == word
}

/// A file that is open for writing at its end.
pub struct Appending {
    pub fd: c_int,
    pub is_empty: bool,
}

/// Opens a file for writing at its end; creates it, writable for its owner, if it is missing. A
/// FIFO without a reader fails with ENXIO instead of blocking.
pub fn open_appending(path: &CStr, mark: Mark) -> Result<Appending> {
    let flags = libc::O_WRONLY
        | libc::O_APPEND
        | libc::O_CREAT
        | libc::O_CLOEXEC
        | libc::O_NOCTTY
        | libc::O_NONBLOCK;
    // SAFETY: a C string.
    let fd = opened(uncancelable(|| unsafe { libc::open(path.as_ptr(), flags, 0o644) }))?;
    // SAFETY: a stat is integers, for which zero is a value.
    let mut status: libc::stat = unsafe { zeroed() };
    // SAFETY: the address is good for a stat; the descriptor was opened above. Only open(2) should
    // not block.
    let failed = unsafe {
        libc::fstat(fd, &mut status) < 0
            || libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) < 0
    };
    if failed {
        let error = last_error();
        close(fd);
        return Err(error);
    }
    mark.set(fd);
    Ok(Appending { fd, is_empty: status.st_size == 0 })
}
