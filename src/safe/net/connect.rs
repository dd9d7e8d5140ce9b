//! Connecting, without blocking the thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::engine::io::WRITABLE;
use crate::engine::sys::Error;
use crate::engine::sys::{self, Connected};
use crate::safe::task::{self, wait_fd};
use crate::safe::time::Limit;

/// A stream that is connected, or says what went wrong.
pub fn tcp(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<std::net::TcpStream> {
    let (socket, connected) = sys::connect_tcp(address)?;
    let limit = Limit::after(timeout);
    if connected == Connected::Later {
        wait_fd(socket.as_raw_fd(), WRITABLE, &limit)?;
    }
    let stream = std::net::TcpStream::from(socket);
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// As [`tcp`], for a path.
pub fn unix(path: &Path, timeout: Option<Duration>) -> io::Result<OwnedFd> {
    /// There is no event for room in a listener's queue.
    const PAUSE: Duration = Duration::from_millis(1);
    let limit = Limit::after(timeout);
    loop {
        match sys::connect_unix(path) {
            Err(Error::Os(libc::EAGAIN)) if limit.remaining_ns() > 0 => task::sleep(PAUSE)?,
            Err(Error::Os(libc::EAGAIN)) => return Err(ErrorKind::TimedOut.into()),
            result => return Ok(result?),
        }
    }
}
