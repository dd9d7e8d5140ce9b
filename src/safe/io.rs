//! Pipes, terminals, and the streams of child processes, whose calls suspend the task, rather than block
//! the thread.
//!
//! [`Suspending`] makes them so. For sockets there is [`net`](super::net).

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::slice;
use std::time::Duration;

use super::time::limit;
use super::timeout::Timeout;
use super::unwind::suspending_or;
use crate::engine::fd;
use crate::engine::sys::{DropsUncanceled, Error, Result, iovec};

/// A descriptor of any kind, with [`Read`] and [`Write`] that suspend the task.
///
/// It may be what holds a descriptor, such as a [`ChildStdout`](std::process::ChildStdout), a
/// [`PipeReader`](std::io::PipeReader), a terminal's [`File`](std::fs::File), or [`stdin`](std::io::stdin), or
/// a reference to that. Whether the descriptor blocks or not, no call blocks the thread; its flags stay as they
/// are, as other processes may use the same file. What is on a disk, and not in memory, a thread of the pool reads
/// or writes for a task; outside a task a call takes the time that the disk takes.
///
/// ```
/// use majjen::{Scheduler, io::Suspending};
/// use std::io::{BufRead, BufReader, Write};
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut to = Suspending::new(child.stdin.take().unwrap());
/// let from = BufReader::new(Suspending::new(child.stdout.take().unwrap()));
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(move || writeln!(to, "hello")); // Closed when the task ends.
/// let lines = scheduler.spawn(move || from.lines().collect::<Result<Vec<_>, _>>());
/// scheduler.run()?;
/// assert_eq!(lines.join()??, ["hello"]);
/// child.wait()?; // Its output has ended, so this does not block for long.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Outside a task a call works unless it would have to wait. It reads and writes by shared reference too. What
/// it holds is not used otherwise: [`Stdin`](std::io::Stdin) has a buffer, out of which a `Suspending` does not read.
/// Buffers of its own it has none: [`BufReader`](std::io::BufReader) and [`BufWriter`](std::io::BufWriter) work on it.
pub struct Suspending<T> {
    inner: DropsUncanceled<T>,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

impl<T: AsFd> Suspending<T> {
    /// Wraps what holds a descriptor.
    ///
    /// ```
    /// use majjen::io::Suspending;
    ///
    /// let mut input = Suspending::new(std::io::stdin());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(inner: T) -> Suspending<T> {
        let (read_timeout, write_timeout) = Default::default();
        Suspending { inner: DropsUncanceled::new(inner), read_timeout, write_timeout }
    }

    /// Reads what is there into some buffers.
    fn read_some(&self, buffers: &[iovec]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.iov_len == 0) {
            return Ok(0);
        }
        let inner = self.inner.as_fd();
        let (number, limit) = (inner.as_raw_fd(), limit(self.read_timeout.get()));
        // SAFETY: the callers have borrowed the buffers to be written.
        let attempt = || would_block(unsafe { fd::try_read(number, buffers) });
        // SAFETY: as above.
        Ok(suspending_or(attempt, || unsafe { fd::read(number, buffers, limit) })?)
    }

    /// Writes all of the buffers or, when something is amiss, a part.
    fn write_some(&self, buffers: &[iovec]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.iov_len == 0) {
            return Ok(0);
        }
        let inner = self.inner.as_fd();
        let (number, limit) = (inner.as_raw_fd(), limit(self.write_timeout.get()));
        // SAFETY: the callers have borrowed the buffers.
        let attempt = || would_block(unsafe { fd::try_write(number, buffers) });
        let write = || {
            let mut done = 0;
            // SAFETY: as above.
            match unsafe { fd::write_all(number, buffers, limit, &mut done) } {
                Err(error) if done == 0 => Err(error),
                _ => Ok(done), // The next call has the error.
            }
        };
        Ok(suspending_or(attempt, write)?)
    }
}

fn would_block(result: Result<usize>) -> Result<usize> {
    match result {
        Err(Error::Os(libc::EAGAIN)) => Err(Error::WouldBlock),
        result => result,
    }
}

/// What one system call takes.
fn few<T>(buffers: &[T]) -> &[T] {
    &buffers[..buffers.len().min(libc::UIO_MAXIOV as usize)]
}

impl<T> Suspending<T> {
    /// What it holds.
    ///
    /// ```
    /// let input = majjen::io::Suspending::new(std::io::stdin());
    /// input.get_ref().lock();
    /// ```
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// What it holds, to be changed.
    ///
    /// ```
    /// use majjen::io::Suspending;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let mut input = Suspending::new(reader.try_clone()?);
    /// *input.get_mut() = reader;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Gives back what it holds.
    ///
    /// ```
    /// use majjen::io::Suspending;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let reader: std::io::PipeReader = Suspending::new(reader).into_inner();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }

    /// How long a call waits for something to read; `None` for ever.
    ///
    /// ```
    /// assert_eq!(majjen::io::Suspending::new(std::io::stdin()).read_timeout(), None);
    /// ```
    pub fn read_timeout(&self) -> Option<Duration> {
        self.read_timeout.get()
    }

    /// Sets how long a call waits for something to read. It then fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use majjen::io::Suspending;
    /// use std::time::Duration;
    ///
    /// let input = Suspending::new(std::io::stdin());
    /// input.set_read_timeout(Some(Duration::from_secs(5)))?;
    /// assert_eq!(input.read_timeout(), Some(Duration::from_secs(5)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout)
    }

    /// How long a call waits until it has written all; `None` for ever.
    ///
    /// ```
    /// assert_eq!(majjen::io::Suspending::new(std::io::stdout()).write_timeout(), None);
    /// ```
    pub fn write_timeout(&self) -> Option<Duration> {
        self.write_timeout.get()
    }

    /// Sets how long a call waits until it has written all. If it has written something then, it returns how
    /// much, and else fails with [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use majjen::io::Suspending;
    /// use std::time::Duration;
    ///
    /// let output = Suspending::new(std::io::stdout());
    /// output.set_write_timeout(Some(Duration::from_secs(5)))?;
    /// assert_eq!(output.write_timeout(), Some(Duration::from_secs(5)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(timeout)
    }
}

impl<T: AsFd> Read for &Suspending<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let buffer = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        self.read_some(&[buffer])
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let address = buffers.as_mut_ptr().cast::<iovec>();
        // SAFETY: an IoSliceMut is an iovec, as its documentation guarantees.
        self.read_some(few(unsafe { slice::from_raw_parts(address, buffers.len()) }))
    }
}

impl<T: AsFd> Write for &Suspending<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        self.write_some(&[data])
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: an IoSlice is an iovec, as its documentation guarantees.
        let buffers = unsafe { slice::from_raw_parts(data.as_ptr().cast::<iovec>(), data.len()) };
        self.write_some(few(buffers))
    }

    /// There is nothing to do: it has no buffer.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsFd> Read for Suspending<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl<T: AsFd> Write for Suspending<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl<T: AsFd> From<T> for Suspending<T> {
    fn from(inner: T) -> Suspending<T> {
        Suspending::new(inner)
    }
}

impl<T: AsFd> AsFd for Suspending<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Suspending<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_fd().as_raw_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Suspending<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Suspending").field(&*self.inner).finish()
    }
}
