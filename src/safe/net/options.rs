//! Options of sockets that exist. Those of one that is yet to be made: [`Builder`](super::Builder).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{TcpListener, TcpStream, UdpSocket};
use crate::engine::sys::{self, SocketOption};

impl TcpStream {
    /// After how long without news the system probes whether the other end is still there.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// assert_eq!(stream.keepalive()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn keepalive(&self) -> io::Result<Option<Duration>> {
        Ok(sys::keepalive(self.as_raw_fd())?)
    }

    /// Sets after how long without news the system probes whether the other end is still there, in whole seconds.
    /// `None` for never.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// stream.set_keepalive(Some(std::time::Duration::from_secs(60)))?;
    /// assert_eq!(stream.keepalive()?, Some(std::time::Duration::from_secs(60)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_keepalive(&self, keepalive: Option<Duration>) -> io::Result<()> {
        self.set(SocketOption::Keepalive(keepalive))
    }

    /// What happens to data that is under way when the socket is closed.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// assert_eq!(stream.linger()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(sys::linger(self.as_raw_fd())?)
    }

    /// Sets what happens to data that is under way when the socket is closed: see [`Builder::linger`](super::Builder::linger).
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// stream.set_linger(Some(std::time::Duration::ZERO))?; // Closing it resets the connection.
    /// assert_eq!(stream.linger()?, Some(std::time::Duration::ZERO));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.set(SocketOption::Linger(linger))
    }

    /// How many hops a packet may make.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// assert_ne!(stream.ttl()?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.inner.ttl()
    }

    /// Sets how many hops a packet may make.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// # let stream = majjen::net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// stream.set_ttl(9)?;
    /// assert_eq!(stream.ttl()?, 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.inner.set_ttl(ttl)
    }

    fn set(&self, option: SocketOption) -> io::Result<()> {
        // Of no family: these options are the same in all of them.
        Ok(option.set(self.as_raw_fd(), 0)?)
    }
}

impl TcpListener {
    /// How many hops a packet may make.
    ///
    /// ```
    /// let listener = majjen::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.ttl()?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.inner.ttl()
    }

    /// Sets how many hops a packet may make, also of the connections that it accepts from now on.
    ///
    /// ```
    /// let listener = majjen::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_ttl(9)?;
    /// assert_eq!(listener.ttl()?, 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.inner.set_ttl(ttl)
    }
}

impl UdpSocket {
    /// How many hops a packet may make.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_ne!(socket.ttl()?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.inner.ttl()
    }

    /// Sets how many hops a packet may make.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_ttl(9)?;
    /// assert_eq!(socket.ttl()?, 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.inner.set_ttl(ttl)
    }

    /// Whether datagrams may be sent to broadcast addresses.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(!socket.broadcast()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.0.inner.broadcast()
    }

    /// Sets whether datagrams may be sent to broadcast addresses.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_broadcast(true)?;
    /// assert!(socket.broadcast()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.0.inner.set_broadcast(broadcast)
    }

    /// Receives the datagrams of a multicast group too, at an interface: that with this address.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// if socket.join_multicast_v4(&[224, 0, 0, 99].into(), &std::net::Ipv4Addr::LOCALHOST).is_ok() {
    ///     socket.leave_multicast_v4(&[224, 0, 0, 99].into(), &std::net::Ipv4Addr::LOCALHOST)?;
    /// } // Else there is no such interface.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.inner.join_multicast_v4(group, interface)
    }

    /// Ends what [`join_multicast_v4`](Self::join_multicast_v4) has begun.
    ///
    /// ```
    /// let socket = majjen::net::UdpSocket::bind("127.0.0.1:0")?;
    /// // It has not joined it.
    /// assert!(socket.leave_multicast_v4(&[224, 0, 0, 99].into(), &std::net::Ipv4Addr::LOCALHOST).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.inner.leave_multicast_v4(group, interface)
    }

    /// Receives the datagrams of a multicast group too, at an interface: that with this number, or 0 for any.
    ///
    /// ```
    /// # let Ok(socket) = majjen::net::UdpSocket::bind("[::1]:0") else { return Ok(()) };
    /// if socket.join_multicast_v6(&"ff01::99".parse().unwrap(), 1).is_ok() {
    ///     socket.leave_multicast_v6(&"ff01::99".parse().unwrap(), 1)?;
    /// } // Else there is no such interface.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.inner.join_multicast_v6(group, interface)
    }

    /// Ends what [`join_multicast_v6`](Self::join_multicast_v6) has begun.
    ///
    /// ```
    /// # let Ok(socket) = majjen::net::UdpSocket::bind("[::1]:0") else { return Ok(()) };
    /// // It has not joined it.
    /// assert!(socket.leave_multicast_v6(&"ff01::99".parse().unwrap(), 1).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.inner.leave_multicast_v6(group, interface)
    }
}
