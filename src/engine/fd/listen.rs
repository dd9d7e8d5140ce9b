//! Listening sockets.

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, IntoRawFd};

use super::inherited::take_inherited;
use super::own;
use crate::engine::sys::{self, Address, ErrnoGuard, Error, OwnedFd, Result, SocketOption};

/// What the kernel makes of it is its own limit (net.core.somaxconn), 4096 by default.
pub const BACKLOG: c_int = 4096;

/// What a listening socket is set to.
#[derive(Clone, Copy, Default)]
pub struct ListenFlags {
    pub reuse_port: bool,
    pub v6_only: bool,
    /// One that the process was given is taken, if it listens at the address.
    pub inherited: bool,
}

impl ListenFlags {
    fn options(self) -> [SocketOption; 3] {
        [
            SocketOption::ReuseAddress(true), // Also where one has just listened before.
            SocketOption::OnlyV6(self.v6_only),
            SocketOption::ReusePort(self.reuse_port),
        ]
    }
}

/// A listening socket, which the library owns, and which does not block. `address` is numeric, or
/// `unix:/path`; an empty one stands for all addresses. A backlog of 0 or less is 4096.
pub fn listen(address: &[u8], service: &[u8], backlog: c_int, flags: ListenFlags) -> Result<c_int> {
    let _errno = ErrnoGuard::save();
    let backlog = if backlog > 0 { backlog } else { BACKLOG };
    if let Some(path) = address.strip_prefix(b"unix:") {
        if !service.is_empty() || flags.reuse_port || flags.v6_only {
            return Err(Error::InvalidArgument);
        }
        let address = Address::unix(path)?;
        let taken = flags.inherited.then(|| take_inherited(&address, &[])).flatten();
        let socket = taken.map_or_else(|| sys::listen_unix(path, backlog), Ok)?;
        return Ok(owned(socket, false));
    }
    let port = port(service)?;
    if !address.is_empty() {
        let text = std::str::from_utf8(address).map_err(|_| Error::InvalidArgument)?;
        let address: IpAddr = text.parse().map_err(|_| Error::InvalidArgument)?;
        return listen_at(&SocketAddr::new(address, port), backlog, flags);
    }
    let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let [all, all_v4] = all.map(|all| SocketAddr::new(all, port));
    let has_v4 = !flags.v6_only;
    let taken_v4 = || if has_v4 { take_at(&all_v4, flags) } else { None };
    if let Some(taken) = take_at(&all, flags).or_else(taken_v4) {
        return Ok(taken);
    }
    match listen_at(&all, backlog, flags) {
        // The system has no IPv6.
        Err(Error::Os(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) if has_v4 => {
            listen_at(&all_v4, backlog, flags)
        }
        result => result,
    }
}

fn owned(socket: OwnedFd, is_plain_tcp: bool) -> c_int {
    let fd = socket.into_raw_fd();
    own::opened(fd, is_plain_tcp);
    fd
}

/// One that the process was given, if the flags ask for it, and it listens at the address.
pub fn take_at(address: &SocketAddr, flags: ListenFlags) -> Option<c_int> {
    if !flags.inherited {
        return None;
    }
    // What it is set to is up to who has made it. But others are to listen beside it, if that is asked for.
    let options: &[SocketOption] = if flags.reuse_port { &flags.options()[2..] } else { &[] };
    let socket = take_inherited(&Address::inet(address), options)?;
    let is_plain_tcp = sys::is_plain_tcp(socket.as_raw_fd());
    Some(owned(socket, is_plain_tcp))
}

/// Another one that the process was given, if the flags ask for such, which listens where this one does.
pub fn take_another(listener: c_int, flags: ListenFlags) -> Option<c_int> {
    let address = sys::local_address(listener).ok().filter(|_| flags.inherited)?;
    let socket = take_inherited(&address, &[])?;
    let is_plain_tcp = sys::is_plain_tcp(socket.as_raw_fd());
    Some(owned(socket, is_plain_tcp))
}

/// The number of a port.
pub fn port(service: &[u8]) -> Result<u16> {
    let text = std::str::from_utf8(service).map_err(|_| Error::InvalidArgument)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::InvalidArgument); // A sign would be taken.
    }
    text.parse().map_err(|_| Error::InvalidArgument)
}

/// [`listen`] at an address of the internet.
pub fn listen_at(address: &SocketAddr, backlog: c_int, flags: ListenFlags) -> Result<c_int> {
    let _errno = ErrnoGuard::save();
    if flags.v6_only && address.is_ipv4() {
        return Err(Error::InvalidArgument);
    }
    if let Some(taken) = take_at(address, flags) {
        return Ok(taken);
    }
    let options = flags.options();
    let options = if flags.reuse_port { &options[..] } else { &options[..2] };
    let backlog = if backlog > 0 { backlog } else { BACKLOG };
    Ok(owned(sys::listen_tcp(address, backlog, options)?, true))
}
