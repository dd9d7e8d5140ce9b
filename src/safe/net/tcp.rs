//! TCP.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::builder::Builder;
use super::{Incoming, Socket, ToSocketAddrs, sender, socket, stream, stream_io};
use crate::engine::sys::{self, OwnedFd};

/// A connection.
///
/// ```
/// use majjen::net::{TcpListener, TcpStream};
/// use majjen::{Scheduler, task};
/// use std::io::{BufRead, BufReader, Write};
///
/// let scheduler = Scheduler::new()?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// scheduler.spawn(move || {
///     let (stream, _) = listener.accept()?;
///     (&stream).write_all(b"hello\n")
/// });
/// let line = scheduler.spawn(move || {
///     let stream = TcpStream::connect(address)?;
///     let mut line = String::new();
///     BufReader::new(stream).read_line(&mut line).map(|_| line)
/// });
/// scheduler.run()?;
/// assert_eq!(line.join()??, "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It reads and writes by shared reference too, so tasks share it by `Rc`, or by `Arc` with those of other
/// threads:
///
/// ```
/// fn share(_: impl Send + Sync) {}
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
/// share(std::sync::Arc::new(stream));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream(pub(super) Socket<std::net::TcpStream>);

macro_rules! made_stream {
    () => {
        r#"let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
let connected = std::net::TcpStream::connect(listener.local_addr()?)?;
let socket = majjen::net::TcpStream::from_std(connected)?;"#
    };
}

socket!(TcpStream, std::net::TcpStream, made_stream!());
stream!(TcpStream, made_stream!());

impl TcpStream {
    /// Of a socket that does not block, and that nobody has had before.
    pub(in crate::safe) fn new(socket: OwnedFd) -> TcpStream {
        TcpStream(Socket::new(socket.into(), true))
    }

    /// Connects to the first of the addresses that answers. A task is suspended while a name is looked up
    /// ([`lookup_host`](super::lookup_host)); IPv6 and IPv4 take turns, and the next address is tried when one has
    /// failed, or has not answered for 250 ms (RFC 8305). Outside a task the thread waits for the look-up.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{TcpListener, TcpStream}};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let stream = scheduler.spawn(move || TcpStream::connect(address));
    /// scheduler.run()?;
    /// assert_eq!(stream.join()??.peer_addr()?, address);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of a look-up; of several addresses the error of the first that says most: one of another machine more
    /// than that there is no way to it. In a child of fork(), made while the task waits, an attempt that has failed is
    /// [`ErrorKind::ConnectionAborted`](io::ErrorKind::ConnectionAborted): its parent is told why.
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<TcpStream> {
        Builder::new().connect(addresses)
    }

    /// Connects to an address, or fails with [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use majjen::{Scheduler, net::{TcpListener, TcpStream}};
    /// use std::time::Duration;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let limit = Duration::from_secs(5);
    /// let stream = scheduler.spawn(move || TcpStream::connect_timeout(&address, limit));
    /// scheduler.run()?;
    /// assert_eq!(stream.join()??.peer_addr()?, address);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the connection, in a child of fork() as for [`connect`](Self::connect).
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        Builder::new().connect_timeout(address, timeout)
    }

    /// The other end.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// assert!(stream.peer_addr()?.ip().is_loopback());
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
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// assert_ne!(stream.local_addr()?, stream.peer_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }

    /// Reads without taking what is read.
    ///
    /// ```
    /// use majjen::{Scheduler, net::TcpStream};
    /// use std::io::{Read, Write};
    ///
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let mut stream = TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// # listener.accept()?.0.write_all(b"x")?;
    /// let scheduler = Scheduler::new()?;
    /// let both = scheduler.spawn(move || {
    ///     let (mut seen, mut read) = ([0], [0]);
    ///     stream.peek(&mut seen)?;
    ///     stream.read_exact(&mut read)?;
    ///     Ok::<_, std::io::Error>((seen, read))
    /// });
    /// scheduler.run()?;
    /// assert_eq!(both.join()??, (*b"x", *b"x"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for `read`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.reading(|socket| socket.peek(buffer))
    }

    /// Sets whether small writes are sent at once (TCP_NODELAY).
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.inner.set_nodelay(nodelay)
    }

    /// Whether small writes are sent at once.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// assert!(!stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.inner.nodelay()
    }
}

/// Accepts connections.
///
/// ```
/// use majjen::net::{TcpListener, TcpStream};
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = scheduler.spawn(move || {
///     for stream in listener.incoming() {
///         task::spawn(move || stream.and_then(|stream| stream.peer_addr()));
///     }
/// });
/// scheduler.spawn(move || {
///     let connected = TcpStream::connect(address);
///     server.cancel();
///     connected.map(drop)
/// });
/// scheduler.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TcpListener(pub(super) Socket<std::net::TcpListener>);

socket!(
    TcpListener,
    std::net::TcpListener,
    r#"let socket = majjen::net::TcpListener::bind("127.0.0.1:0")?;"#
);

impl TcpListener {
    /// Of a socket that listens, does not block, and that nobody has had before.
    pub(super) fn new(socket: OwnedFd) -> TcpListener {
        TcpListener(Socket::new(socket.into(), true))
    }

    /// Listens at an address; at port 0 for one that the system chooses. A task is suspended while a name is
    /// looked up.
    ///
    /// 4096 connections may wait to be accepted, or as many as the system allows (`net.core.somaxconn`): more
    /// than the 128 of the standard library. [`Builder::backlog`] sets another number.
    ///
    /// ```
    /// let listener = majjen::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of the last address.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        Builder::new().listen(addresses)
    }

    /// Waits for a connection, and returns it with the address of its other end.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{TcpListener, TcpStream}};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let accepted = scheduler.spawn(move || listener.accept().map(|(_, address)| address));
    /// let connected = scheduler.spawn(move || TcpStream::connect(address)?.local_addr());
    /// scheduler.run()?;
    /// assert_eq!(accepted.join()??, connected.join()??);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call. Many concern only the connection, or pass: a server goes on after
    /// them, and rests a little when it is out of descriptors.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |socket: &std::net::TcpListener| Ok(sys::accept_tcp(socket.as_raw_fd())?);
        self.0.reading(accept).map(|(socket, address)| (TcpStream::new(socket), address))
    }

    /// The connections, one after the other, without end.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{TcpListener, TcpStream}};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let accepted = scheduler.spawn(move || listener.incoming().take(3).flatten().count());
    /// for _ in 0..3 {
    ///     scheduler.spawn(move || TcpStream::connect(address).map(drop));
    /// }
    /// scheduler.run()?;
    /// assert_eq!(accepted.join()?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_, TcpListener> {
        Incoming { listener: self }
    }

    /// Where it listens.
    ///
    /// ```
    /// let listener = majjen::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.local_addr()?.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }
}

impl Iterator for Incoming<'_, TcpListener> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl<'l> IntoIterator for &'l TcpListener {
    type Item = io::Result<TcpStream>;
    type IntoIter = Incoming<'l, TcpListener>;

    fn into_iter(self) -> Incoming<'l, TcpListener> {
        self.incoming()
    }
}
