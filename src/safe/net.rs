//! Sockets whose calls suspend the task, rather than block the thread.
//!
//! They are those of [`std::net`] and [`std::os::unix::net`], and behave like them, with
//! [`Read`](io::Read) and [`Write`](io::Write) too: `BufReader`, parsers and TLS libraries work on
//! them unchanged. A call first tries, and suspends only when it would block, so outside a task it
//! works or fails with an error that holds [`Error::NotInTask`](crate::Error::NotInTask). A call
//! whose time is over fails with [`ErrorKind::TimedOut`].
//!
//! They may be sent to other threads and shared with them, and used by tasks of a scheduler there:
//!
//! ```
//! fn share(_: impl Send + Sync) {}
//! share(majjen::net::TcpListener::bind("127.0.0.1:0")?);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! An [`into_std`](TcpStream::into_std) socket does not block either, since that is a setting of
//! the socket, and clones share it.

mod builder;
mod connect;
mod names;
mod options;
mod tcp;
mod udp;
mod unix;
mod unix_datagram;

pub use builder::Builder;
pub use names::{ToSocketAddrs, lookup_host};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use super::time::limit;
use super::timeout::Timeout;
use super::unwind::suspending_or;
use crate::engine::fd::{self, Call};
use crate::engine::scheduler::{READABLE, WRITABLE};
use crate::engine::sys::{self, DropsUncanceled, Error};

/// Closes the listening sockets that the process was given and that nobody has taken by
/// [`Builder::inherited`]: to be called once all are taken. Who connects to one of these else waits for ever, as in a
/// set of [`Builder::reuse_port`] that was larger. What the process was given besides is left alone. Returns how many
/// were closed.
///
/// ```
/// assert_eq!(majjen::net::close_inherited(), 0);
/// ```
pub fn close_inherited() -> usize {
    fd::close_inherited()
}

/// The connections of a listener, one after the other, without end: its
/// [`incoming`](TcpListener::incoming) returns it.
///
/// ```
/// use majjen::{Scheduler, net::{TcpListener, TcpStream}};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let scheduler = Scheduler::new()?;
/// let accepted = scheduler.spawn(move || listener.incoming().next().is_some_and(|one| one.is_ok()));
/// scheduler.spawn(move || TcpStream::connect(address).map(drop));
/// scheduler.run()?;
/// assert!(accepted.join()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Incoming<'l, L> {
    listener: &'l L,
}

/// A socket of the standard library that does not block, and how long its calls may wait.
struct Socket<S> {
    /// Dropped before the socket is closed.
    _owned: Owned,
    inner: DropsUncanceled<S>,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// The library owns the descriptor of a socket while this lives.
struct Owned(RawFd);

impl Drop for Owned {
    fn drop(&mut self) {
        fd::forget(self.0);
    }
}

impl<S: AsFd> Socket<S> {
    /// `inner` does not block. `is_tcp`: it is a TCP socket that nobody has had before.
    fn new(inner: S, is_tcp: bool) -> Socket<S> {
        let number = inner.as_fd().as_raw_fd();
        fd::opened(number, is_tcp);
        let (read_timeout, write_timeout) = Default::default();
        let inner = DropsUncanceled::new(inner);
        Socket { _owned: Owned(number), inner, read_timeout, write_timeout }
    }

    /// `inner` is a socket of somebody else, which does not block.
    fn of(inner: S) -> Socket<S> {
        let is_tcp = sys::is_plain_tcp(inner.as_fd().as_raw_fd());
        Socket::new(inner, is_tcp)
    }

    /// Another one with the same timeouts.
    fn with<T: AsFd>(&self, inner: T) -> Socket<T> {
        let (read_timeout, write_timeout) = (self.read_timeout.clone(), self.write_timeout.clone());
        Socket { read_timeout, write_timeout, ..Socket::of(inner) }
    }

    /// Tries until it need not wait for input.
    fn reading<T>(&self, attempt: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        until_done(&*self.inner, READABLE, self.read_timeout.get(), attempt, |_, _| {})
    }

    /// [`reading`](Self::reading) of at most so many bytes of a stream.
    fn reading_bytes(
        &self,
        most: usize,
        attempt: impl FnMut(&S) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if most == 0 {
            return Ok(0); // The system call would wait for something to be there.
        }
        until_done(&*self.inner, READABLE, self.read_timeout.get(), attempt, |call, &count| {
            call.has_read(count, most);
        })
    }

    /// Tries until it need not wait for room.
    fn writing<T>(&self, attempt: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        until_done(&*self.inner, WRITABLE, self.write_timeout.get(), attempt, |_, _| {})
    }
}

/// Tries, and waits for events while it would block. `done` is told what it has got.
fn until_done<S: AsFd, T>(
    socket: &S,
    events: u32,
    timeout: Option<Duration>,
    attempt: impl FnMut(&S) -> io::Result<T>,
    done: impl Fn(&Call, &T),
) -> io::Result<T> {
    let attempt = RefCell::new(attempt);
    let attempt = || match (attempt.borrow_mut())(socket) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Error::WouldBlock),
        result => Ok(result),
    };
    let complete = || {
        let mut call = Call::new(socket.as_fd().as_raw_fd(), events, limit(timeout))?;
        call.begin_shared()?;
        call.complete(|call| match attempt() {
            Err(_) => Err(Error::Os(libc::EAGAIN)),
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => Err(Error::Os(libc::EINTR)),
            Ok(result) => {
                if let Ok(got) = &result {
                    done(call, got);
                }
                Ok(result)
            }
        })
    };
    suspending_or(attempt, complete)?
}

/// Tries the addresses one after the other, until one works.
fn first_that_works<T>(
    addresses: impl ToSocketAddrs,
    attempt: impl Fn(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let addresses = names::resolve(&addresses)?;
    let mut result = Err(ErrorKind::InvalidInput.into()); // There is one.
    for address in addresses.iter() {
        result = attempt(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// What all sockets have: the timeouts, and conversions from and to descriptors and sockets of the
/// standard library. `$made` is for examples: lines that make a `socket`.
macro_rules! socket {
    ($name:ident, $std:ty, $made:expr) => {
        impl $name {
            /// Takes over a socket of the standard library, and sets it not to block.
            ///
            /// ```
            #[doc = $made]
            #[doc = concat!("let again = majjen::net::", stringify!($name), "::from_std(socket.into_std())?;")]
            /// assert_eq!(again.read_timeout()?, None);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// Those of the system call.
            pub fn from_std(socket: $std) -> std::io::Result<$name> {
                socket.set_nonblocking(true)?;
                Ok($name(super::Socket::of(socket)))
            }

            /// The socket of the standard library, which still does not block.
            ///
            /// ```
            #[doc = $made]
            #[doc = concat!("let plain: ", stringify!($std), " = socket.into_std();")]
            /// assert!(plain.take_error()?.is_none());
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn into_std(self) -> $std {
                self.0.inner.into_inner()
            }

            /// Another socket for the same connection or address, with the same timeouts to begin
            /// with.
            ///
            /// ```
            #[doc = $made]
            /// socket.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
            /// assert_eq!(socket.try_clone()?.read_timeout()?, socket.read_timeout()?);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// Those of the system call.
            pub fn try_clone(&self) -> std::io::Result<$name> {
                Ok($name(self.0.with(self.0.inner.try_clone()?)))
            }

            /// The pending error of the socket, which is cleared.
            ///
            /// ```
            #[doc = $made]
            /// assert!(socket.take_error()?.is_none());
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// Those of the system call.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.0.inner.take_error()
            }

            /// How long a call waits for data, or for a connection; `None` for ever.
            ///
            /// ```
            #[doc = $made]
            /// assert_eq!(socket.read_timeout()?, None);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// None: it is a `Result` as in the standard library.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.read_timeout.get())
            }

            /// Sets how long a call waits for data, or for a connection.
            ///
            /// ```
            #[doc = $made]
            /// socket.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
            /// assert_eq!(socket.read_timeout()?, Some(std::time::Duration::from_secs(5)));
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of zero.
            pub fn set_read_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.0.read_timeout.set(timeout)
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&*self.0.inner)
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&*self.0.inner)
            }
        }

        impl std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::IntoRawFd::into_raw_fd(self.into_std())
            }
        }

        /// Sets it not to block, which may fail.
        impl TryFrom<std::os::fd::OwnedFd> for $name {
            type Error = std::io::Error;

            fn try_from(fd: std::os::fd::OwnedFd) -> std::io::Result<$name> {
                $name::from_std(fd.into())
            }
        }

        impl From<$name> for std::os::fd::OwnedFd {
            fn from(socket: $name) -> std::os::fd::OwnedFd {
                socket.into_std().into()
            }
        }

        impl TryFrom<$std> for $name {
            type Error = std::io::Error;

            fn try_from(socket: $std) -> std::io::Result<$name> {
                $name::from_std(socket)
            }
        }

        impl From<$name> for $std {
            fn from(socket: $name) -> $std {
                socket.into_std()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0.inner, out)
            }
        }
    };
}

/// What sockets have that send: the timeout for it.
macro_rules! sender {
    ($name:ident, $made:expr) => {
        impl $name {
            /// How long a call waits for room to send; `None` for ever.
            ///
            /// ```
            #[doc = $made]
            /// assert_eq!(socket.write_timeout()?, None);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// None: it is a `Result` as in the standard library.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.write_timeout.get())
            }

            /// Sets how long a call waits for room to send.
            ///
            /// ```
            #[doc = $made]
            /// socket.set_write_timeout(Some(std::time::Duration::from_secs(5)))?;
            /// assert_eq!(socket.write_timeout()?, Some(std::time::Duration::from_secs(5)));
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of zero.
            pub fn set_write_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.0.write_timeout.set(timeout)
            }
        }
    };
}

/// What streams have: reading and writing, also by shared reference.
macro_rules! stream {
    ($name:ident, $made:expr) => {
        sender!($name, $made);

        impl $name {
            /// Closes the connection for reading, for writing, or for both.
            ///
            /// ```
            #[doc = $made]
            /// socket.shutdown(std::net::Shutdown::Both)?;
            /// assert_eq!(std::io::read_to_string(socket)?, "");
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// Those of the system call.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.0.inner.shutdown(how)
            }
        }

        stream_io!($name);
        stream_io!(&$name);
    };
}

/// Reading and writing, for a stream or a reference to one.
macro_rules! stream_io {
    ($name:ty) => {
        impl std::io::Read for $name {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let most = buffer.len();
                self.0.reading_bytes(most, |mut socket| std::io::Read::read(&mut socket, buffer))
            }

            fn read_vectored(
                &mut self,
                buffers: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                let most = buffers.iter().map(|buffer| buffer.len()).sum();
                let read = |mut socket: &_| std::io::Read::read_vectored(&mut socket, buffers);
                self.0.reading_bytes(most, read)
            }
        }

        impl std::io::Write for $name {
            fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
                self.0.writing(|mut socket| std::io::Write::write(&mut socket, data))
            }

            fn write_vectored(&mut self, data: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.0.writing(|mut socket| std::io::Write::write_vectored(&mut socket, data))
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

use {sender, socket, stream, stream_io};
