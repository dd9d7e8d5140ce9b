//! A descriptor that lines are written to while another thread puts a different file behind it.
//!
//! Its number never changes: `dup3` puts the new file there in one step, so a thread that is about
//! to write cannot meet a number that is closed, or that has become the program's. When the
//! receiver is no longer used, an epoll instance takes the place, which accepts no bytes and keeps
//! no file or disk busy.

use std::ffi::c_int;
use std::sync::atomic::{
    AtomicI32,
    Ordering::{Acquire, Release},
};

use crate::engine::sys::{self, Result};

pub struct SwappableFd(AtomicI32);

const NONE: c_int = -1;

impl SwappableFd {
    pub const fn none() -> SwappableFd {
        SwappableFd(AtomicI32::new(NONE))
    }

    /// The number, -1 before the first [`replace`](SwappableFd::replace).
    pub fn number(&self) -> c_int {
        self.0.load(Acquire)
    }

    /// Puts what `fd` refers to in the place of what was there, and takes `fd` over, also when it
    /// fails. Only for the thread whose turn it is to change the settings.
    pub fn replace(&self, fd: c_int) -> Result<()> {
        if fd == self.number() {
            return Ok(()); // The program had closed the old one, so the new one got its number.
        }
        if self.number() != NONE {
            return sys::dup_onto(fd, self.number());
        }
        self.0.store(sys::avoid_stdio(fd)?, Release);
        Ok(())
    }

    /// Lets go of what is there. When that is not possible, for want of descriptors, it stays open.
    pub fn release(&self) {
        if self.number() != NONE
            && let Ok(nothing) = sys::epoll_create()
        {
            let _ = self.replace(nothing);
        }
    }
}
