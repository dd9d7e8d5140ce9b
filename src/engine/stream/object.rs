//! A stream: what it is made of, and its end.

use std::cell::Cell;
use std::ffi::c_int;

use super::buffer::Buffer;
use super::side::Side;
use crate::engine::fd;
use crate::engine::scheduler::{self, Limit, READABLE, WRITABLE, running_task};
use crate::engine::sync::{Home, Object};
use crate::engine::sys::{self, ErrnoGuard, Error, Result};
use crate::engine::threads::Ownership;

/// The size of a buffer whose size is not given.
const USUAL_BYTES: usize = 8192;

/// A descriptor with buffers. It is the scheduler's whose task uses it first; till then, and between
/// schedulers, anybody's.
pub struct Stream {
    home: Home,
    fd: c_int,
    /// Its identity. While the descriptor has it, others have neither closed nor released it.
    ownership: Cell<Option<u64>>,
    pub input: Side,
    pub output: Side,
    /// What the end of the line that was read last stands in place of.
    pub replaced: Cell<Option<u8>>,
}

impl Object for Stream {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        self.input.in_use.get() || self.output.in_use.get()
    }
}

impl Stream {
    /// A stream on C's heap that takes over the descriptor. A size of 0 is the usual one.
    pub fn create(fd: c_int, read_bytes: usize, write_bytes: usize) -> Result<*mut Stream> {
        let side = |bytes, events| {
            let bytes = if bytes == 0 { USUAL_BYTES } else { bytes };
            Buffer::new(bytes).map(|buffer| Side::new(buffer, events))
        };
        sys::check_open(fd)?;
        let stream = Stream {
            home: Home::none(),
            fd,
            ownership: Cell::new(None),
            input: side(read_bytes, READABLE)?,
            output: side(write_bytes, WRITABLE)?,
            replaced: Cell::new(None),
        };
        let stream = stream.into_heap()?;
        match fd::adopt(fd) {
            // SAFETY: made just now.
            Ok(ownership) => unsafe { (*stream).ownership.set(Some(ownership)) },
            Err(error) => {
                // SAFETY: as above, and nobody has seen it.
                unsafe { Object::destroy(stream)? };
                return Err(error);
            }
        }
        Ok(stream)
    }

    /// The descriptor, unless others have closed or released it: its number may be another file's.
    pub fn fd(&self) -> Result<c_int> {
        if self.ownership.get() == Some(Ownership::of(self.fd).identity()) {
            Ok(self.fd)
        } else {
            Err(Error::Os(libc::EBADF))
        }
    }

    /// An error if the caller may not use it.
    pub fn check_caller(&self) -> Result<()> {
        if self.home.scheduler().is_none() {
            // Tasks that were in a call are gone with their scheduler.
            self.input.in_use.set(false);
            self.output.in_use.set(false);
        }
        match running_task() {
            Some(_) => self.home.current_task().map(drop),
            None => self.home.for_caller().map(drop),
        }
    }

    /// shutdown(2). Before the side for writing is closed, writes what it has collected.
    pub fn shutdown(&self, how: c_int, limit: Limit) -> Result<()> {
        let _errno = ErrnoGuard::save();
        match how {
            libc::SHUT_RD => self.check_caller()?,
            libc::SHUT_WR | libc::SHUT_RDWR => self.flush(limit)?,
            _ => return Err(Error::InvalidArgument),
        }
        sys::shutdown(self.fd()?, how)
    }

    /// Writes what it has collected, and destroys it in any case, but with an error that says that the
    /// caller cannot.
    ///
    /// # Safety
    /// As [`Object::destroy`].
    pub unsafe fn close(stream: *mut Stream, limit: Limit) -> Result<()> {
        let flushed = {
            // SAFETY: as this function's contract says.
            let this = unsafe { &*stream };
            let _reading = this.session(&this.input, limit)?; // Nobody begins to read meanwhile.
            this.flush(limit)
        };
        match flushed {
            Err(Error::Busy | Error::WrongScheduler | Error::WrongThread | Error::NotInTask) => {
                flushed
            }
            // SAFETY: as above.
            _ => unsafe { Stream::destroy(stream) }.and(flushed),
        }
    }

    /// Closes the descriptor, and destroys the stream, with what it holds.
    ///
    /// # Safety
    /// As [`Object::destroy`].
    pub unsafe fn destroy(stream: *mut Stream) -> Result<()> {
        let _errno = ErrnoGuard::save();
        let closed = {
            // SAFETY: as this function's contract says.
            let this = unsafe { &*stream };
            let home = this.home.for_caller()?;
            if home.is_some() && this.is_in_use() {
                return Err(Error::Busy);
            }
            match (this.fd(), home) {
                (Err(_), _) => Ok(()), // It is others'.
                (Ok(fd), Some(home)) => home.close_fd(fd),
                (Ok(fd), None) => scheduler::close_fd(fd),
            }
        };
        if closed == Err(Error::Busy) {
            return closed; // The scheduler's own.
        }
        // SAFETY: as above.
        unsafe { Object::destroy(stream)? };
        closed
    }
}
