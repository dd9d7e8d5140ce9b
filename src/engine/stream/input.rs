//! Reading from a stream.

use super::object::Stream;
use super::session::Session;
use crate::engine::fd;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{Error, Result, iovec, rest_of};
use crate::engine::time::Deadline;

/// Bytes in the buffer, until the next call that reads.
pub type Held = (*mut u8, usize);

impl Stream {
    /// Begins a call that reads. What C has of the buffer is not valid any more.
    fn reading(&self, limit: Limit) -> Result<Session<'_>> {
        let session = self.session(&self.input, limit)?;
        if let Some(byte) = self.replaced.take() {
            self.input.buffer.set_behind(byte);
        }
        Ok(session)
    }

    /// Reads what is there, at most what `to` has room for; 0 at the end.
    ///
    /// # Safety
    /// The room is good to be written during the call.
    pub unsafe fn read(&self, to: iovec, limit: Limit) -> Result<usize> {
        let mut session = self.reading(limit)?;
        // SAFETY: as this function's contract says.
        unsafe { session.read(to) }
    }

    /// Reads until `to` is full, or the end is reached. `done` counts what has been read, also when the
    /// call fails.
    ///
    /// # Safety
    /// As [`read`](Self::read).
    pub unsafe fn read_exact(&self, to: iovec, limit: Limit, done: &mut usize) -> Result<()> {
        let mut session = self.reading(limit)?;
        while *done < to.iov_len {
            // SAFETY: as this function's contract says.
            match unsafe { session.read(rest_of(to, *done))? } {
                0 => break,
                count => *done += count,
            }
        }
        Ok(())
    }

    /// Reads up to a byte, which is included; at the end of the stream what is there. EMSGSIZE if it is
    /// not among as many as the buffer has room for: they stay there.
    ///
    /// A NUL follows in the buffer, until the next call that reads.
    pub fn read_until(&self, delimiter: u8, limit: Limit) -> Result<Held> {
        let mut session = self.reading(limit)?;
        let buffer = &self.input.buffer;
        let mut searched = 0;
        let length = loop {
            if let Some(place) = buffer.find(delimiter, searched) {
                break place + 1;
            }
            searched = buffer.len();
            if searched == buffer.capacity() {
                return Err(Error::Os(libc::EMSGSIZE));
            }
            if session.fill()? == 0 {
                break searched;
            }
        };
        session.served()?;
        let start = buffer.start();
        buffer.skip(length);
        self.replaced.set(buffer.set_behind(0));
        Ok((start, length))
    }

    /// What is in the buffer, when it is at least so much, or all that is left. EMSGSIZE if it has no room
    /// for so much.
    pub fn peek(&self, at_least: usize, limit: Limit) -> Result<Held> {
        let mut session = self.reading(limit)?;
        let buffer = &self.input.buffer;
        if at_least > buffer.capacity() {
            return Err(Error::Os(libc::EMSGSIZE));
        }
        while buffer.len() < at_least && session.fill()? > 0 {}
        session.served()?;
        Ok((buffer.start(), buffer.len()))
    }

    /// Forgets the first bytes of the buffer.
    pub fn skip(&self, count: usize) -> Result<()> {
        let _session = self.reading(Limit::uninterrupted(Deadline::Never))?;
        if count > self.input.buffer.len() {
            return Err(Error::InvalidArgument);
        }
        self.input.buffer.skip(count);
        Ok(())
    }
}

impl Session<'_> {
    /// Reads what is there into the buffer, which has room; 0 at the end.
    fn fill(&mut self) -> Result<usize> {
        let buffer = &self.side.buffer;
        let call = self.call()?;
        // SAFETY: the buffer is the side's, which nobody else uses.
        let count = unsafe { fd::read_part(call, &[buffer.room()])? };
        buffer.filled(count);
        Ok(count)
    }

    /// Reads from the buffer or, when it is empty, from the descriptor.
    ///
    /// # Safety
    /// As [`Stream::read`].
    unsafe fn read(&mut self, to: iovec) -> Result<usize> {
        let buffer = &self.side.buffer;
        if buffer.len() == 0 && to.iov_len >= buffer.capacity() {
            // SAFETY: as this function's contract says.
            return unsafe { fd::read_part(self.call()?, &[to]) };
        }
        if buffer.len() == 0 && to.iov_len > 0 {
            self.fill()?;
        }
        self.served()?;
        let count = buffer.len().min(to.iov_len);
        // SAFETY: there are so many, and there is room for them.
        unsafe { buffer.take(to.iov_base.cast(), count) };
        Ok(count)
    }
}
