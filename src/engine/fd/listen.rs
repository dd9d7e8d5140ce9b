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
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Error::InvalidArgument);
    let service = text(service)?;
    if !service.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::InvalidArgument); // A sign would be taken.
    }
    let port: u16 = service.parse().map_err(|_| Error::InvalidArgument)?;
    let options = [
        SocketOption::ReuseAddress(true), // Also where one has just listened before.
        SocketOption::OnlyV6(flags.v6_only),
        SocketOption::ReusePort(true),
    ];
    let options = if flags.reuse_port { &options[..] } else { &options[..2] };
    let bind = |address: IpAddr| {
        if flags.v6_only && address.is_ipv4() {
            return Err(Error::InvalidArgument);
        }
        sys::listen_tcp(&SocketAddr::new(address, port), backlog, options)
    };
    let listener = match text(address)? {
        "" => match bind(Ipv6Addr::UNSPECIFIED.into()) {
            // The system has no IPv6.
            Err(Error::Os(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) if !flags.v6_only => {
                bind(Ipv4Addr::UNSPECIFIED.into())
            }
            result => result,
        },
        address => bind(address.parse().map_err(|_| Error::InvalidArgument)?),
    };
    let fd = listener?.into_raw_fd();
    own::opened(fd, true);
    Ok(fd)
}
