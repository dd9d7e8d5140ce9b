//! Nonblocking connects, which the standard library does not have.

use std::ffi::c_int;
use std::mem::zeroed;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::from_ref;

use super::cancelation::uncancelable;
use super::errno::check;
use super::error::{Error, Result};

/// The result of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    Yes,
    /// In progress: the socket becomes writable when it ends.
    Later,
}

/// A nonblocking socket that connects to an address.
pub fn connect_tcp(address: &SocketAddr) -> Result<(OwnedFd, Connected)> {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: an address is integers, for which zero is a value.
            let mut raw: libc::sockaddr_in = unsafe { zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            connect_to(libc::AF_INET, &raw)
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_flowinfo = v6.flowinfo();
            raw.sin6_scope_id = v6.scope_id();
            connect_to(libc::AF_INET6, &raw)
        }
    }
}

/// A nonblocking socket connected to the one at a path. EAGAIN means that its backlog is full, for
/// which there is no event to wait.
pub fn connect_unix(path: &Path) -> Result<OwnedFd> {
    // SAFETY: as in `connect_tcp`.
    let mut raw: libc::sockaddr_un = unsafe { zeroed() };
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = path.as_os_str().as_bytes();
    // The last byte stays zero.
    if path.len() >= raw.sun_path.len() || path.contains(&0) {
        return Err(Error::InvalidArgument);
    }
    for (target, byte) in raw.sun_path.iter_mut().zip(path) {
        *target = *byte as std::ffi::c_char;
    }
    connect_to(libc::AF_UNIX, &raw).map(|(socket, _)| socket)
}

fn connect_to<A>(family: c_int, address: &A) -> Result<(OwnedFd, Connected)> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no preconditions.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: opened just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let length = size_of::<A>() as libc::socklen_t;
    // SAFETY: the address is of the family's type, and as long as said.
    let connected = uncancelable(|| unsafe {
        libc::connect(socket.as_raw_fd(), from_ref(address).cast(), length)
    });
    match check(connected) {
        Ok(_) => Ok((socket, Connected::Yes)),
        // An interrupted attempt continues.
        Err(Error::Os(libc::EINPROGRESS | libc::EINTR)) => Ok((socket, Connected::Later)),
        Err(error) => Err(error),
    }
}
