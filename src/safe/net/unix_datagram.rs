//! Datagrams on this machine.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{self as std_unix, SocketAddr};
use std::path::Path;

use super::{Socket, sender, socket};

/// Sends and receives datagrams on this machine.
///
/// ```
/// use majjen::{Scheduler, net::UnixDatagram};
///
/// let (one, other) = UnixDatagram::pair()?;
/// let scheduler = Scheduler::new()?;
/// let received = scheduler.spawn(move || {
///     let mut buffer = [0; 8];
///     other.recv(&mut buffer).map(|length| buffer[..length].to_vec())
/// });
/// scheduler.spawn(move || one.send(b"hello"));
/// scheduler.run()?;
/// assert_eq!(received.join()??, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixDatagram(Socket<std_unix::UnixDatagram>);

macro_rules! made {
    () => {
        "let (socket, _other) = majjen::net::UnixDatagram::pair()?;"
    };
}

socket!(UnixDatagram, std::os::unix::net::UnixDatagram, made!());
sender!(UnixDatagram, made!());

impl UnixDatagram {
    /// Receives at a path, where nothing may be yet.
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let socket = majjen::net::UnixDatagram::bind(&path)?;
    /// assert_eq!(socket.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(std_unix::UnixDatagram::bind(path)?)
    }

    /// One without an address, which can send only.
    ///
    /// ```
    /// assert!(majjen::net::UnixDatagram::unbound()?.local_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(std_unix::UnixDatagram::unbound()?)
    }

    /// Two that are connected to each other.
    ///
    /// ```
    /// let (one, other) = majjen::net::UnixDatagram::pair()?;
    /// one.send(b"hello")?;
    /// assert_eq!(other.recv(&mut [0; 8])?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = std_unix::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(one)?, UnixDatagram::from_std(other)?))
    }

    /// Sends to the socket at a path, and receives from it only, from now on. Does not suspend.
    ///
    /// ```
    /// use majjen::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let (server, client) = (UnixDatagram::bind(&path)?, UnixDatagram::unbound()?);
    /// client.connect(&path)?;
    /// client.send(b"hello")?;
    /// assert_eq!(server.recv(&mut [0; 8])?, 5);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.inner.connect(path)
    }

    /// Sends a datagram to the socket that it is connected to, and waits while the queue there is full.
    ///
    /// ```
    /// let (one, _other) = majjen::net::UnixDatagram::pair()?;
    /// assert_eq!(one.send(b"hello")?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.0.writing(|socket| socket.send(data))
    }

    /// Sends a datagram to the socket at a path. While the queue there is full it tries again now and then:
    /// the system does not tell when there is room.
    ///
    /// ```
    /// use majjen::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// assert_eq!(UnixDatagram::unbound()?.send_to(b"hello", &path)?, 5);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.0.writing(|socket| socket.send_to(data, path.as_ref()))
    }

    /// Waits for a datagram, and returns its length. What does not fit is lost.
    ///
    /// ```
    /// let (one, other) = majjen::net::UnixDatagram::pair()?;
    /// one.send(b"too long")?;
    /// assert_eq!(other.recv(&mut [0; 4])?, 4);
    /// # Ok::<(), std::io::Error>(())
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
    /// let (one, other) = majjen::net::UnixDatagram::pair()?;
    /// one.send(b"hello")?;
    /// let (length, sender) = other.recv_from(&mut [0; 8])?;
    /// assert!(length == 5 && sender.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
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
    /// let (one, _other) = majjen::net::UnixDatagram::pair()?;
    /// assert!(one.local_addr()?.is_unnamed());
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
    /// assert!(majjen::net::UnixDatagram::unbound()?.peer_addr().is_err()); // Not connected.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.peer_addr()
    }

    /// Closes it for receiving, for sending, or for both.
    ///
    /// ```
    /// let (one, other) = majjen::net::UnixDatagram::pair()?;
    /// other.shutdown(std::net::Shutdown::Read)?;
    /// assert_eq!(one.send(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.inner.shutdown(how)
    }
}
