//! Files by their paths: calls that take the time of a disk, or of another machine.

use std::ffi::{CStr, c_int};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd};

use super::cancellation::uncancelable;
use super::descriptor::opened;
use super::errno::{check, retry_interrupted};
use super::error::Result;
use super::owned_fd::OwnedFd;

pub use libc::{mode_t, stat};

/// The flags of a file that is written anew.
pub const NEW_FILE: c_int = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;

/// open(2), of a descriptor that is closed on exec.
pub fn open_file(path: &CStr, flags: c_int, mode: mode_t) -> Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: a C string.
    let open = || unsafe { libc::open(path.as_ptr(), flags, mode) };
    let fd = opened(uncancelable(|| retry_interrupted(open)))?;
    // SAFETY: opened just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// stat(2).
pub fn stat_path(path: &CStr) -> Result<stat> {
    // SAFETY: a stat is integers, for which zero is a value.
    let mut status: stat = unsafe { zeroed() };
    // SAFETY: a C string, and an address that is good for a stat.
    check(unsafe { libc::stat(path.as_ptr(), &mut status) })?;
    Ok(status)
}

/// lstat(2): of a link itself.
pub fn stat_link(path: &CStr) -> Result<stat> {
    // SAFETY: a stat is integers, for which zero is a value.
    let mut status: stat = unsafe { zeroed() };
    // SAFETY: a C string, and an address that is good for a stat.
    check(unsafe { libc::lstat(path.as_ptr(), &mut status) })?;
    Ok(status)
}

/// fstat(2).
pub fn stat_file(file: &OwnedFd) -> Result<stat> {
    // SAFETY: a stat is integers, for which zero is a value.
    let mut status: stat = unsafe { zeroed() };
    // SAFETY: the address is good for a stat.
    check(unsafe { libc::fstat(file.as_raw_fd(), &mut status) })?;
    Ok(status)
}

/// unlink(2).
pub fn unlink(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
}

/// rename(2).
pub fn rename(from: &CStr, to: &CStr) -> Result<()> {
    // SAFETY: C strings.
    check(unsafe { libc::rename(from.as_ptr(), to.as_ptr()) }).map(drop)
}

/// mkdir(2).
pub fn make_directory(path: &CStr, mode: mode_t) -> Result<()> {
    // SAFETY: a C string.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) }).map(drop)
}

/// rmdir(2).
pub fn remove_directory(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check(unsafe { libc::rmdir(path.as_ptr()) }).map(drop)
}

/// fsync(2).
pub fn sync_file(fd: c_int) -> Result<()> {
    // SAFETY: no preconditions.
    check(uncancelable(|| retry_interrupted(|| unsafe { libc::fsync(fd) }))).map(drop)
}
