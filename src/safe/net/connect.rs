//! Connecting, without blocking the thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::engine::names::{self, Addresses};
use crate::engine::scheduler::{WRITABLE, running_task};
use crate::engine::sys::{self, Connected, Error, SocketOption};
use crate::safe::task::{self, wait_fd};
use crate::safe::time::{Instant, limit};
use crate::safe::unwind::suspending;

/// A stream that is connected, or says what went wrong.
fn tcp(
    address: &SocketAddr,
    local: Option<&SocketAddr>,
    options: &[SocketOption],
    timeout: Option<Duration>,
) -> io::Result<OwnedFd> {
    let (socket, connected) = sys::connect_tcp(address, local, options)?;
    if connected == Connected::Later {
        wait_fd(socket.as_raw_fd(), WRITABLE, limit(timeout))?;
    }
    sys::take_socket_error(socket.as_raw_fd())?;
    Ok(socket)
}

/// A stream that is connected to the first of the addresses that answers. A task tries the next one when one has
/// failed, or has not answered for a while; outside a task they are tried one after the other.
pub fn first(
    addresses: &[SocketAddr],
    local: Option<&SocketAddr>,
    options: &[SocketOption],
    timeout: Option<Duration>,
) -> io::Result<OwnedFd> {
    if running_task().is_some() && !thread::panicking() {
        let places = Addresses::interleaved(addresses.iter().copied());
        let race = || names::race(places.as_slice(), local, options, limit(timeout));
        return Ok(suspending(race)?);
    }
    let mut result = Err(ErrorKind::InvalidInput.into());
    for address in addresses {
        result = tcp(address, local, options, timeout);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// As [`tcp`], for a path.
pub fn unix(path: &Path, timeout: Option<Duration>) -> io::Result<OwnedFd> {
    /// There is no event for room in a listener's queue.
    const PAUSE: Duration = Duration::from_millis(1);
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
    loop {
        match sys::connect_unix(path) {
            Err(Error::Os(libc::EAGAIN)) if in_time() => task::sleep(PAUSE)?,
            Err(Error::Os(libc::EAGAIN)) => return Err(ErrorKind::TimedOut.into()),
            result => return Ok(result?),
        }
    }
}
