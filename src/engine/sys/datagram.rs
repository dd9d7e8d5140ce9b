//! Datagrams to a socket in the file system.

use std::ffi::{CStr, c_char, c_int};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

use super::cancellation::{Uncancelable, uncancelable};
use super::descriptor::opened;
use super::errno::{check, last_error, retry_interrupted};
use super::error::{Error, Result};
use super::mark::Mark;
use super::owned_fd::OwnedFd;
use super::socket_option::set;

/// A socket that sends datagrams to others of this machine. A send waits 100 ms at most.
pub(super) fn patient_socket() -> Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: no preconditions.
    let fd = opened(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: opened just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let patience = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
    set(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &patience)?;
    Ok(socket)
}

/// A socket that sends datagrams to the one at a path. A send waits 100 ms at most.
pub fn datagram_socket(path: &CStr, mark: Mark) -> Result<c_int> {
    let _uncancelable = Uncancelable::begin(); // A socket that is dropped is closed by the standard library.
    let socket = patient_socket()?;
    connect(socket.as_raw_fd(), path)?;
    mark.set(socket.as_raw_fd());
    Ok(socket.into_raw_fd())
}

/// Connects a datagram socket to the one at a path.
pub fn connect(fd: c_int, path: &CStr) -> Result<()> {
    // SAFETY: an address is integers, for which zero is a value.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = path.to_bytes_with_nul();
    if path.len() > address.sun_path.len() {
        return Err(Error::Os(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as c_char;
    }
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is good for the call and as long as said.
    check(uncancelable(|| unsafe { libc::connect(fd, (&raw const address).cast(), length) }))
        .map(drop)
}

/// Sends one datagram, without SIGPIPE.
pub fn send(fd: c_int, bytes: &[u8], may_wait: bool) -> Result<()> {
    let flags = libc::MSG_NOSIGNAL | if may_wait { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: the bytes are good for the call.
    let send = || unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    let sent = uncancelable(|| retry_interrupted(send));
    if sent >= 0 { Ok(()) } else { Err(last_error()) }
}
