//! UDP.

use std::io;
use std::net::SocketAddr;

use super::builder::Builder;
use super::{Socket, ToSocketAddrs, names, sender, socket};
use crate::engine::sys::OwnedFd;

/// Sends and receives datagrams.
///
/// ```
/// use majjen::{Scheduler, net::UdpSocket};
///
/// let scheduler = Scheduler::new()?;
/// let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// let address = other.local_addr()?;
/// let received = scheduler.spawn(move || {
///     let mut buffer = [0; 8];
///     other.recv_from(&mut buffer).map(|(length, _)| buffer[..length].to_vec())
/// });
/// scheduler.spawn(move || one.send_to(b"hello", address));
/// scheduler.run()?;
/// assert_eq!(received.join()??, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UdpSocket(pub(super) Socket<std::net::UdpSocket>);

macro_rules! made {
    () => {
        r#"let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;"#
    };
}

socket!(UdpSocket, std::net::UdpSocket, made!());
sender!(UdpSocket, made!());

impl UdpSocket {
    /// Of a socket that does not block.
    pub(super) fn new(socket: OwnedFd) -> UdpSocket {
        UdpSocket(Socket::new(socket.into(), false))
    }

    /// Receives at an address; at port 0 for one that the system chooses. A task is
    /// suspended while a name is looked up.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of the last address.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        Builder::new().bind_udp(addresses)
    }

    /// Sends to an address, and receives from it only, from now on. Does not suspend.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect("127.0.0.1:9")?;
    /// assert_eq!(socket.peer_addr()?.port(), 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of the last address.
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<()> {
        self.0.inner.connect(&*names::resolve(&addresses)?)
    }

    /// Sends a datagram to the address that it is connected to.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?; // To itself.
    /// assert_eq!(socket.send(b"hello")?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.0.writing(|socket| socket.send(data))
    }

    /// Sends a datagram to an address. A task is suspended while a name is looked up.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.send_to(b"hello", socket.local_addr()?)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn send_to(&self, data: &[u8], addresses: impl ToSocketAddrs) -> io::Result<usize> {
        let address = names::resolve(&addresses)?[0];
        self.0.writing(|socket| socket.send_to(data, address))
    }

    /// Waits for a datagram, and returns its length. What does not fit is lost.
    ///
    /// ```
    /// use majjen::{Scheduler, net::UdpSocket};
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// let scheduler = Scheduler::new()?;
    /// let received = scheduler.spawn(move || {
    ///     let mut buffer = [0; 4];
    ///     socket.recv(&mut buffer).map(|length| (length, buffer))
    /// });
    /// scheduler.spawn(move || UdpSocket::bind("127.0.0.1:0")?.send_to(b"too long", address));
    /// scheduler.run()?;
    /// assert_eq!(received.join()??, (4, *b"too "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.reading(|socket| socket.recv(buffer))
    }

    /// Waits for a datagram, and returns its length and its sender.
    ///
    /// ```
    /// use majjen::{Scheduler, net::UdpSocket};
    ///
    /// let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// let (sender, receiver) = (one.local_addr()?, other.local_addr()?);
    /// let scheduler = Scheduler::new()?;
    /// let received = scheduler.spawn(move || other.recv_from(&mut [0; 8]));
    /// scheduler.spawn(move || one.send_to(b"hello", receiver));
    /// scheduler.run()?;
    /// assert_eq!(received.join()??, (5, sender));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.reading(|socket| socket.recv_from(buffer))
    }

    /// Where it receives.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(socket.local_addr()?.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }

    /// What it is connected to.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(socket.peer_addr().is_err()); // Not connected.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.peer_addr()
    }
}
