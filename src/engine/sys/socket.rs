//! Sockets that do not block, made and connected or bound.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as std_unix;
use std::path::Path;

use super::address::Address;
use super::cancellation::uncancelable;
use super::descriptor::{close, copy_above_stdio, opened};
use super::errno::check;
use super::error::{Error, Result};
use super::owned_fd::OwnedFd;
use super::socket_option::SocketOption;
use super::transfer::{sockaddr, socklen_t};

/// The result of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    Yes,
    /// In progress: the socket becomes writable when it ends.
    Later,
}

/// A nonblocking socket that connects to an address, from a local one if that is given.
pub fn connect_tcp(
    address: &SocketAddr,
    local: Option<&SocketAddr>,
    options: &[SocketOption],
) -> Result<(OwnedFd, Connected)> {
    let address = Address::inet(address);
    let socket = socket(address.family(), libc::SOCK_STREAM, options)?;
    if let Some(local) = local {
        bind(&socket, &Address::inet(local))?;
    }
    connect_to(socket, &address)
}

/// A nonblocking socket connected to the one at a path. EAGAIN means that its backlog is full, for
/// which there is no event to wait.
pub fn connect_unix(path: &Path) -> Result<OwnedFd> {
    let address = Address::unix(path.as_os_str().as_bytes())?;
    let socket = socket(address.family(), libc::SOCK_STREAM, &[])?;
    connect_to(socket, &address).map(|(socket, _)| socket)
}

fn connect_to(socket: OwnedFd, address: &Address) -> Result<(OwnedFd, Connected)> {
    // SAFETY: the address is of the family's type, and as long as said.
    match unsafe { connect_socket(socket.as_raw_fd(), address.as_ptr(), address.length()) } {
        Ok(()) => Ok((socket, Connected::Yes)),
        // An interrupted attempt continues.
        Err(Error::Os(libc::EINPROGRESS | libc::EINTR)) => Ok((socket, Connected::Later)),
        Err(error) => Err(error),
    }
}

/// The port that a socket listens at; 0 of one that has none, as at a path.
pub fn local_port(fd: c_int) -> u16 {
    // SAFETY: open during this call, and not closed by it.
    let listener = ManuallyDrop::new(unsafe { TcpListener::from_raw_fd(fd) });
    listener.local_addr().map_or(0, |address| address.port())
}

/// A nonblocking socket with these options.
pub(super) fn socket(family: c_int, kind: c_int, options: &[SocketOption]) -> Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no preconditions.
    let fd = opened(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: opened just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    for option in options {
        option.set(fd, family)?;
    }
    Ok(socket)
}

/// A nonblocking TCP socket that listens.
pub fn listen_tcp(
    address: &SocketAddr,
    backlog: c_int,
    options: &[SocketOption],
) -> Result<OwnedFd> {
    let address = Address::inet(address);
    let socket = socket(address.family(), libc::SOCK_STREAM, options)?;
    listen_at(socket, &address, backlog)
}

/// A nonblocking UDP socket that receives at an address.
pub fn bind_udp(address: &SocketAddr, options: &[SocketOption]) -> Result<OwnedFd> {
    let address = Address::inet(address);
    let socket = socket(address.family(), libc::SOCK_DGRAM, options)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// A nonblocking socket that listens at a path.
pub fn listen_unix(path: &[u8], backlog: c_int) -> Result<OwnedFd> {
    let address = Address::unix(path)?;
    listen_at(socket(address.family(), libc::SOCK_STREAM, &[])?, &address, backlog)
}

/// Accepts a connection, which does not block, with the address of its other end.
pub fn accept_tcp(fd: c_int) -> Result<(OwnedFd, SocketAddr)> {
    let (socket, address) = accept_from(fd)?;
    Ok((socket, address.to_inet()?))
}

/// [`accept_tcp`] at a path.
pub fn accept_unix(fd: c_int) -> Result<(OwnedFd, Option<std_unix::SocketAddr>)> {
    let (socket, address) = accept_from(fd)?;
    Ok((socket, address.to_unix()))
}

fn accept_from(fd: c_int) -> Result<(OwnedFd, Address)> {
    // SAFETY: the places are good for an address and its length.
    let (accepted, address) =
        Address::told_by(|address, length| unsafe { accept(fd, address, length) })?;
    // SAFETY: opened just now, and nobody else has it.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, address))
}

fn listen_at(socket: OwnedFd, address: &Address, backlog: c_int) -> Result<OwnedFd> {
    bind(&socket, address)?;
    // SAFETY: no preconditions.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(socket)
}

pub(super) fn bind(socket: &OwnedFd, address: &Address) -> Result<()> {
    // SAFETY: the address is of the family's type, and as long as said.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr(), address.length()) }).map(drop)
}

/// shutdown(2).
pub fn shutdown(fd: c_int, how: c_int) -> Result<()> {
    // SAFETY: no preconditions.
    check(unsafe { libc::shutdown(fd, how) }).map(drop)
}

/// accept4(2), of a descriptor that does not block and is closed on exec. In a program that has closed 0, 1 or 2,
/// what it prints must not go to a client. Where there is no higher number, the connection comes before that.
///
/// # Safety
/// As accept4(2) demands.
pub unsafe fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> Result<c_int> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: as this function's contract says.
    let accepted = check(uncancelable(|| unsafe { libc::accept4(fd, address, length, flags) }))?;
    if accepted > 2 {
        return Ok(accepted);
    }
    Ok(copy_above_stdio(accepted).inspect(|_| close(accepted)).unwrap_or(accepted))
}

/// connect(2).
///
/// # Safety
/// As connect(2) demands.
pub unsafe fn connect_socket(fd: c_int, address: *const sockaddr, length: socklen_t) -> Result<()> {
    // SAFETY: as this function's contract says.
    check(uncancelable(|| unsafe { libc::connect(fd, address, length) })).map(drop)
}

/// Where a socket is bound.
pub fn local_address(fd: c_int) -> Result<Address> {
    // SAFETY: the places are good for an address and its length.
    let told = |address, length| check(unsafe { libc::getsockname(fd, address, length) });
    Address::told_by(told).map(|(_, address)| address)
}

/// An error unless a socket is connected.
pub fn check_connected(fd: c_int) -> Result<()> {
    // SAFETY: addresses are integers, for which zero is a value.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&address) as socklen_t;
    // SAFETY: the addresses are good for an address and its length.
    check(unsafe { libc::getpeername(fd, (&raw mut address).cast(), &mut length) }).map(drop)
}
