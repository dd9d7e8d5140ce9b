//! Sockets with other settings than the usual ones.

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice;
use std::time::Duration;

use super::{
    Socket, TcpListener, TcpStream, ToSocketAddrs, UdpSocket, UnixListener, connect,
    first_that_works, names,
};
use crate::engine::fd;
use crate::engine::sys::{self, Address, OwnedFd, SocketOption};

/// Makes sockets with options that have to be set before they are bound or connected, or that all of a
/// listener's connections are to have.
///
/// ```
/// use majjen::net::Builder;
/// use std::time::Duration;
///
/// // As on each of several threads, each with a scheduler: the kernel shares the connections among them.
/// let one = Builder::new()
///     .reuse_port(true)
///     .backlog(1000)
///     .nodelay(true) // Of each connection that it accepts.
///     .keepalive(Some(Duration::from_secs(60)))
///     .listen("127.0.0.1:0")?;
/// let other = Builder::new().reuse_port(true).listen(one.local_addr()?)?;
/// assert_eq!(one.local_addr()?, other.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A connection has the options of the listener that has accepted it. One that the socket cannot have, such as
/// [`nodelay`](Self::nodelay) with UDP, is the system's error when the socket is made.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    options: Vec<SocketOption>,
    local: Option<SocketAddr>,
    backlog: Option<u32>,
    inherited: bool,
}

impl Builder {
    /// With the settings of the standard library, but for the [`backlog`](Self::backlog).
    ///
    /// ```
    /// let listener = majjen::net::Builder::new().listen("127.0.0.1:0")?;
    /// assert!(listener.local_addr()?.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    fn with(mut self, option: SocketOption) -> Builder {
        self.options.push(option);
        self
    }

    /// Whether several sockets may use the address, among which the kernel shares connections and datagrams
    /// (SO_REUSEPORT).
    ///
    /// ```
    /// use majjen::net::Builder;
    ///
    /// let one = Builder::new().reuse_port(true).bind_udp("127.0.0.1:0")?;
    /// assert!(Builder::new().bind_udp(one.local_addr()?).is_err());
    /// assert!(Builder::new().reuse_port(true).bind_udp(one.local_addr()?).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reuse_port(self, reuse: bool) -> Builder {
        self.with(SocketOption::ReusePort(reuse))
    }

    /// Whether the address may still be in use by connections that have ended (SO_REUSEADDR): as usual for
    /// listeners; for UDP several sockets may use it.
    ///
    /// ```
    /// use majjen::net::Builder;
    ///
    /// let one = Builder::new().reuse_address(true).bind_udp("127.0.0.1:0")?;
    /// assert!(Builder::new().reuse_address(true).bind_udp(one.local_addr()?).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reuse_address(self, reuse: bool) -> Builder {
        self.with(SocketOption::ReuseAddress(reuse))
    }

    /// Whether an IPv6 socket leaves out IPv4. If it is not set, the system decides. It has no effect on IPv4
    /// sockets.
    ///
    /// ```
    /// let listener = majjen::net::Builder::new().only_v6(true).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn only_v6(self, only: bool) -> Builder {
        self.with(SocketOption::OnlyV6(only))
    }

    /// How many connections may wait to be accepted, at most the system's limit (`net.core.somaxconn`).
    /// 4096, if it is not set.
    ///
    /// ```
    /// let listener = majjen::net::Builder::new().backlog(16).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn backlog(self, connections: u32) -> Builder {
        Builder { backlog: Some(connections), ..self }
    }

    /// Whether sockets that the process was given are looked at first, in systemd's way: LISTEN_FDS in the
    /// environment is how many there are, from descriptor 3 on, and LISTEN_PID, if it is there, is this process's
    /// number. One that listens at this very address is taken, with the backlog that it has, and gets these options
    /// as far as a socket that listens can still get them; connections that wait there already do not have them. Each
    /// is taken once: of several at one address, one by each call. If there is none, a new one listens.
    ///
    /// What is not taken stays open, and keeps connections that nobody accepts:
    /// [`close_inherited`](super::close_inherited).
    ///
    /// ```
    /// use majjen::net::{Builder, close_inherited};
    ///
    /// let listener = Builder::new().inherited(true).listen("127.0.0.1:0")?;
    /// assert_eq!(close_inherited(), 0); // Nothing was given that has not been taken.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn inherited(self, inherited: bool) -> Builder {
        Builder { inherited, ..self }
    }

    /// The address that a connection is made from; with port 0 the system chooses the port.
    ///
    /// ```
    /// use majjen::{Scheduler, net::{Builder, TcpListener}};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let local = "127.0.0.2:0".parse()?;
    /// let stream = scheduler.spawn(move || Builder::new().local(local).connect(address));
    /// scheduler.run()?;
    /// assert_eq!(stream.join()??.local_addr()?.ip(), local.ip());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn local(self, address: SocketAddr) -> Builder {
        Builder { local: Some(address), ..self }
    }

    /// Whether small writes are sent at once (TCP_NODELAY).
    ///
    /// ```
    /// use majjen::{Scheduler, net::{Builder, TcpListener}};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let stream = scheduler.spawn(move || Builder::new().nodelay(true).connect(address));
    /// scheduler.run()?;
    /// assert!(stream.join()??.nodelay()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nodelay(self, nodelay: bool) -> Builder {
        self.with(SocketOption::Nodelay(nodelay))
    }

    /// After how long without news the system probes whether the other end is still there, in whole seconds;
    /// `None` for never. When it is not, calls fail with [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use majjen::net::Builder;
    /// use std::time::Duration;
    ///
    /// let builder = Builder::new()
    ///     .keepalive(Some(Duration::from_secs(60)))
    ///     .keepalive_interval(Duration::from_secs(10))
    ///     .keepalive_count(3); // After 90 seconds it is given up.
    /// let listener = builder.listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn keepalive(self, idle: Option<Duration>) -> Builder {
        self.with(SocketOption::Keepalive(idle))
    }

    /// How long the system waits between two probes, in whole seconds.
    ///
    /// ```
    /// use majjen::net::Builder;
    /// use std::time::Duration;
    ///
    /// let builder = Builder::new().keepalive(Some(Duration::from_secs(60)));
    /// let listener = builder.keepalive_interval(Duration::from_secs(10)).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn keepalive_interval(self, interval: Duration) -> Builder {
        self.with(SocketOption::KeepaliveInterval(interval))
    }

    /// After how many probes without an answer the system gives up.
    ///
    /// ```
    /// use majjen::net::Builder;
    /// use std::time::Duration;
    ///
    /// let builder = Builder::new().keepalive(Some(Duration::from_secs(60)));
    /// let listener = builder.keepalive_count(3).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn keepalive_count(self, probes: u32) -> Builder {
        self.with(SocketOption::KeepaliveCount(probes))
    }

    /// How long data may be under way without an answer before the system gives up, in whole milliseconds
    /// (TCP_USER_TIMEOUT).
    ///
    /// ```
    /// use majjen::net::Builder;
    ///
    /// let limit = std::time::Duration::from_secs(30);
    /// let listener = Builder::new().user_timeout(limit).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn user_timeout(self, limit: Duration) -> Builder {
        self.with(SocketOption::UserTimeout(limit))
    }

    /// What happens to data that is under way when the socket is closed. `None`: it is sent, as usual. A time
    /// in whole seconds: closing *blocks the thread* for so long. Zero: it is dropped, and the connection
    /// reset.
    ///
    /// ```
    /// use majjen::net::Builder;
    ///
    /// let reset = Some(std::time::Duration::ZERO);
    /// let listener = Builder::new().linger(reset).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn linger(self, linger: Option<Duration>) -> Builder {
        self.with(SocketOption::Linger(linger))
    }

    /// How many bytes the system keeps for the program to read. It has limits of its own, and doubles the
    /// number for its own needs.
    ///
    /// ```
    /// let socket = majjen::net::Builder::new().receive_buffer(1 << 16).bind_udp("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn receive_buffer(self, bytes: usize) -> Builder {
        self.with(SocketOption::ReceiveBuffer(bytes))
    }

    /// How many bytes the system keeps to be sent. As [`receive_buffer`](Self::receive_buffer).
    ///
    /// ```
    /// let listener = majjen::net::Builder::new().send_buffer(1 << 16).listen("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_buffer(self, bytes: usize) -> Builder {
        self.with(SocketOption::SendBuffer(bytes))
    }

    /// How many hops a packet may make.
    ///
    /// ```
    /// let socket = majjen::net::Builder::new().ttl(3).bind_udp("127.0.0.1:0")?;
    /// assert_eq!(socket.ttl()?, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ttl(self, hops: u32) -> Builder {
        self.with(SocketOption::Ttl(hops))
    }

    /// Whether datagrams may be sent to broadcast addresses.
    ///
    /// ```
    /// let socket = majjen::net::Builder::new().broadcast(true).bind_udp("127.0.0.1:0")?;
    /// assert!(socket.broadcast()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn broadcast(self, broadcast: bool) -> Builder {
        self.with(SocketOption::Broadcast(broadcast))
    }

    /// A listener at the first of the addresses that can be had; at port 0 for one that the system chooses.
    /// A task is suspended while a name is looked up.
    ///
    /// ```
    /// let listener = majjen::net::Builder::new().listen("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of the last address.
    pub fn listen(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut options = vec![SocketOption::ReuseAddress(true)];
        options.extend(&self.options);
        let addresses = &*names::resolve(&addresses)?;
        for address in addresses.iter().filter(|_| self.inherited) {
            if let Some(taken) = fd::take_inherited(&Address::inet(address), &self.options) {
                return Ok(TcpListener(Socket::of(taken.into())));
            }
        }
        first_that_works(addresses, |address| {
            Ok(TcpListener::new(sys::listen_tcp(address, self.most_waiting(), &options)?))
        })
    }

    pub(in crate::safe) fn takes_inherited(&self) -> bool {
        self.inherited
    }

    /// Another one that the process was given, if it is to be looked at, and that listens at this address.
    pub(in crate::safe) fn take_another(&self, address: &SocketAddr) -> Option<OwnedFd> {
        self.inherited.then(|| fd::take_inherited(&Address::inet(address), &self.options))?
    }

    /// The same at a path.
    pub(in crate::safe) fn take_another_unix(&self, path: &Path) -> Option<OwnedFd> {
        let address = Address::unix(path.as_os_str().as_bytes()).ok()?;
        self.inherited.then(|| fd::take_inherited(&address, &[]))?
    }

    fn most_waiting(&self) -> i32 {
        self.backlog.map_or(fd::BACKLOG, |most| most.try_into().unwrap_or(i32::MAX))
    }

    /// A listener at a path, where nothing may be yet: [`UnixListener::bind`] with the [`backlog`](Self::backlog),
    /// and one that the process was given, if [`inherited`](Self::inherited) says so. Of the other options it has
    /// none.
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let listener = majjen::net::Builder::new().backlog(16).listen_unix(&path)?;
    /// std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn listen_unix(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        let path = path.as_ref().as_os_str().as_bytes();
        let address = Address::unix(path)?;
        let taken = self.inherited.then(|| fd::take_inherited(&address, &[])).flatten();
        let socket = taken.map_or_else(|| sys::listen_unix(path, self.most_waiting()), Ok)?;
        Ok(UnixListener::new(socket))
    }

    /// A connection to the first of the addresses that answers: [`TcpStream::connect`].
    ///
    /// ```
    /// use majjen::{Scheduler, net::{Builder, TcpListener}};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let stream = scheduler.spawn(move || Builder::new().ttl(9).connect(address));
    /// scheduler.run()?;
    /// assert_eq!(stream.join()??.ttl()?, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`TcpStream::connect`].
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpStream> {
        self.connected(&names::resolve(&addresses)?, None)
    }

    /// A connection to an address, or [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use majjen::{Scheduler, net::{Builder, TcpListener}};
    /// use std::time::Duration;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let builder = Builder::new().nodelay(true);
    /// let stream = scheduler.spawn(move || builder.connect_timeout(&address, Duration::from_secs(5)));
    /// scheduler.run()?;
    /// assert_eq!(stream.join()??.peer_addr()?, address);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`TcpStream::connect_timeout`].
    pub fn connect_timeout(
        &self,
        address: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        self.connected(slice::from_ref(address), Some(timeout))
    }

    fn connected(
        &self,
        addresses: &[SocketAddr],
        timeout: Option<Duration>,
    ) -> io::Result<TcpStream> {
        let local = self.local.as_ref();
        connect::first(addresses, local, &self.options, timeout).map(TcpStream::new)
    }

    /// A UDP socket at the first of the addresses that can be had; at port 0 for one that the system chooses.
    /// A task is suspended while a name is looked up.
    ///
    /// ```
    /// let socket = majjen::net::Builder::new().bind_udp("127.0.0.1:0")?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of the last address.
    pub fn bind_udp(&self, addresses: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        first_that_works(addresses, |address| {
            Ok(UdpSocket::new(sys::bind_udp(address, &self.options)?))
        })
    }
}
