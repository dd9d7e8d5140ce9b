//! Directories.

use std::ffi::{CStr, c_int};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::NonNull;

use super::cancellation::uncancelable;
use super::errno::{errno, last_error, set_errno};
use super::error::{Error, Result};
use super::path::open_file;

/// An open directory.
pub struct Directory {
    stream: NonNull<libc::DIR>,
    /// The stream's descriptor.
    fd: c_int,
}

/// What is in a directory, until the next entry is asked for.
pub struct Entry<'d> {
    pub name: &'d CStr,
    /// DT_REG and the like.
    pub kind: u8,
}

impl Directory {
    pub fn open(path: &CStr) -> Result<Directory> {
        const FLAGS: c_int = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
        let fd = open_file(path, FLAGS, 0)?;
        // SAFETY: a descriptor of a directory.
        let opened = NonNull::new(unsafe { libc::fdopendir(fd.as_raw_fd()) });
        let stream = opened.ok_or_else(last_error)?;
        Ok(Directory { stream, fd: fd.into_raw_fd() }) // It is the stream's.
    }

    /// The next entry, but for "." and "..". Its kind is looked up where the file system does not tell it, if
    /// that is wanted.
    pub fn next_entry(&mut self, kind_is_wanted: bool) -> Result<Option<Entry<'_>>> {
        loop {
            set_errno(0);
            // SAFETY: an open directory.
            let entry = uncancelable(|| unsafe { libc::readdir(self.stream.as_ptr()) });
            // SAFETY: NULL, or an entry that stays until the next call.
            let Some(entry) = (unsafe { entry.as_ref() }) else {
                return if errno() == 0 { Ok(None) } else { Err(Error::Os(errno())) };
            };
            // SAFETY: a C string in the entry.
            let name = unsafe { CStr::from_ptr(entry.d_name.as_ptr()) };
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_missing = kind_is_wanted && entry.d_type == libc::DT_UNKNOWN;
            let kind = if is_missing { self.look_up(name) } else { entry.d_type };
            return Ok(Some(Entry { name, kind }));
        }
    }

    /// The kind of an entry: DT_UNKNOWN if that cannot be told, since the entry has been removed for example.
    fn look_up(&self, name: &CStr) -> u8 {
        // SAFETY: a stat is integers, for which zero is a value.
        let mut status: libc::stat = unsafe { zeroed() };
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: a C string, and an address that is good for a stat.
        match unsafe { libc::fstatat(self.fd, name.as_ptr(), &mut status, flags) } {
            0 => ((status.st_mode & libc::S_IFMT) >> 12) as u8, // IFTODT of the C library.
            _ => libc::DT_UNKNOWN,
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: an open directory, which is not used again.
        uncancelable(|| unsafe { libc::closedir(self.stream.as_ptr()) });
    }
}
