//! The pipes of a child.

use std::cell::Cell;
use std::ffi::c_int;

use crate::engine::scheduler::close_fd;
use crate::engine::sys::{Error, Mark, Result, is_marked};

/// The library's ends of a child's pipes, and the socket at which it may be heard.
pub struct Pipes([Cell<Option<c_int>>; 4]);

/// Where the socket is.
pub const HEARING: usize = 3;

impl Pipes {
    pub const fn none() -> Pipes {
        Pipes([const { Cell::new(None) }; 4])
    }

    pub fn put(&self, number: usize, fd: c_int) {
        self.0[number].set(Some(fd));
    }

    pub fn get(&self, number: usize) -> Result<c_int> {
        let place = self.0.get(number).ok_or(Error::InvalidArgument)?;
        place.get().filter(is_own).ok_or(Error::Os(libc::EBADF))
    }

    pub fn take(&self, number: usize) -> Result<c_int> {
        let place = self.0.get(number).ok_or(Error::InvalidArgument)?;
        place.take().filter(is_own).ok_or(Error::Os(libc::EBADF))
    }

    pub fn close(&self) {
        for number in 0..self.0.len() {
            if let Ok(fd) = self.take(number) {
                let _ = close_fd(fd);
            }
        }
    }
}

/// Whether a number is still that of the file that was opened: the program may have closed what is not its.
fn is_own(fd: &c_int) -> bool {
    is_marked(*fd, Mark::CHILD)
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.close();
    }
}
