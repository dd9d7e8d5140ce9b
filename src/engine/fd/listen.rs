//! Listening sockets.

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::IntoRawFd;

use super::own;
use crate::engine::sys::{self, ErrnoGuard, Error, Result, SocketOption};

/// What the kernel makes of it is its own limit (net.core.somaxconn), 4096 by default.
pub const BACKLOG: c_int = 4096;

/// What a listening socket is set to.
#[derive(Clone, Copy, Default)]
pub struct ListenFlags {
    pub reuse_port: bool,
    pub v6_only: bool,
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
        let fd = sys::listen_unix(path, backlog)?.into_raw_fd();
        own::opened(fd, false);
        return Ok(fd);
    }
    let port = port(service)?;
    if !address.is_empty() {
        let text = std::str::from_utf8(address).map_err(|_| Error::InvalidArgument)?;
        let address: IpAddr = text.parse().map_err(|_| Error::InvalidArgument)?;
        return listen_at(&SocketAddr::new(address, port), backlog, flags);
    }
    match listen_at(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), backlog, flags) {
        // The system has no IPv6.
        Err(Error::Os(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) if !flags.v6_only => {
            listen_at(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), backlog, flags)
        }
        result => result,
    }
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
    let options = [
        SocketOption::ReuseAddress(true), // Also where one has just listened before.
        SocketOption::OnlyV6(flags.v6_only),
        SocketOption::ReusePort(true),
    ];
    let options = if flags.reuse_port { &options[..] } else { &options[..2] };
    let backlog = if backlog > 0 { backlog } else { BACKLOG };
    let fd = sys::listen_tcp(address, backlog, options)?.into_raw_fd();
    own::opened(fd, true);
    Ok(fd)
}
