//! The pipes of a child.

use std::cell::Cell;
use std::ffi::c_int;

use crate::engine::scheduler::close_fd;
use crate::engine::sys::{Error, FileId, Result};

/// The library's ends of a child's pipes, and the socket at which it may be heard.
pub struct Pipes([Cell<Option<End>>; 4]);

/// A number, and the file that was opened with it, if the system tells.
#[derive(Clone, Copy)]
struct End(c_int, Option<FileId>);

/// Where the socket is.
pub const HEARING: usize = 3;

impl Pipes {
    pub const fn none() -> Pipes {
        Pipes([const { Cell::new(None) }; 4])
    }

    pub fn put(&self, number: usize, fd: c_int) {
        self.0[number].set(Some(End(fd, FileId::of(fd))));
    }

    pub fn get(&self, number: usize) -> Result<c_int> {
        let place = self.0.get(number).ok_or(Error::InvalidArgument)?;
        place.get().and_then(End::own).ok_or(Error::Os(libc::EBADF))
    }

    pub fn take(&self, number: usize) -> Result<c_int> {
        let place = self.0.get(number).ok_or(Error::InvalidArgument)?;
        place.take().and_then(End::own).ok_or(Error::Os(libc::EBADF))
    }

    pub fn close(&self) {
        for number in 0..self.0.len() {
            if let Ok(fd) = self.take(number) {
                let _ = close_fd(fd);
            }
        }
    }
}

impl End {
    /// The number, if it is still that file's: the program may have closed what is not its.
    fn own(self) -> Option<c_int> {
        let End(fd, file) = self;
        (file.is_none() || FileId::of(fd) == file).then_some(fd)
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.close();
    }
}
