//! Connecting, without blocking the thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::engine::names::{self, Addresses};
use crate::engine::sys::{self, Error, OwnedFd, SocketOption};
use crate::safe::task;
use crate::safe::time::{Instant, limit};
use crate::safe::unwind::suspending;

/// A stream that is connected to the first of the addresses that answers: the next one is tried when one has
/// failed, or has not answered for a while. Only in a task, since a connection takes time, if little.
pub fn first(
    addresses: &[SocketAddr],
    local: Option<&SocketAddr>,
    options: &[SocketOption],
    timeout: Option<Duration>,
) -> io::Result<OwnedFd> {
    let places = Addresses::interleaved(addresses.iter().copied());
    let race = || names::race(&places, local, options, limit(timeout));
    Ok(suspending(race)?)
}

/// A stream that is connected to what is at a path.
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
