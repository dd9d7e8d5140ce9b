//! A descriptor that lines are written to while another thread replaces its file.
//!
//! Its number never changes: `dup3` replaces the file atomically, so a concurrent write cannot hit
//! a closed number, or one that the program has reused. To close it, an epoll instance replaces the
//! file: it accepts no bytes and keeps no file or disk busy.

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

    /// Replaces the file by the one of `fd`, and closes `fd`, also on an error. The caller holds
    /// the settings' lock.
    pub fn replace(&self, fd: c_int) -> Result<()> {
        if fd == self.number() {
            return Ok(()); // The program had closed the old one, so the new one got its number.
        }
        if self.number() != NONE {
            return sys::dup_onto(fd, self.number());
        }
        self.0.store(fd, Release);
        Ok(())
    }

    /// Closes the file. If no descriptor is free for the epoll instance, it stays open.
    pub fn release(&self) {
        if self.number() != NONE
            && let Ok(nothing) = sys::epoll_create()
        {
            let _ = self.replace(nothing);
        }
    }
}
