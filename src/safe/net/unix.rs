//! Unix domain sockets.

use std::io;
use std::os::unix::net::{self as std_unix, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::{Socket, connect, sender, socket, stream, stream_io};

/// A connection on this machine.
///
/// ```
/// use majjen::{Scheduler, net::UnixStream};
/// use std::io::{Read, Write};
///
/// let scheduler = Scheduler::new()?;
/// let (mut one, mut other) = UnixStream::pair()?;
/// scheduler.spawn(move || one.write_all(b"hello"));
/// let text = scheduler.spawn(move || std::io::read_to_string(other));
/// scheduler.run()?;
/// assert_eq!(text.join()??, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixStream(Socket<std_unix::UnixStream>);

socket!(UnixStream, std_unix::UnixStream);
stream!(UnixStream);

impl UnixStream {
    /// Connects to the listener at a path. While its queue is full, tries again every millisecond.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let socket = connect::unix(path.as_ref(), None)?;
        Ok(UnixStream(Socket::new(socket.into())))
    }

    /// As [`connect`](Self::connect), or fails with
    /// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect_timeout(path: impl AsRef<Path>, timeout: Duration) -> io::Result<UnixStream> {
        let socket = connect::unix(path.as_ref(), Some(timeout))?;
        Ok(UnixStream(Socket::new(socket.into())))
    }

    /// Two ends of one connection.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = std_unix::UnixStream::pair()?;
        Ok((UnixStream::from_std(one)?, UnixStream::from_std(other)?))
    }

    /// The other end.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.peer_addr()
    }

    /// This end.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }
}

/// Accepts connections at a path.
///
/// ```
/// use majjen::{Scheduler, net::{UnixListener, UnixStream}};
///
/// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let scheduler = Scheduler::new()?;
/// let accepted = scheduler.spawn(move || listener.accept().map(drop));
/// let connected = path.clone();
/// scheduler.spawn(move || UnixStream::connect(connected).map(drop));
/// scheduler.run()?;
/// accepted.join()??;
/// std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixListener(Socket<std_unix::UnixListener>);

socket!(UnixListener, std_unix::UnixListener);

impl UnixListener {
    /// Listens at a path, where nothing may be yet.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::from_std(std_unix::UnixListener::bind(path)?)
    }

    /// Waits for a connection, and returns it with the address of its other end.
    ///
    /// # Errors
    /// As for [`TcpListener::accept`](super::TcpListener::accept).
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, address) = self.0.reading(std_unix::UnixListener::accept)?;
        Ok((UnixStream::from_std(stream)?, address))
    }

    /// The connections, one after the other, without end.
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<UnixStream>> {
        std::iter::repeat_with(|| self.accept().map(|(stream, _)| stream))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }
}
