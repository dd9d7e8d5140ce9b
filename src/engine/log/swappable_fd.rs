//! A descriptor that lines are written to while another thread replaces its file.
//!
//! Its number stays: `dup3` replaces the file atomically, so a concurrent write cannot hit a closed
//! number, or one that the program has reused. To close it, an epoll instance replaces the file: it
//! accepts no bytes and keeps no file or disk busy.
//!
//! A program that closes descriptors that are not its own may take the number away. By the file's
//! mark that is noticed: lines do not go to the program's file, which is not replaced either, and
//! the next file has a number of its own. Where there are no marks, the program's file is taken for
//! the library's.

use std::ffi::c_int;
use std::sync::atomic::{
    AtomicI32,
    Ordering::{Acquire, Release},
};

use crate::engine::sys::{self, Error, Mark, Result};

pub struct SwappableFd {
    number: AtomicI32,
    mark: Mark,
}

const NONE: c_int = -1;

impl SwappableFd {
    /// Its files are those with this mark.
    pub const fn none(mark: Mark) -> SwappableFd {
        SwappableFd { number: AtomicI32::new(NONE), mark }
    }

    /// The number of the file; an error if it is not open, or the number is another file's.
    pub fn number(&self) -> Result<c_int> {
        match self.number.load(Acquire) {
            NONE => Err(Error::Os(libc::EBADF)),
            fd if sys::is_marked(fd, self.mark) => Ok(fd),
            _ => Err(Error::Os(libc::EBADF)),
        }
    }

    /// Replaces the file by the one of `fd`, which has the mark, and closes `fd`, also on an error.
    /// The caller holds the settings' lock.
    pub fn replace(&self, fd: c_int) -> Result<()> {
        match self.number() {
            // The program had closed the old one, so the new one got its number.
            Ok(number) if number == fd => Ok(()),
            Ok(number) => sys::dup_onto(fd, number),
            Err(_) => {
                self.number.store(fd, Release);
                Ok(())
            }
        }
    }

    /// Closes the file. If no descriptor is free for the epoll instance, it stays open.
    pub fn release(&self) {
        if self.number().is_ok()
            && let Ok(nothing) = sys::epoll_create(self.mark)
        {
            let _ = self.replace(nothing);
        }
    }
}
