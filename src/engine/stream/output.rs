//! Writing to a stream.

use super::object::Stream;
use super::session::Session;
use crate::engine::fd;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{Result, iovec};

impl Stream {
    /// Collects the bytes, if there is room for them; else writes them, with what has been collected
    /// before. `done` counts those that have been collected or written, also when the call fails.
    ///
    /// # Safety
    /// The bytes are good to be read during the call.
    pub unsafe fn write(&self, bytes: iovec, limit: Limit, done: &mut usize) -> Result<()> {
        let mut session = self.session(&self.output, limit)?;
        let buffer = &self.output.buffer;
        if bytes.iov_len <= buffer.capacity() - buffer.len() {
            session.served()?;
            // SAFETY: as this function's contract says; there is room.
            unsafe { buffer.add(bytes.iov_base.cast(), bytes.iov_len) };
            *done = bytes.iov_len;
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { session.write_out(bytes, done) }
    }

    /// Writes what has been collected. What could not be written stays.
    pub fn flush(&self, limit: Limit) -> Result<()> {
        let mut session = self.session(&self.output, limit)?;
        if self.output.buffer.len() == 0 {
            return session.served();
        }
        let nothing = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: nothing is read.
        unsafe { session.write_out(nothing, &mut 0) }
    }
}

impl Session<'_> {
    /// Writes what has been collected, and then the bytes, of which `done` counts those that have been
    /// written.
    ///
    /// # Safety
    /// As [`Stream::write`].
    unsafe fn write_out(&mut self, bytes: iovec, done: &mut usize) -> Result<()> {
        let buffer = &self.side.buffer;
        let both = [buffer.held(), bytes];
        let parts = match both {
            [held, _] if held.iov_len == 0 => &both[1..],
            [_, bytes] if bytes.iov_len == 0 => &both[..1],
            _ => &both,
        };
        let mut written = 0;
        // SAFETY: as this function's contract says; the buffer is the side's, which nobody else uses.
        let result = unsafe { fd::write_gathered(self.call()?, parts, &mut written) };
        let collected = written.min(buffer.len());
        buffer.skip(collected);
        *done = written - collected;
        result
    }
}
