//! Directories.

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::NonNull;

use super::cancellation::uncancelable;
use super::errno::{errno, last_error, set_errno};
use super::error::{Error, Result};
use super::path::open_file;

/// An open directory.
pub struct Directory(NonNull<libc::DIR>);

impl Directory {
    pub fn open(path: &CStr) -> Result<Directory> {
        const FLAGS: c_int = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
        let fd = open_file(path, FLAGS, 0)?;
        // SAFETY: a descriptor of a directory.
        let opened = NonNull::new(unsafe { libc::fdopendir(fd.as_raw_fd()) });
        let directory = opened.ok_or_else(last_error)?;
        let _ = fd.into_raw_fd(); // It is the directory's.
        Ok(Directory(directory))
    }

    /// The next name, but for "." and "..".
    pub fn next_name(&mut self) -> Result<Option<&CStr>> {
        loop {
            set_errno(0);
            // SAFETY: an open directory.
            let entry = uncancelable(|| unsafe { libc::readdir(self.0.as_ptr()) });
            // SAFETY: NULL, or an entry that stays until the next call.
            let Some(entry) = (unsafe { entry.as_ref() }) else {
                return if errno() == 0 { Ok(None) } else { Err(Error::Os(errno())) };
            };
            // SAFETY: a C string in the entry.
            let name = unsafe { CStr::from_ptr(entry.d_name.as_ptr()) };
            if !matches!(name.to_bytes(), b"." | b"..") {
                return Ok(Some(name));
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: an open directory, which is not used again.
        uncancelable(|| unsafe { libc::closedir(self.0.as_ptr()) });
    }
}
