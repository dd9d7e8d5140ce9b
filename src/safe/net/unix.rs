//! Unix domain sockets.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{self as std_unix, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::builder::Builder;
use super::{Incoming, Socket, connect, sender, socket, stream, stream_io};
use crate::engine::sys::{self, OwnedFd};

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

macro_rules! made_stream {
    () => {
        "let (socket, _other) = majjen::net::UnixStream::pair()?;"
    };
}

socket!(UnixStream, std::os::unix::net::UnixStream, made_stream!());
stream!(UnixStream, made_stream!());

impl UnixStream {
    /// Of a socket that does not block, and that nobody has had before.
    pub(in crate::safe) fn new(socket: OwnedFd) -> UnixStream {
        UnixStream(Socket::new(socket.into(), false))
    }

    /// Connects to the listener at a path. While its queue is full, tries again every millisecond.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{UnixListener, UnixStream}};
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let scheduler = Scheduler::new()?;
    /// # let file = path.clone();
    /// let stream = scheduler.spawn(move || UnixStream::connect(path));
    /// scheduler.run()?;
    /// # std::fs::remove_file(file)?;
    /// assert!(stream.join()??.peer_addr()?.as_pathname().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let socket = connect::unix(path.as_ref(), None)?;
        Ok(UnixStream::new(socket))
    }

    /// As [`connect`](Self::connect), or fails with
    /// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use majjen::net::UnixStream;
    /// use std::{io::ErrorKind, time::Duration};
    ///
    /// let failed = UnixStream::connect_timeout("/nobody/listens", Duration::from_secs(1));
    /// assert_eq!(failed.unwrap_err().kind(), ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect_timeout(path: impl AsRef<Path>, timeout: Duration) -> io::Result<UnixStream> {
        let socket = connect::unix(path.as_ref(), Some(timeout))?;
        Ok(UnixStream::new(socket))
    }

    /// Two ends of one connection.
    ///
    /// ```
    /// use majjen::{Scheduler, net::UnixStream};
    /// use std::io::{Read, Write};
    ///
    /// let (mut one, mut other) = UnixStream::pair()?;
    /// let scheduler = Scheduler::new()?;
    /// let echoed = scheduler.spawn(move || {
    ///     one.write_all(b"x")?;
    ///     let mut byte = [0];
    ///     one.read_exact(&mut byte).map(|()| byte)
    /// });
    /// scheduler.spawn(move || {
    ///     let mut byte = [0];
    ///     other.read_exact(&mut byte)?;
    ///     other.write_all(&byte)
    /// });
    /// scheduler.run()?;
    /// assert_eq!(echoed.join()??, *b"x");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = std_unix::UnixStream::pair()?;
        Ok((UnixStream::from_std(one)?, UnixStream::from_std(other)?))
    }

    /// The other end.
    ///
    /// ```
    /// let (one, _other) = majjen::net::UnixStream::pair()?;
    /// assert!(one.peer_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.peer_addr()
    }

    /// This end.
    ///
    /// ```
    /// let (one, _other) = majjen::net::UnixStream::pair()?;
    /// assert!(one.local_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

socket!(
    UnixListener,
    std::os::unix::net::UnixListener,
    r#"let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
let socket = majjen::net::UnixListener::bind(&path)?;
# std::fs::remove_file(&path)?;"#
);

impl UnixListener {
    /// Of a socket that does not block, and that this process has just got.
    pub(super) fn new(socket: OwnedFd) -> UnixListener {
        UnixListener(Socket::new(socket.into(), false))
    }

    /// Listens at a path, where nothing may be yet. As at a [`TcpListener`](super::TcpListener::bind), 4096
    /// connections may wait to be accepted.
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let listener = majjen::net::UnixListener::bind(&path)?;
    /// assert!(majjen::net::UnixListener::bind(&path).is_err()); // It is there already.
    /// std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        Builder::new().listen_unix(path)
    }

    /// Waits for a connection, and returns it with the address of its other end.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{UnixListener, UnixStream}};
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let scheduler = Scheduler::new()?;
    /// # let file = path.clone();
    /// let accepted = scheduler.spawn(move || listener.accept().map(|(_, address)| address));
    /// scheduler.spawn(move || UnixStream::connect(path).map(drop));
    /// scheduler.run()?;
    /// # std::fs::remove_file(file)?;
    /// assert!(accepted.join()??.is_unnamed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`TcpListener::accept`](super::TcpListener::accept).
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let accept = |socket: &std_unix::UnixListener| Ok(sys::accept_unix(socket.as_raw_fd())?);
        let (socket, address) = self.0.reading(accept)?;
        let stream = UnixStream::new(socket);
        let address = address.map_or_else(|| stream.peer_addr(), Ok)?;
        Ok((stream, address))
    }

    /// The connections, one after the other, without end.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{UnixListener, UnixStream}};
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let scheduler = Scheduler::new()?;
    /// # let file = path.clone();
    /// let accepted = scheduler.spawn(move || listener.incoming().take(2).flatten().count());
    /// scheduler.spawn(move || (UnixStream::connect(&path).is_ok(), UnixStream::connect(&path).is_ok()));
    /// scheduler.run()?;
    /// # std::fs::remove_file(file)?;
    /// assert_eq!(accepted.join()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_, UnixListener> {
        Incoming { listener: self }
    }

    /// Where it listens.
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let listener = majjen::net::UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }
}

impl Iterator for Incoming<'_, UnixListener> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl<'l> IntoIterator for &'l UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'l, UnixListener>;

    fn into_iter(self) -> Incoming<'l, UnixListener> {
        self.incoming()
    }
}
